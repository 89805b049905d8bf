#if canImport(FoundationEssentials)
  package import FoundationEssentials
#else
  package import Foundation
#endif

/// Sends requests. Does not follow redirects.
package protocol HubTransport: Sendable {
  /// Sends a GET request and returns when the answer's head has arrived.
  ///
  /// - Throws: any error if there is no answer; its description is for the user.
  func get(_ url: URL, headers: [(name: String, value: String)]) async throws -> HubResponse
}

/// The answer to a request. Releasing it ends the connection if the body has not been read.
package struct HubResponse: Sendable {
  package let status: Int
  private let headers: [String: String]
  /// The body, in pieces as they arrive.
  package let body: any AsyncSequence<[UInt8], any Error> & Sendable

  package init(
    status: Int, headers: [(name: String, value: String)],
    body: any AsyncSequence<[UInt8], any Error> & Sendable
  ) {
    self.status = status
    self.headers = Dictionary(headers.map { ($0.name.lowercased(), $0.value) }) { first, _ in first }
    self.body = body
  }

  package subscript(header name: String) -> String? { headers[name.lowercased()] }

  /// The body, of at most `limit` bytes.
  func bytes(limit: Int) async throws -> [UInt8] {
    var bytes: [UInt8] = []
    for try await piece in body {
      guard bytes.count + piece.count <= limit else { throw HubFault.final("is longer than \(limit) bytes") }
      bytes += piece
    }
    return bytes
  }
}

/// An error of a transport, for people: "the connection was closed".
package struct HubTransportError: Error, CustomStringConvertible {
  package let description: String

  package init(_ description: String) { self.description = description }
}
