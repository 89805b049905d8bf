import BitNetCUDADriver
import BitNetInference

/// Checks a GPU's kernels, and offers the forms of the engine on it for an `EngineComparison`.
///
/// Every check is reported as soon as it is made, and an error in one of them does not stop the others.
///
/// ```swift
/// let verification = try Verification(device: 0, seed: 1)
/// try verification.products(shapes: 16) { print($0.name, $0.isEqual) }
/// let cpu = EngineComparison.Candidate(name: "CPU") { try CPUEngine(weights: $0) }
/// let comparison = EngineComparison(expected: cpu, candidates: verification.engines.map(\.candidate), seed: 1)
/// try comparison.randomModels(16) { print($0.name, $0.isEqual) }
/// ```
package final class Verification {
  /// A way to hand over each check as soon as it is made.
  package typealias Report = (Check) throws -> Void

  package let device: CUDADevice
  /// As `cuDriverGetVersion` counts: 12010 is 12.1.
  package let driverVersion: Int
  /// Whether the device is the stand-in that runs kernels on the processor.
  package let isEmulated: Bool
  let library: KernelLibrary
  let seed: UInt64

  /// - Parameters:
  ///   - ordinal: the driver's number for the GPU, from 0.
  ///   - seed: of everything random: the same seed checks the same.
  /// - Throws: when there is no driver, no such GPU, or it is too old.
  package init(device ordinal: Int, seed: UInt64) throws(CUDAError) {
    let driver = try CUDADriver.load()
    device = try driver.device(ordinal)
    driverVersion = driver.version
    isEmulated = device.isEmulated
    library = try KernelLibrary(CUDAContext(device))
    self.seed = seed
  }

  /// The engine on this device in all its forms, those without the cooperative kernel first: they are the simpler ones.
  package var engines: [EngineForm] {
    [false, true].flatMap { isCooperative in [true, false].map { EngineForm(device, isCooperative: isCooperative, screensHead: $0) } }
  }

  /// A form of the engine.
  package struct EngineForm: Sendable {
    package let isCooperative: Bool
    package let screensHead: Bool
    private let device: CUDADevice

    init(_ device: CUDADevice, isCooperative: Bool, screensHead: Bool) {
      self.device = device
      self.isCooperative = isCooperative
      self.screensHead = screensHead
    }

    package var candidate: EngineComparison.Candidate {
      .init(name: Self.name(isCooperative: isCooperative, screensHead: screensHead)) {
        try CUDAEngine(weights: $0, device: device, options: .init(screensHead: screensHead, isCooperative: isCooperative))
      }
    }

    static func name(isCooperative: Bool, screensHead: Bool) -> String {
      (isCooperative ? "one cooperative kernel" : "a kernel an operation") + (screensHead ? ", screened head" : ", full head")
    }
  }
}
