package import BitNetCUDADriver
import BitNetCUDAEngine
package import BitNetDeviceCheck

extension Verification {
  /// The resources of a kernel, as compiled by the driver.
  package struct KernelFacts: Sendable {
    package let name: String
    /// The registers of each thread.
    package let registers: Int
    /// The bytes of local memory of each thread, for values that did not fit in registers.
    package let localBytes: Int
  }

  /// Loads every kernel whose instructions the device has, in the order of the names.
  ///
  /// - Parameter report: called with each kernel's name, and its resources or the error that prevented it from being
  ///   loaded.
  package func kernels(_ report: (String, Result<KernelFacts, CUDAError>) throws -> Void) rethrows {
    let capability = library.context.device.computeCapability
    for kernel in Kernel.allCases.sorted(by: { $0.rawValue < $1.rawValue }) where kernel.capability <= capability {
      let result = Result { () throws(CUDAError) in
        let function = try library.function(kernel)
        return KernelFacts(
          name: kernel.rawValue, registers: function.registerCount, localBytes: function.localByteCount)
      }
      try report(kernel.rawValue, result)
    }
  }

  /// Runs every kernel except the cooperative ones on its own, with random inputs, and compares all its output with
  /// scalar code.
  ///
  /// - Parameters:
  ///   - shapes: the number of random shapes for each kernel.
  ///   - isShort: whether to leave out the shapes of BitNet b1.58 2B-4T, whose results take the CPU some seconds.
  ///   - progress: called with the finished share, 0…1.
  ///   - report: called with each kernel's check as soon as it is complete. An error of the driver is the result of its
  ///     check, and the next kernels are still run.
  package func kernelChecks(
    shapes: Int, isShort: Bool = false, progress: (Double) -> Void = { _ in }, _ report: EqualityCheck.Report
  ) rethrows {
    var done = 0
    try KernelCheckList(shapes: shapes, isShort: isShort, seed: seed).run(on: { KernelCheckDevice(library) }) { check in
      try report(check)
      done += 1
      progress(Double(done) / Double(KernelCheckList.kernels.count))
    }
  }
}
