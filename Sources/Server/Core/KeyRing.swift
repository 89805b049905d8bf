import Synchronization

/// The keys that requests must present one of. Without keys, every request is welcome.
package final class KeyRing: Sendable {
  private let keys: Mutex<[[UInt8]]>

  package init(_ keys: [String] = []) { self.keys = Mutex(keys.map { Array($0.utf8) }) }

  package func replace(with keys: [String]) { self.keys.withLock { $0 = keys.map { Array($0.utf8) } } }

  /// Whether a request with these fields may pass: `Authorization: Bearer KEY`, or Anthropic's `x-api-key: KEY`.
  package func admits(_ exchange: Exchange) -> Bool {
    keys.withLock { keys in
      if keys.isEmpty { return true }
      let presented = [Self.bearer(exchange.header("authorization")), exchange.header("x-api-key")]
      var isKnown = false
      for key in presented.compactMap({ $0 }) {
        let bytes = Array(key.utf8)
        // Every key is compared, to the end, so that the time tells nothing about the keys but their lengths.
        for known in keys { isKnown = Self.isEqual(bytes, known) || isKnown }
      }
      return isKnown
    }
  }

  private static func bearer(_ field: String?) -> String? {
    guard let field, field.count > 7, field.prefix(7).lowercased() == "bearer " else { return nil }
    return String(field.dropFirst(7).drop { $0 == " " })
  }

  private static func isEqual(_ one: [UInt8], _ other: [UInt8]) -> Bool {
    guard one.count == other.count else { return false }
    var difference: UInt8 = 0
    for (a, b) in zip(one, other) { difference |= a ^ b }
    return difference == 0
  }

  /// The keys of a file: one a line; empty lines and those that begin with # are left out.
  package static func keys(inFile text: String) -> [String] {
    text.split(whereSeparator: \.isNewline).map { line in
      var line = line
      while line.first?.isWhitespace == true { line.removeFirst() }
      while line.last?.isWhitespace == true { line.removeLast() }
      return String(line)
    }.filter { !$0.isEmpty && !$0.hasPrefix("#") }
  }
}
