package import BitNetJSON

/// A field of a head. Names are compared without regard to case.
package struct HeaderField: Equatable, Sendable {
  package var name: String
  package var value: String

  package init(_ name: String, _ value: String) {
    self.name = name
    self.value = value
  }
}

/// A request, as routes get it.
package struct Exchange: Sendable {
  /// Identifies the request in logs and in the response's field X-Request-Id.
  package var id: String
  package var method: String
  /// The path, with percent-encoding resolved.
  package var path: String
  /// The parameters after the path's question mark.
  package var query: [String: String] = [:]
  package var headers: [HeaderField] = []
  package var body: [UInt8] = []
  /// The parts of the path where the route has `{name}`.
  package var parameters: [String: String] = [:]

  package init(id: String, method: String, path: String) {
    self.id = id
    self.method = method
    self.path = path
  }

  /// The first field of that name, in any case; nil if there is none.
  package func header(_ name: String) -> String? {
    headers.first { $0.name.lowercased() == name.lowercased() }?.value
  }

  /// The body as JSON.
  ///
  /// - Throws: `JSONError`.
  package func json() throws(JSONError) -> JSONValue {
    try JSONDocument(body, limits: JSONLimits(byteCount: body.count, depth: 64)).root
  }
}

/// A response.
package struct Reply: Sendable {
  package var status = 200
  package var headers: [HeaderField] = []
  package var body: Body

  package enum Body: Sendable {
    case whole([UInt8], contentType: String)
    /// Written while it is made. The closure is called once; its task is cancelled when the client leaves.
    case stream(contentType: String, @Sendable (any ReplySink) async throws -> Void)
  }

  package init(status: Int = 200, headers: [HeaderField] = [], body: Body) {
    self.status = status
    self.headers = headers
    self.body = body
  }

  /// JSON on one line.
  package static func json(_ tree: JSONTree, status: Int = 200, headers: [HeaderField] = []) throws -> Reply {
    Reply(
      status: status, headers: headers, body: .whole(try tree.serialized(), contentType: "application/json"))
  }

  package static func text(_ text: String, contentType: String = "text/plain; charset=utf-8") -> Reply {
    Reply(body: .whole(Array(text.utf8), contentType: contentType))
  }

  /// Server-sent events.
  package static func events(_ body: @escaping @Sendable (any ReplySink) async throws -> Void) -> Reply {
    // Proxies such as nginx keep answers back otherwise.
    Reply(
      headers: [.init("Cache-Control", "no-cache"), .init("X-Accel-Buffering", "no")],
      body: .stream(contentType: "text/event-stream; charset=utf-8", body))
  }
}

/// Where a streamed body is written. Used by one task at a time.
package protocol ReplySink: Sendable {
  /// Writes bytes, and waits while the client is slow to take them.
  func send(_ bytes: [UInt8]) async throws
}

extension ReplySink {
  /// Sends a server-sent event.
  ///
  /// - Parameter name: the event's type; nil for OpenAI's events, which have none.
  package func sendEvent(_ tree: JSONTree, name: String? = nil) async throws {
    let head = name.map { "event: \($0)\ndata: " } ?? "data: "
    try await send(Array(head.utf8) + (try tree.serialized()) + Array("\n\n".utf8))
  }

  /// Sends a comment, which clients ignore; it shows proxies that the connection is in use.
  package func sendComment() async throws { try await send(Array(": ping\n\n".utf8)) }
}

extension Exchange {
  /// A new identifier of a request: 128 random bits.
  package static func newID() -> String {
    let bits = UInt128.random(in: 0 ... .max)
    let digits = String(bits, radix: 16)
    return String(repeating: "0", count: 32 - digits.count) + digits
  }

  /// Whether a client's identifier can go into logs and heads.
  package static func isValid(id: String) -> Bool {
    (1...128).contains(id.utf8.count)
      && id.utf8.allSatisfy { byte in
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
          UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"), UInt8(ascii: "."),
          UInt8(ascii: ":"), UInt8(ascii: "/"), UInt8(ascii: "+"), UInt8(ascii: "="):
          true
        default: false
        }
      }
  }

  /// Text of an address with its percent-encoding resolved. Bytes that are not UTF-8 become U+FFFD.
  package static func decoded(_ text: some StringProtocol) -> String {
    func digit(_ byte: UInt8) -> UInt8? { Character(Unicode.Scalar(byte)).hexDigitValue.map { UInt8($0) } }
    let bytes = Array(text.utf8)
    var result: [UInt8] = []
    var at = 0
    while at < bytes.count {
      if bytes[at] == UInt8(ascii: "%"), at + 2 < bytes.count, let high = digit(bytes[at + 1]),
        let low = digit(bytes[at + 2])
      {
        result.append(high << 4 | low)
        at += 3
      } else {
        result.append(bytes[at])
        at += 1
      }
    }
    return String(decoding: result, as: UTF8.self)
  }
}
