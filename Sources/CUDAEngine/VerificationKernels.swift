import CUDADriver

extension Verification {
  /// The resources of a kernel as the driver compiled it.
  public struct KernelFacts: Sendable {
    public let name: String
    /// The registers of each thread.
    public let registers: Int
    /// The bytes of local memory of each thread, for values that did not fit into registers.
    public let localBytes: Int
  }

  /// Loads every kernel, in the order of their names.
  ///
  /// - Parameter report: gets each kernel's name, and its resources or the error that kept it from being loaded.
  public func kernels(_ report: (String, Result<KernelFacts, CUDAError>) throws -> Void) rethrows {
    for kernel in Kernel.allCases.sorted(by: { $0.rawValue < $1.rawValue }) {
      let result = Result { () throws(CUDAError) in
        let function = try library.function(kernel)
        return KernelFacts(name: kernel.rawValue, registers: function.registerCount, localBytes: function.localByteCount)
      }
      try report(kernel.rawValue, result)
    }
  }

  /// Checks the kernels themselves.
  ///
  /// - Parameters:
  ///   - progress: called with 0…1.
  ///   - report: gets each check.
  public func kernelChecks(progress: (Double) -> Void = { _ in }, _ report: Report) rethrows {
    let cases = Check.count(Kernel.allCases.count, "kernel")
    try report(
      Check("kernels, loaded by the driver", cases: cases) { check in
        kernels { name, result in
          check.compared += 1
          if case .failure(let error) = result { check.note("\(name): \(error)", count: 1) }
        }
      })
    progress(1)
  }
}
