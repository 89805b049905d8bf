/// A comparison of numbers that must be equal, bit for bit, and its result.
package struct EqualityCheck: Sendable {
  /// Receives each check as soon as it is complete.
  package typealias Report = (EqualityCheck) throws -> Void

  package let name: String
  /// The engine that is checked; nil when the check is not about an engine.
  package let candidate: String?
  /// The engine that the candidate is compared with; nil when the check is not about an engine.
  package let reference: String?
  /// The number and kind of cases, as in "16 shapes".
  package let cases: String
  /// The count of numbers that were compared: products, logits, tokens.
  package internal(set) var compared = 0
  package internal(set) var differing = 0
  /// The first difference, in a sentence.
  package internal(set) var first: String?
  /// The error that ended the check early, in a sentence.
  package internal(set) var error: String?
  package internal(set) var seconds = 0.0

  /// Whether nothing differs and nothing failed.
  package var isEqual: Bool { differing == 0 && error == nil }

  /// Runs a check.
  ///
  /// - Parameter body: makes the comparisons. An error that it throws becomes the check's result.
  package init(
    _ name: String, candidate: String? = nil, reference: String? = nil, cases: String,
    _ body: (inout EqualityCheck) throws -> Void
  ) {
    self.name = name
    self.candidate = candidate
    self.reference = reference
    self.cases = cases
    let clock = ContinuousClock()
    let start = clock.now
    do { try body(&self) } catch { self.error = "\(error)" }
    seconds = start.duration(to: clock.now) / .seconds(1)
  }
}

/// An error, and the case in which it occurred.
package struct CheckError: Error, CustomStringConvertible {
  let place: String
  let error: any Error

  package var description: String { "\(place): \(error)" }

  /// Adds the case to an error that `body` throws.
  package static func naming<Result>(_ place: @autoclosure () -> String, _ body: () throws -> Result) throws -> Result {
    do { return try body() } catch { throw CheckError(place: place(), error: error) }
  }
}

extension EqualityCheck {
  /// Compares lists of numbers.
  ///
  /// - Parameter place: names the number at an index, for the sentence about the first difference.
  package mutating func compare(_ found: [Int32], _ expected: [Int32], place: (Int) -> String) {
    compare(found, expected, place: place, show: { "\($0)" }, isEqual: ==)
  }

  /// Compares the bits of lists of numbers.
  ///
  /// - Parameter place: names the number at an index, for the sentence about the first difference.
  package mutating func compare(_ found: [Float], _ expected: [Float], place: (Int) -> String) {
    compare(found, expected, place: place, show: Self.describe) { $0.bitPattern == $1.bitPattern }
  }

  /// A number and its bits, as in "1.5 (0x3fc00000)".
  private static func describe(_ value: Float) -> String {
    "\(value) (0x\(KernelComparison.hexadecimal(UInt64(value.bitPattern), digits: 8)))"
  }

  private mutating func compare<Value>(
    _ found: [Value], _ expected: [Value], place: (Int) -> String, show: (Value) -> String,
    isEqual: (Value, Value) -> Bool
  ) {
    compared += expected.count
    if found.count != expected.count {
      let last = place(min(found.count, expected.count))
      note(
        "\(last): there are \(found.count) numbers; expected \(expected.count)",
        count: abs(found.count - expected.count))
    }
    var count = 0
    var first: Int?
    for index in 0..<min(found.count, expected.count) where !isEqual(found[index], expected[index]) {
      first = first ?? index
      count += 1
    }
    if let first { note("\(place(first)) is \(show(found[first])); expected \(show(expected[first]))", count: count) }
  }

  package mutating func note(_ sentence: String, count: Int) {
    differing += count
    first = first ?? sentence
  }
}
