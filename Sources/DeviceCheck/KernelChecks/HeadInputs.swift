import BitNetCUDADriver
import CBitNetCUDAKernels
import BitNetInference
import BitNetRandomModels
import BitNetTernary

/// A random LM head, and the rows whose logits it computes. The results of scalar code are computed only once.
final class HeadInputs {
  let hidden: Int
  let vocabulary: Int
  private let table: [UInt16]
  private let norm: [Float]
  private let epsilon: Float
  /// `[rows][hidden]`.
  let x: [Float]
  /// The row of x that each output belongs to.
  let rows: [Int32]
  /// The bytes of a row in the int8 copy.
  let screenStride: Int

  private init(hidden: Int, table: [UInt16], norm: [Float], epsilon: Float = 1e-5, x: [Float], rows: [Int32]) {
    (self.hidden, vocabulary, self.table) = (hidden, table.count / hidden, table)
    (self.norm, self.epsilon, self.x, self.rows) = (norm, epsilon, x, rows)
    screenStride = (hidden + 15) / 16 * 16
  }

  convenience init(_ generator: inout SplitMix64) {
    let hidden = generator.chance(50) ? generator.int(1...700) : 8 * generator.int(1...88)
    let norm = generator.norm(hidden)
    let rowCount = generator.int(1...12)
    let x = (0..<rowCount).flatMap { _ in
      generator.chance(20) ? generator.awkwardFloats(hidden) : generator.floats(hidden)
    }
    let rows = (0..<generator.int(1...10)).map { _ in Int32(generator.int(0...rowCount - 1)) }
    var table: [UInt16] = []
    for id in 0..<generator.int(1...(generator.chance(20) ? 300 : 100)) {
      switch generator.int(0...19) {
      case 0 where id > 0:  // a tie
        let other = generator.int(0...id - 1)
        table += Array(table[other * hidden..<(other + 1) * hidden])
      case 1: table += generator.awkwardFloats(hidden).map(\.bfloat16Bits)
      default: table += generator.floats(hidden).map(\.bfloat16Bits)
      }
    }
    self.init(hidden: hidden, table: table, norm: norm, x: x, rows: rows)
  }

  /// Plain numbers, which are fast to draw.
  ///
  /// - Parameters:
  ///   - rowCount: the rows of x.
  ///   - outputs: the number of outputs, `rowCount` or more.
  convenience init(_ generator: inout SplitMix64, vocabulary: Int, hidden: Int, rowCount: Int, outputs: Int) {
    self.init(
      hidden: hidden, table: generator.bfloat16Bits(vocabulary * hidden), norm: generator.norm(hidden),
      x: (0..<rowCount * hidden).map { _ in generator.float() }, rows: (0..<outputs).map { Int32($0 % rowCount) })
  }

  /// A table of rows whose logits are hard to bound. Each row is followed by its negative, so that both bounds are
  /// tested.
  convenience init(hardToBound generator: inout SplitMix64) {
    let hidden = generator.chance(50) ? generator.int(1...700) : 8 * generator.int(1...88)
    let rowCount = generator.int(1...6)
    // Sometimes activations that the screen's sixteen bits represent exactly, which leaves only the rounding of the
    // sums.
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
    let activations = ScalarArithmetic.normalized(x[..<hidden], norm, epsilon: epsilon)
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
      // Most codes are rounded from one half of a step.
      case 9: for i in 0..<hidden { row[i] = i == id % hidden ? 200 : 0.7 }
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
    self.init(hidden: hidden, table: table, norm: norm, epsilon: epsilon, x: x, rows: rows)
  }

  /// The logits of each output.
  private(set) lazy var logits: [[Float]] = {
    let used = Set(rows).sorted()
    let logits = ScalarArithmetic.logits(
      used.map { ScalarArithmetic.normalized(x[Int($0) * hidden..<(Int($0) + 1) * hidden], norm, epsilon: epsilon) },
      table: table)
    return rows.map { logits[used.firstIndex(of: $0)!] }
  }()

  /// The int8 copy of the table.
  private(set) lazy var screen = ScalarArithmetic.screen(table: table, hidden: hidden, stride: screenStride)

  func head(on device: KernelCheckDevice) throws -> Head {
    Head(
      table: try device.address(table), norm: try device.address(norm), epsilon: epsilon, hidden: Int32(hidden),
      vocabulary: Int32(vocabulary), unused: 0)
  }

  /// The shared memory of the kernels that work on `tokens` outputs at a time.
  func sharedBytes(tokens: Int) -> Int {
    Int(rowScratchBytes) + 64 * tokens + tokens * ((hidden + 255) / 256 * 256) * 4
  }

  var shape: String { "\(vocabulary) × \(hidden), \(rows.count) outputs" }
}
