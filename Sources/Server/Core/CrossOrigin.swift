/// Which web pages of other origins may use the server (CORS).
package struct CrossOrigin: Sendable {
  /// Origins such as `https://chat.example.org`; `*` for all. Pages of this computer's own servers may in any case.
  package var origins: [String]

  package init(origins: [String] = []) { self.origins = origins }

  /// The fields that let a page of the request's origin read the response; none if it may not.
  package func headers(for exchange: Exchange) -> [HeaderField] {
    guard let origin = exchange.header("origin"), allows(origin) else { return [] }
    return [
      HeaderField("Access-Control-Allow-Origin", origin), HeaderField("Vary", "Origin"),
      HeaderField("Access-Control-Expose-Headers", "X-Request-Id, Retry-After"),
    ]
  }

  /// The answer to a browser that asks before it sends a request; nil if the request is none.
  package func preflight(_ exchange: Exchange) -> Reply? {
    guard exchange.method == "OPTIONS", exchange.header("access-control-request-method") != nil else { return nil }
    var headers = headers(for: exchange)
    if !headers.isEmpty {
      headers.append(.init("Access-Control-Allow-Methods", "GET, POST, DELETE, OPTIONS"))
      if let names = exchange.header("access-control-request-headers") {
        headers.append(.init("Access-Control-Allow-Headers", names))
      }
      headers.append(.init("Access-Control-Max-Age", "600"))
    }
    return Reply(status: 204, headers: headers, body: .whole([], contentType: "text/plain"))
  }

  private func allows(_ origin: String) -> Bool {
    origins.contains("*") || origins.contains(origin) || Self.isLocal(origin)
  }

  private static func isLocal(_ origin: String) -> Bool {
    ["http://localhost", "http://127.0.0.1", "http://[::1]", "https://localhost", "https://127.0.0.1"].contains {
      local in
      origin == local
        || (origin.hasPrefix(local + ":") && origin.dropFirst(local.count + 1).allSatisfy(\.isNumber))
    }
  }
}
