/// A GPU in use: its primary context, which all users of the device in this process share.
///
/// Everything made in a context keeps it alive. What goes wrong in a kernel (an address that is not there) ends the
/// context: from then on every call on the device throws, in every context of it, until the process ends.
package final class CUDAContext: Sendable {
  /// The oldest compute capability that will do: Ampere's.
  static let neededCapability = (major: 8, minor: 0)

  package let device: CUDADevice
  /// A token of the driver's, which may be used on any thread.
  private nonisolated(unsafe) let handle: CUcontext?

  /// - Throws: `CUDAError.deviceTooOld` below compute capability 8.0, or `.call` when the driver makes no context.
  package init(_ device: CUDADevice) throws(CUDAError) {
    let (capability, needed) = (device.capability, Self.neededCapability)
    guard capability >= needed else {
      throw .deviceTooOld(
        name: device.name, capability: "\(capability.major).\(capability.minor)",
        needed: "\(needed.major).\(needed.minor)")
    }
    guard !device.condition.isAbandoned else { throw .abandoned(device: device.name) }
    var handle: CUcontext?
    try device.driver.check(
      device.driver.functions.cuDevicePrimaryCtxRetain(&handle, device.handle), "cuDevicePrimaryCtxRetain", device.name)
    self.device = device
    self.handle = handle
  }

  deinit {
    if device.condition.isUsable { _ = device.driver.functions.cuDevicePrimaryCtxRelease(device.handle) }
  }

  /// Makes the driver's calls of this thread go to this context. All types of this module do it by themselves.
  package func makeCurrent() throws(CUDAError) {
    guard !device.condition.isAbandoned else { throw .abandoned(device: device.name) }
    try device.driver.check(device.driver.functions.cuCtxSetCurrent(handle), "cuCtxSetCurrent")
  }

  /// Waits until all work on the device is done.
  ///
  /// - Throws: also the errors of earlier work.
  package func synchronize() throws(CUDAError) {
    try call("cuCtxSynchronize") { $0.cuCtxSynchronize() }
  }

  /// Bytes of the device's memory: those free now and all.
  package func memory() throws(CUDAError) -> (free: Int, total: Int) {
    var (free, total) = (0, 0)
    try call("cuMemGetInfo") { $0.cuMemGetInfo(&free, &total) }
    return (free, total)
  }

  /// Makes the context current and calls a function of the driver.
  ///
  /// - Parameters:
  ///   - function: its name, for the error.
  ///   - detail: the call's arguments, for the error.
  func call(
    _ function: String, _ detail: @autoclosure () -> String = "", _ body: (DriverFunctions) -> CUresult
  ) throws(CUDAError) {
    try device.driver.check(result(body), function, detail())
  }

  /// Makes the context current, calls a function of the driver and returns its answer.
  func result(_ body: (DriverFunctions) -> CUresult) throws(CUDAError) -> CUresult {
    try makeCurrent()
    let result = body(device.driver.functions)
    if ResultCode.endsContext(result) { device.condition.fail() }
    return result
  }

  /// Gives something back to the driver. A context that a kernel has ended holds nothing that could be given back, and
  /// one that is abandoned must not be called.
  func release(_ body: (DriverFunctions) -> CUresult) {
    guard device.condition.isUsable else { return }
    _ = try? result(body)
  }
}
