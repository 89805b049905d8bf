/// Finds stop texts in text that arrives in pieces, holding back what may become one.
package struct StopMatcher {
  private let stops: [[UInt8]]
  private var held: [UInt8] = []
  private var hasStopped = false
  /// The stop text that was found.
  package private(set) var match: String?

  /// - Parameter stops: empty texts are ignored.
  package init(_ stops: [String]) { self.stops = stops.filter { !$0.isEmpty }.map { Array($0.utf8) } }

  /// Takes a piece; returns the text that is surely before any stop text, and whether one was found.
  package mutating func append(_ text: String) -> (text: String, stopped: Bool) {
    guard !stops.isEmpty else { return (text, false) }
    guard !hasStopped else { return ("", true) }  // what follows a stop text is not part of the result
    held += text.utf8
    var earliest: Int?
    for stop in stops {
      if let start = firstRange(of: stop), start < earliest ?? .max {
        earliest = start
        match = String(decoding: stop, as: UTF8.self)
      }
    }
    if let earliest {
      defer { held = [] }
      hasStopped = true
      return (String(decoding: held[..<earliest], as: UTF8.self), true)
    }
    let keep = stops.map { longestTail(thatBegins: $0) }.max() ?? 0
    defer { held.removeFirst(held.count - keep) }
    return (String(decoding: held[..<(held.count - keep)], as: UTF8.self), false)
  }

  /// The text that was held back, when no more comes.
  package mutating func finish() -> String {
    defer { held = [] }
    return String(decoding: held, as: UTF8.self)
  }

  private func firstRange(of stop: [UInt8]) -> Int? {
    guard held.count >= stop.count else { return nil }
    return (0...held.count - stop.count).first { held[$0..<($0 + stop.count)].elementsEqual(stop) }
  }

  /// The length of the longest proper beginning of `stop` with which the held text ends. Never splits a character: both
  /// begin one.
  private func longestTail(thatBegins stop: [UInt8]) -> Int {
    stride(from: min(stop.count - 1, held.count), to: 0, by: -1).first {
      held.suffix($0).elementsEqual(stop.prefix($0))
    } ?? 0
  }
}
