/// Splits a response of type `text/event-stream` into the data of its events.
package struct EventLines {
  /// The most bytes of an event.
  package static let limit = 1 << 24

  private var line: [UInt8] = []
  private var data: [UInt8] = []
  private var isAfterReturn = false

  package init() {}

  /// Takes bytes that may begin and end anywhere.
  ///
  /// - Returns: the data of the events that they complete.
  /// - Throws: `LoadError` for an event longer than `limit`.
  package mutating func append(_ bytes: some Sequence<UInt8>) throws(LoadError) -> [[UInt8]] {
    var events: [[UInt8]] = []
    for byte in bytes {
      let follows = isAfterReturn
      isAfterReturn = byte == UInt8(ascii: "\r")
      switch byte {
      case UInt8(ascii: "\n") where follows: break
      case UInt8(ascii: "\n"), UInt8(ascii: "\r"):
        if line.isEmpty {
          if !data.isEmpty { events.append(data) }
          data = []
        } else if line.starts(with: "data:".utf8) {
          let value = line.dropFirst(5)
          if !data.isEmpty { data.append(UInt8(ascii: "\n")) }
          data += value.first == UInt8(ascii: " ") ? value.dropFirst() : value
        }
        line.removeAll(keepingCapacity: true)
      default:
        line.append(byte)
        guard line.count + data.count <= Self.limit else {
          throw LoadError("an event of the answer is longer than \(Self.limit) bytes; expected a shorter one")
        }
      }
    }
    return events
  }
}

/// An error of a request or of a target, one sentence.
package struct LoadError: Error, Equatable, CustomStringConvertible {
  package let description: String

  init(_ description: String) { self.description = description }
}
