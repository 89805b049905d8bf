import CUDADriver
import CUDAEngine
import CUDAKernels
import TestSupport
import Ternary
import Testing

/// Outputs of a random head.
struct HeadCase {
  let hidden: Int
  let vocabulary: Int
  let table: [UInt16]
  let norm: [Float]
  let x: [Float]
  /// Which row of x each output belongs to.
  let rows: [Int32]
  var epsilon: Float = 1e-5

  init(_ generator: inout SeededGenerator) {
    hidden = generator.chance(50) ? generator.int(1...700) : 8 * generator.int(1...88)
    vocabulary = generator.int(1...(generator.chance(20) ? 300 : 100))
    norm = generator.norm(hidden)
    let rowCount = generator.int(1...12)
    x = (0..<rowCount).flatMap { [hidden] _ in generator.chance(20) ? generator.awkwardFloats(hidden) : generator.floats(hidden) }
    rows = (0..<generator.int(1...10)).map { _ in Int32(generator.int(0...rowCount - 1)) }
    var table: [UInt16] = []
    for id in 0..<vocabulary {
      switch generator.int(0...19) {
      case 0 where id > 0:  // a tie
        let other = generator.int(0...id - 1)
        table += Array(table[other * hidden..<(other + 1) * hidden])
      case 1: table += generator.awkwardFloats(hidden).map(\.bfloat16Bits)
      default: table += generator.floats(hidden).map(\.bfloat16Bits)
      }
    }
    self.table = table
  }

  init(hidden: Int, table: [UInt16], norm: [Float], epsilon: Float, x: [Float], rows: [Int32]) {
    (self.hidden, vocabulary, self.table) = (hidden, table.count / hidden, table)
    (self.norm, self.epsilon, self.x, self.rows) = (norm, epsilon, x, rows)
  }

  /// Logits of each output.
  func logits() -> [[Float]] {
    rows.map { row in Canonical.logits(x[Int(row) * hidden..<(Int(row) + 1) * hidden], norm: norm, epsilon: epsilon, table: table) }
  }

  func head(on device: DeviceUnderTest) throws -> Head {
    Head(
      table: try device.address(table), norm: try device.address(norm), epsilon: epsilon, hidden: Int32(hidden),
      vocabulary: Int32(vocabulary), unused: 0)
  }

  /// Shared memory of the kernels that work on `tokens` outputs at a time.
  func sharedBytes(tokens: Int) -> Int { Int(rowScratchBytes) + 64 * tokens + tokens * ((hidden + 255) / 256 * 256) * 4 }

  /// - Parameter tokens: 1, 4 or 8 outputs at a time.
  func mistake(on device: DeviceUnderTest, tokens: Int, blocks: Int) throws -> String? {
    let logits = try device.buffer([Float](repeating: 7, count: rows.count * vocabulary))
    let best = try device.buffer([UInt64](repeating: 0, count: rows.count))
    let kernel: Kernel = tokens == 1 ? .head1 : tokens == 4 ? .head4 : .head8
    try device.run(
      kernel, CUDAGrid(blocks, (rows.count + tokens - 1) / tokens), sharedBytes: sharedBytes(tokens: tokens), .value(head(on: device)),
      .address(device.address(x)), .address(device.address(rows)), .count(rows.count), .address(logits.address), .address(best.address))
    let expected = self.logits()
    let wrong =
      try difference(logits.values(), expected.flatMap { $0 }) ?? difference(best.values(), expected.map(Canonical.bestKey), "best")
    return wrong.map { "\(vocabulary) × \(hidden), \(rows.count) outputs, \(blocks) blocks: \($0)" }
  }
}

/// A head and its int8 copy.
struct ScreenCase {
  let head: HeadCase
  let stride: Int
  let windows: [Float]

