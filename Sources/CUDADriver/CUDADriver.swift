/// NVIDIA's driver, found when the program runs: nothing of it is needed to build or to start.
package final class CUDADriver: Sendable {
  /// The oldest CUDA version that will do, as `cuDriverGetVersion` counts: the embedded PTX is of 12.1's kind, which
  /// R530 introduced.
  static let neededVersion = 12010

  /// The newest CUDA version the driver supports, as `cuDriverGetVersion` counts: 12010 is 12.1.
  package let version: Int
  /// Whether the library is a stand-in that runs kernels on the processor: then times mean nothing, and no step has a
  /// time limit. A stand-in exports `cuda_on_cpu_is_emulator`; NVIDIA's driver has no function of this name.
  package let isEmulated: Bool
  let functions: DriverFunctions

  /// A version as people write it: "12.1" for 12010.
  package static func versionName(_ version: Int) -> String { "\(version / 1000).\(version % 1000 / 10)" }

  /// Opens the driver's library and starts the driver.
  ///
  /// - Parameter library: a name that the system's loader looks for, or a path.
  /// - Throws: `CUDAError.driverMissing`, `.functionMissing` for a library that is not the driver's, `.driverTooOld`,
  ///   `.noDevice`, or `.call` when the driver does not start.
  package static func load(library: String = "libcuda.so.1") throws(CUDAError) -> CUDADriver {
    try CUDADriver(SharedLibrary(library))
  }

  private init(_ library: SharedLibrary) throws(CUDAError) {
    // Check the version first: an old driver lacks functions, and the error should name its age.
    let getVersion: @convention(c) (DriverFunctions.Out<Int32>) -> CUresult = try library.function("cuDriverGetVersion")
    var version: Int32 = 0
    let result = getVersion(&version)
    if result == ResultCode.success, version < Self.neededVersion {
      throw .driverTooOld(found: Int(version), needed: Self.neededVersion)
    }
    self.version = Int(version)
    isEmulated = library.hasFunction("cuda_on_cpu_is_emulator")
    functions = try DriverFunctions(library)
    try check(result, "cuDriverGetVersion")
    let started = functions.cuInit(0)
    if started == ResultCode.noDevice { throw .noDevice }
    try check(started, "cuInit")
  }

  /// The GPUs that this process may see, in the driver's order, including GPUs too old for a context.
  package func devices() throws(CUDAError) -> [CUDADevice] {
    var devices: [CUDADevice] = []
    for ordinal in 0..<(try deviceCount()) { devices.append(try CUDADevice(self, ordinal: ordinal)) }
    return devices
  }

  /// One GPU.
  ///
  /// - Parameter ordinal: 0 to the number of devices, less one.
  package func device(_ ordinal: Int) throws(CUDAError) -> CUDADevice {
    let count = try deviceCount()
    guard count > 0 else { throw .noDevice }
    guard 0..<count ~= ordinal else { throw .deviceOutOfRange(ordinal, count: count) }
    return try CUDADevice(self, ordinal: ordinal)
  }

  private func deviceCount() throws(CUDAError) -> Int {
    var count: Int32 = 0
    try check(functions.cuDeviceGetCount(&count), "cuDeviceGetCount")
    return max(Int(count), 0)
  }

  /// Turns a result that is not success into an error.
  ///
  /// - Parameters:
  ///   - function: the function that was called.
  ///   - detail: its arguments.
  func check(_ result: CUresult, _ function: String, _ detail: @autoclosure () -> String = "") throws(CUDAError) {
    guard result != ResultCode.success else { return }
    throw .call(function: function, result: functions.describe(result), detail: detail())
  }
}
