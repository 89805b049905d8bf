import CUDADriver
import Inference

/// Checks a GPU's kernels, and what is compared with what when engines on it are checked.
///
/// ```swift
/// let verification = try Verification(device: 0, seed: 1)
/// let products = try verification.products(shapes: 16)
/// let comparison = EngineComparison(expected: { try CPUEngine(weights: $0) }, candidates: verification.engines, seed: 1)
/// let models = try comparison.randomModels(16)
/// ```
public final class Verification {
  /// What was compared, and whether it was equal, bit for bit.
  public struct Check: Sendable {
    public let name: String
    /// As in "16 shapes".
    public internal(set) var cases: String
    /// Numbers that were compared: products, logits, tokens.
    public internal(set) var compared = 0
    public internal(set) var differing = 0
    /// The first difference, in a sentence.
    public internal(set) var first: String?
    /// What kept the comparison from its end.
    public internal(set) var error: String?

    public var isEqual: Bool { differing == 0 && error == nil }

    init(_ name: String, cases: String) {
      self.name = name
      self.cases = cases
    }
  }

  /// What the driver made of a kernel.
  public struct KernelFacts: Sendable {
    public let name: String
    /// Of a thread.
    public let registers: Int
    /// Bytes of a thread that did not fit into registers.
    public let localBytes: Int
  }

  public let device: CUDADevice
  /// As `cuDriverGetVersion` counts: 12010 is 12.1.
  public let driverVersion: Int
  /// Whether the device is the stand-in that runs kernels on the processor.
  public let isEmulated: Bool
  let library: KernelLibrary
  let seed: UInt64

  /// - Parameters:
  ///   - ordinal: the driver's number for the GPU, from 0.
  ///   - seed: of everything random: the same seed checks the same.
  /// - Throws: when there is no driver, no such GPU, or it is too old.
  public init(device ordinal: Int, seed: UInt64) throws(CUDAError) {
    let driver = try CUDADriver.load()
    device = try driver.device(ordinal)
    driverVersion = driver.version
    isEmulated = device.isEmulated
    library = try KernelLibrary(CUDAContext(device))
    self.seed = seed
  }

  /// All kernels, by name.
  public func kernels() throws(CUDAError) -> [KernelFacts] {
    var facts: [KernelFacts] = []
    for kernel in Kernel.allCases {
      let function = try library.function(kernel)
      facts.append(KernelFacts(name: kernel.rawValue, registers: function.registerCount, localBytes: function.localByteCount))
    }
    return facts.sorted { $0.name < $1.name }
  }

  /// The engine on this device in all its forms.
  public var engines: [EngineComparison.Candidate] {
    [true, false].flatMap { isCooperative in
      [true, false].map { [device] screensHead in
        EngineComparison.Candidate(
          name: (isCooperative ? "one cooperative kernel" : "a kernel an operation") + (screensHead ? ", screened head" : ", full head")
        ) {
          try CUDAEngine(weights: $0, device: device, options: .init(screensHead: screensHead, isCooperative: isCooperative))
        }
      }
    }
  }
}

extension Verification.Check {
  static func count(_ count: Int, _ noun: String) -> String { "\(count) \(noun)\(count == 1 ? "" : "s")" }

  /// Compares lists of numbers.
  ///
  /// - Parameter place: where they are from, for the sentence about the first that differs.
  mutating func compare<Value>(
    _ found: [Value], _ expected: [Value], place: @autoclosure () -> String, isEqual: (Value, Value) -> Bool
  ) {
    compared += expected.count
    if found.count != expected.count {
      note("\(place()): there are \(found.count) numbers instead of \(expected.count)", count: abs(found.count - expected.count))
    }
    var count = 0
    var first: Int?
    for index in 0..<min(found.count, expected.count) where !isEqual(found[index], expected[index]) {
      first = first ?? index
      count += 1
    }
    if let first { note("\(place()): number \(first) is \(found[first]) instead of \(expected[first])", count: count) }
  }

  mutating func compare(_ found: [Int32], _ expected: [Int32], place: @autoclosure () -> String) {
    compare(found, expected, place: place(), isEqual: ==)
  }

  /// Logits are equal when their bits are.
  mutating func compare(_ found: [Float], _ expected: [Float], place: @autoclosure () -> String) {
    compare(found, expected, place: place()) { $0.bitPattern == $1.bitPattern }
  }

  private mutating func note(_ sentence: String, count: Int) {
    differing += count
    first = first ?? sentence
  }
}