  /// A table of rows that are hard to bound, each followed by its negative: what is above for one is below for the other.
  init(_ generator: inout SeededGenerator) {
    let hidden = generator.chance(50) ? generator.int(1...700) : 8 * generator.int(1...88)
    stride = (hidden + 15) / 16 * 16
    let rowCount = generator.int(1...6)
    // Activations that the screen's sixteen bits hold exactly, now and then: what is left is the rounding of the sums.
    let isExact = generator.chance(25)
    let epsilon: Float = isExact ? 0 : 1e-5
    var norm = generator.norm(hidden)
    if isExact {
      norm = (0..<hidden).map { _ in Float(generator.int(1...32000)) / 1024 }
      norm[generator.int(0...hidden - 1)] = 32000 / 1024
    }
    var x: [Float] = []
    for _ in 0..<rowCount {
      var row = generator.chance(15) ? generator.awkwardFloats(hidden) : generator.floats(hidden)
      if isExact || generator.chance(20) { row = row.map { _ in generator.chance(50) ? 1 : -1 } }
      if !isExact && generator.chance(20) { row[generator.int(0...hidden - 1)] = 1000 }
      x += row
    }
    let activations = Canonical.normalized(x[..<hidden], norm, epsilon: epsilon)
    let unit = activations.reduce(1e-30) { max($0, $1.magnitude) } / 32000
    var table: [UInt16] = []
    for id in 0..<generator.int(1...100) {
      var row = generator.floats(hidden)
      switch generator.int(0...18) {
      case 0: row = row.map { $0 * 1e15 }
      case 1: row = row.map { $0 * 1e25 }  // squares overflow
      case 2: row = row.map { $0 * 1e-12 }
      case 3: row = row.map { $0 * 1e-25 }  // squares underflow
      case 4: row = row.map { $0 * 1e-37 }
      case 5: row = row.map { _ in 0 }
      case 6: row[generator.int(0...hidden - 1)] = [.nan, .infinity, -.infinity].randomElement(using: &generator)!
      case 7:  // cancels where x is ±1
        for i in 0..<hidden { row[i] = x[i] * (i % 2 == 0 ? 300 : -300) }
      case 8: for i in 0..<hidden { row[i] = x[i] }  // the largest product for its length
      case 9: for i in 0..<hidden { row[i] = i == id % hidden ? 200 : 0.7 }  // most codes are rounded from one half of a step
      case 10:  // held exactly by its codes
        row = row.map { _ in Float(generator.int(-127...127)) }
        row[generator.int(0...hidden - 1)] = 127
      case 11:  // the same, and aligned with what is lost of the activations
        row = activations.map { $0 - ($0 / unit).rounded() * unit < 0 ? -127 : 127 }
      case 12 where id > 0: row = (0..<hidden).map { Float(bfloat16Bits: table[(2 * id - 2) * hidden + $0]) }
      default: break
      }
      table += row.map(\.bfloat16Bits)
      table += row.map { (-$0).bfloat16Bits }
    }
    let rows = (0..<generator.int(1...6)).map { _ in Int32(generator.int(0...rowCount - 1)) }
    head = HeadCase(hidden: hidden, table: table, norm: norm, epsilon: epsilon, x: x, rows: rows)
    windows = rows.map { _ in [0, generator.float(0...20), 1e4, .infinity].randomElement(using: &generator)! }
  }

