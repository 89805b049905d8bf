extension Verification {
  /// Runs every kernel but the cooperative ones by itself, with random inputs, and compares all it writes with scalar code.
  ///
  /// - Parameters:
  ///   - shapes: random ones for each kernel.
  ///   - isShort: without the shapes of BitNet b1.58 2B-4T, whose results take the processor some seconds.
  ///   - each: called with each kernel's check as soon as it is made. An error of the driver is the check's; the next kernels are run
  ///     all the same.
  public func kernelChecks(shapes: Int, isShort: Bool = false, each: (Check) throws -> Void) rethrows {
    try KernelCheckList(shapes: shapes, isShort: isShort, seed: seed).run(on: { KernelCheckDevice(library) }, each: each)
  }
}
