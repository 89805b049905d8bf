package import BitNetCUDADriver
import BitNetCUDAEngine
package import BitNetDeviceCheck
import BitNetInference

/// Checks a GPU's kernels, and provides the forms of the engine on it for an `EngineComparison`.
///
/// Every check is reported as soon as it is complete, and an error in one check does not stop the others.
///
/// ```swift
/// let verification = try Verification(device: 0, seed: 1)
/// try verification.products(shapes: 16) { print($0.name, $0.isEqual) }
/// let cpu = EngineComparison.Candidate(name: "CPU") { try CPUEngine(weights: $0) }
/// let candidates = verification.engines(isCooperative: false) + verification.engines(isCooperative: true)
/// let comparison = EngineComparison(expected: cpu, candidates: candidates, seed: 1)
/// try comparison.randomModels(16) { print($0.name, $0.isEqual) }
/// ```
package final class Verification {
  package let device: CUDADevice
  /// In the form of `cuDriverGetVersion`: 12010 is 12.1.
  package let driverVersion: Int
  /// Whether the device is a stand-in that runs kernels on the CPU.
  package let isEmulated: Bool
  let library: KernelLibrary
  let seed: UInt64

  /// - Parameters:
  ///   - ordinal: the driver's number for the GPU, from 0.
  ///   - seed: the seed of all random inputs. The same seed repeats the same checks.
  /// - Throws: `CUDAError` when there is no driver, no such GPU, or it is too old.
  package init(device ordinal: Int, seed: UInt64) throws(CUDAError) {
    let driver = try CUDADriver.load()
    device = try driver.device(ordinal)
    driverVersion = driver.version
    isEmulated = device.isEmulated
    library = try KernelLibrary(CUDAContext(device))
    self.seed = seed
  }

  /// The engine on this device, with the screened head and with the full head.
  ///
  /// - Parameter isCooperative: whether single tokens go through one cooperative kernel. The forms without that kernel
  ///   are simpler.
  package func engines(isCooperative: Bool) -> [EngineComparison.Candidate] {
    [true, false].map { screensHead in
      CUDAEngineForm(isCooperative: isCooperative, screensHead: screensHead).candidate { [device] in
        try CUDAEngine(weights: $0, device: device, options: $1)
      }
    }
  }
}
