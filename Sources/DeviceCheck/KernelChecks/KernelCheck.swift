import BitNetTernary

/// One launch of a kernel with random inputs, or a few launches that belong together.
package protocol KernelCheck {
  /// The sizes of the inputs, and the distribution of the work.
  var shape: String { get }
  /// Runs the kernel on a device and compares all memory that it writes with the results of scalar code.
  ///
  /// - Throws: the driver's error, for example for a kernel that accesses invalid memory.
  func comparison(on device: KernelCheckDevice) throws -> KernelComparison
}

/// A comparison of the numbers that a kernel wrote with those of scalar code.
package struct KernelComparison {
  package private(set) var compared = 0
  package private(set) var differing = 0
  /// The place of the first difference, with the found and the expected number.
  package private(set) var first: String?

  package init() {}

  /// Compares floats, which must have the same bits unless both are NaN.
  ///
  /// - Parameter width: the length of a row, when the numbers are rows.
  package mutating func compare(_ found: [Float], _ expected: [Float], _ name: String = "output", width: Int? = nil) {
    compare(found, expected, name, width, isEqual: { $0.bitPattern == $1.bitPattern || ($0.isNaN && $1.isNaN) }) {
      "\($0) (0x\(Self.hexadecimal(UInt64($0.bitPattern), digits: 8)))"
    }
  }

  package mutating func compare<Value: FixedWidthInteger>(
    _ found: [Value], _ expected: [Value], _ name: String = "output", width: Int? = nil
  ) {
    // Wide integers are packed fields, so show them in hexadecimal.
    compare(found, expected, name, width, isEqual: ==) {
      Value.bitWidth == 64 ? "0x\(Self.hexadecimal(UInt64(truncatingIfNeeded: $0), digits: 16))" : "\($0)"
    }
  }

  /// Compares bfloat16 numbers, given as bits.
  package mutating func compare(bfloat16 found: [UInt16], _ expected: [UInt16], _ name: String, width: Int? = nil) {
    compare(found.map { Float(bfloat16Bits: $0) }, expected.map { Float(bfloat16Bits: $0) }, name, width: width)
  }

  /// Records the result of another kind of comparison.
  package mutating func require(_ isRight: Bool, _ sentence: @autoclosure () -> String) {
    compared += 1
    if !isRight { note(sentence(), count: 1) }
  }

  private mutating func compare<Value>(
    _ found: [Value], _ expected: [Value], _ name: String, _ width: Int?, isEqual: (Value, Value) -> Bool,
    text: (Value) -> String
  ) {
    compared += expected.count
    guard found.count == expected.count else {
      note("the length of \(name) is \(found.count); expected \(expected.count)", count: expected.count)
      return
    }
    var count = 0
    var place: Int?
    for index in found.indices where !isEqual(found[index], expected[index]) {
      place = place ?? index
      count += 1
    }
    guard let place else { return }
    let index = width.map { "[\(place / $0)][\(place % $0)]" } ?? "[\(place)]"
    note(
      "\(name)\(index) is \(text(found[place])); expected \(text(expected[place])); \(count) of \(found.count) differ",
      count: count)
  }

  private mutating func note(_ sentence: String, count: Int) {
    differing += count
    first = first ?? sentence
  }

  static func hexadecimal(_ value: UInt64, digits: Int) -> String {
    let text = String(value, radix: 16)
    return String(repeating: "0", count: max(0, digits - text.count)) + text
  }
}
