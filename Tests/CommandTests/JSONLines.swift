import Foundation
import Testing

/// JSON Lines that the program printed. Each line is an object with a field `kind`.
struct JSONLines {
  private struct Kind: Decodable {
    let kind: String
  }

  private let lines: [(kind: String, text: Data)]
  var kinds: [String] { lines.map(\.kind) }

  init(_ bytes: Data) throws {
    #expect(bytes.last == UInt8(ascii: "\n"))
    lines = try bytes.split(separator: UInt8(ascii: "\n")).map {
      (try JSONDecoder().decode(Kind.self, from: $0).kind, $0)
    }
  }

  /// All lines of a kind, in order.
  func all<Line: Decodable>(_ kind: String, as type: Line.Type = Line.self) throws -> [Line] {
    try lines.filter { $0.kind == kind }.map { try JSONDecoder().decode(type, from: $0.text) }
  }

  /// The only line of a kind.
  func one<Line: Decodable>(_ kind: String, as type: Line.Type = Line.self) throws -> Line {
    let found = try all(kind, as: type)
    try #require(found.count == 1, "\(kind): \(found.count) lines")
    return found[0]
  }
}