  /// Bounds, then logits; each launch is checked by itself.
  func mistake(on device: DeviceUnderTest, tokens: Int, blocks: Int) throws -> String? {
    let (vocabulary, outputs) = (head.vocabulary, head.rows.count)
    let onDevice = try head.head(on: device)
    let codes = try device.buffer([Int8](repeating: 0x55, count: vocabulary * stride))
    let facts = try device.buffer([Float](repeating: 7, count: 4 * vocabulary))
    try device.run(.screenBuild, CUDAGrid(blocks), .value(onDevice), .count(stride), .address(codes.address), .address(facts.address))

    let logits = try device.buffer([Float](repeating: 7, count: outputs * vocabulary))
    let floor = try device.buffer([UInt64](repeating: 0, count: outputs))
    let screen = Screen(codes: codes.address, rows: facts.address, stride: Int32(stride), unused: 0)
    let (x, rows) = (try device.address(head.x), try device.address(head.rows))
    try device.run(
      tokens == 1 ? .screen1 : .screen4, CUDAGrid(blocks, (outputs + tokens - 1) / tokens),
      sharedBytes: head.sharedBytes(tokens: tokens) + tokens * (16 + 2 * stride), .value(onDevice), .value(screen), .address(x),
      .address(rows), .count(outputs), .address(logits.address), .address(floor.address))
    let exact = head.logits()
    let upper: [Float] = try logits.values()
    let floors: [UInt64] = try floor.values()
    for output in 0..<outputs {
      for id in 0..<vocabulary where exact[output][id] > upper[output * vocabulary + id] {
        return "output \(output): the logit of \(id) is \(exact[output][id]), above its bound \(upper[output * vocabulary + id])"
      }
      if floors[output] | 0xFFFF_FFFF > Canonical.bestKey(exact[output]) | 0xFFFF_FFFF {
        return "output \(output): the largest lower bound \(floors[output]) is above the largest logit \(Canonical.bestKey(exact[output]))"
      }
    }

    let best = try device.buffer([UInt64](repeating: 0, count: outputs))
    let arrivals = try device.buffer([UInt32](repeating: 0, count: outputs))
    let survivors = try device.buffer([UInt32](repeating: 1000, count: 1))
    try device.run(
      .screenRescore, CUDAGrid(blocks, outputs), sharedBytes: head.sharedBytes(tokens: 1), .value(onDevice), .address(x), .address(rows),
      .address(device.address(windows)), .address(logits.address), .address(floor.address), .address(best.address),
      .address(arrivals.address), .address(survivors.address))
    let found: [Float] = try logits.values()
    var computed = 0
    for output in 0..<outputs {
      let largest = exact[output].reduce(-Float.infinity) { max($0, $1.isNaN ? -.infinity : $1) }
      for id in 0..<vocabulary {
        let (logit, right) = (found[output * vocabulary + id], exact[output][id])
        if logit == -.infinity && right != -.infinity {
          // A NaN among the logits survives always.
          guard right < largest - windows[output] else {
            return "output \(output): \(id) is left out, but its logit \(right) is within \(windows[output]) of \(largest)"
          }
        } else {
          computed += 1
          if let wrong = difference([logit], [right], "output \(output), \(id): logit") { return wrong }
        }
      }
    }
    let counted: [UInt32] = try survivors.values()
    // Rows whose logit is minus infinity may have been computed or not.
    let infinite = exact.joined().count { $0 == -.infinity }
    guard (computed - infinite...computed).contains(Int(counted[0]) - 1000) else {
      return "\(counted[0] - 1000) survivors are counted; expected \(computed)"
    }
    return try difference(best.values(), exact.map(Canonical.bestKey), "best")
      ?? difference(floor.values(), [UInt64](repeating: 0, count: outputs), "floor")
      ?? difference(arrivals.values(), [UInt32](repeating: 0, count: outputs), "arrivals")
  }

  var description: String { "\(head.vocabulary) × \(head.hidden), \(head.rows.count) outputs, windows \(windows)" }
}

extension KernelTests {
  @Suite("Output head")
  struct HeadTests {
    @Test("In full", arguments: [1, 4, 8])
    func full(tokens: Int) {
      KernelTests.run(0..<20) { device, generator in
        let head = HeadCase(&generator)
        return try head.mistake(on: device, tokens: tokens, blocks: generator.int(1...6))
      }
    }

    @Test("Screened: bounds hold, and no logit that can matter is missing or differs", arguments: [1, 4])
    func screened(tokens: Int) {
      KernelTests.run(0..<40) { device, generator in
        let screen = ScreenCase(&generator)
        return try screen.mistake(on: device, tokens: tokens, blocks: generator.int(1...6)).map { "\(screen.description): \($0)" }
      }
    }
  }
}
