// The types of the driver's interface. Handles are opaque, and null is never a valid one but for the stream.
typealias CUresult = UInt32
typealias CUdevice = Int32
package typealias CUdeviceptr = UInt64
typealias CUcontext = OpaquePointer
typealias CUmodule = OpaquePointer
typealias CUfunction = OpaquePointer
package typealias CUstream = OpaquePointer
typealias CUevent = OpaquePointer
typealias CUgraph = OpaquePointer
typealias CUgraphExec = OpaquePointer
/// CUuuid: 16 bytes.
typealias UUIDBytes = (UInt64, UInt64)

/// Results that mean something to this code.
enum ResultCode {
  static let success: CUresult = 0
  static let outOfMemory: CUresult = 2
  static let noDevice: CUresult = 100
  static let notReady: CUresult = 600

  /// Whether the context is of no use from then on: a memory error that could not be corrected, and what kernels do
  /// wrong.
  static func endsContext(_ result: CUresult) -> Bool {
    switch result {
    case 214, 700, 702, 710, 714...719: true
    default: false
    }
  }
}

/// The functions of the driver that are used, under the names of its documentation.
struct DriverFunctions: Sendable {
  typealias Text = UnsafePointer<CChar>
  typealias Out<Value> = UnsafeMutablePointer<Value>
  typealias Arguments = UnsafeMutablePointer<UnsafeMutableRawPointer?>
  typealias Bytes = UnsafeRawPointer
  typealias MutableBytes = UnsafeMutableRawPointer

  let cuInit: @Sendable @convention(c) (UInt32) -> CUresult
  let cuGetErrorName: @Sendable @convention(c) (CUresult, Out<Text?>) -> CUresult
  let cuGetErrorString: @Sendable @convention(c) (CUresult, Out<Text?>) -> CUresult

  let cuDeviceGetCount: @Sendable @convention(c) (Out<Int32>) -> CUresult
  let cuDeviceGet: @Sendable @convention(c) (Out<CUdevice>, Int32) -> CUresult
  let cuDeviceGetName: @Sendable @convention(c) (Out<CChar>, Int32, CUdevice) -> CUresult
  let cuDeviceGetAttribute: @Sendable @convention(c) (Out<Int32>, Int32, CUdevice) -> CUresult
  let cuDeviceGetUuid: @Sendable @convention(c) (MutableBytes, CUdevice) -> CUresult
  let cuDeviceTotalMem: @Sendable @convention(c) (Out<Int>, CUdevice) -> CUresult

  let cuDevicePrimaryCtxRetain: @Sendable @convention(c) (Out<CUcontext?>, CUdevice) -> CUresult
  let cuDevicePrimaryCtxRelease: @Sendable @convention(c) (CUdevice) -> CUresult
  let cuCtxSetCurrent: @Sendable @convention(c) (CUcontext?) -> CUresult
  let cuCtxSynchronize: @Sendable @convention(c) () -> CUresult

  let cuMemGetInfo: @Sendable @convention(c) (_ free: Out<Int>, _ total: Out<Int>) -> CUresult
  let cuMemAlloc: @Sendable @convention(c) (Out<CUdeviceptr>, Int) -> CUresult
  let cuMemFree: @Sendable @convention(c) (CUdeviceptr) -> CUresult
  let cuMemHostAlloc: @Sendable @convention(c) (Out<MutableBytes?>, Int, _ flags: UInt32) -> CUresult
  let cuMemFreeHost: @Sendable @convention(c) (MutableBytes?) -> CUresult
  let cuMemHostGetDevicePointer: @Sendable @convention(c) (Out<CUdeviceptr>, MutableBytes?, _ flags: UInt32) -> CUresult
  let cuMemcpyHtoD: @Sendable @convention(c) (CUdeviceptr, Bytes?, Int) -> CUresult
  let cuMemcpyDtoH: @Sendable @convention(c) (MutableBytes?, CUdeviceptr, Int) -> CUresult
  let cuMemcpyHtoDAsync: @Sendable @convention(c) (CUdeviceptr, Bytes?, Int, CUstream?) -> CUresult
  let cuMemcpyDtoHAsync: @Sendable @convention(c) (MutableBytes?, CUdeviceptr, Int, CUstream?) -> CUresult
  let cuMemcpyDtoDAsync: @Sendable @convention(c) (_ to: CUdeviceptr, _ from: CUdeviceptr, Int, CUstream?) -> CUresult
  let cuMemsetD8: @Sendable @convention(c) (CUdeviceptr, UInt8, Int) -> CUresult
  let cuMemsetD8Async: @Sendable @convention(c) (CUdeviceptr, UInt8, Int, CUstream?) -> CUresult

  let cuModuleLoadDataEx:
    @Sendable @convention(c) (Out<CUmodule?>, Bytes?, _ options: UInt32, Out<UInt32>?, _ values: Arguments?) -> CUresult
  let cuModuleUnload: @Sendable @convention(c) (CUmodule?) -> CUresult
  let cuModuleGetFunction: @Sendable @convention(c) (Out<CUfunction?>, CUmodule?, Text) -> CUresult
  let cuFuncSetAttribute: @Sendable @convention(c) (CUfunction?, Int32, Int32) -> CUresult
  let cuFuncGetAttribute: @Sendable @convention(c) (Out<Int32>, Int32, CUfunction?) -> CUresult
  let cuOccupancyMaxActiveBlocksPerMultiprocessor:
    @Sendable @convention(c) (Out<Int32>, CUfunction?, _ threads: Int32, _ sharedBytes: Int) -> CUresult

  let cuStreamCreate: @Sendable @convention(c) (Out<CUstream?>, _ flags: UInt32) -> CUresult
  let cuStreamDestroy: @Sendable @convention(c) (CUstream?) -> CUresult
  let cuStreamSynchronize: @Sendable @convention(c) (CUstream?) -> CUresult
  let cuStreamQuery: @Sendable @convention(c) (CUstream?) -> CUresult
  let cuStreamBeginCapture: @Sendable @convention(c) (CUstream?, _ mode: UInt32) -> CUresult
  let cuStreamEndCapture: @Sendable @convention(c) (CUstream?, Out<CUgraph?>) -> CUresult

  let cuGraphInstantiateWithFlags: @Sendable @convention(c) (Out<CUgraphExec?>, CUgraph?, _ flags: UInt64) -> CUresult
  let cuGraphLaunch: @Sendable @convention(c) (CUgraphExec?, CUstream?) -> CUresult
  let cuGraphDestroy: @Sendable @convention(c) (CUgraph?) -> CUresult
  let cuGraphExecDestroy: @Sendable @convention(c) (CUgraphExec?) -> CUresult

  let cuEventCreate: @Sendable @convention(c) (Out<CUevent?>, _ flags: UInt32) -> CUresult
  let cuEventDestroy: @Sendable @convention(c) (CUevent?) -> CUresult
  let cuEventRecord: @Sendable @convention(c) (CUevent?, CUstream?) -> CUresult
  let cuEventSynchronize: @Sendable @convention(c) (CUevent?) -> CUresult
  let cuEventElapsedTime:
    @Sendable @convention(c) (_ milliseconds: Out<Float>, _ from: CUevent?, _ to: CUevent?) -> CUresult

  let cuLaunchKernel:
    @Sendable @convention(c) (
      CUfunction?, _ gridX: UInt32, _ gridY: UInt32, _ gridZ: UInt32, _ blockX: UInt32, _ blockY: UInt32,
      _ blockZ: UInt32,
      _ sharedBytes: UInt32, CUstream?, Arguments?, _ extra: Arguments?
    ) -> CUresult
  let cuLaunchCooperativeKernel:
    @Sendable @convention(c) (
      CUfunction?, _ gridX: UInt32, _ gridY: UInt32, _ gridZ: UInt32, _ blockX: UInt32, _ blockY: UInt32,
      _ blockZ: UInt32,
      _ sharedBytes: UInt32, CUstream?, Arguments?
    ) -> CUresult

  /// Finds every function.
  ///
  /// - Throws: `CUDAError.functionMissing` naming the first that the library has not.
  init(_ library: SharedLibrary) throws(CUDAError) {
    cuInit = try library.function("cuInit")
    cuGetErrorName = try library.function("cuGetErrorName")
    cuGetErrorString = try library.function("cuGetErrorString")

    cuDeviceGetCount = try library.function("cuDeviceGetCount")
    cuDeviceGet = try library.function("cuDeviceGet")
    cuDeviceGetName = try library.function("cuDeviceGetName")
    cuDeviceGetAttribute = try library.function("cuDeviceGetAttribute")
    cuDeviceGetUuid = try library.function("cuDeviceGetUuid_v2")
    cuDeviceTotalMem = try library.function("cuDeviceTotalMem_v2")

    cuDevicePrimaryCtxRetain = try library.function("cuDevicePrimaryCtxRetain")
    cuDevicePrimaryCtxRelease = try library.function("cuDevicePrimaryCtxRelease_v2")
    cuCtxSetCurrent = try library.function("cuCtxSetCurrent")
    cuCtxSynchronize = try library.function("cuCtxSynchronize")

    cuMemGetInfo = try library.function("cuMemGetInfo_v2")
    cuMemAlloc = try library.function("cuMemAlloc_v2")
    cuMemFree = try library.function("cuMemFree_v2")
    cuMemHostAlloc = try library.function("cuMemHostAlloc")
    cuMemFreeHost = try library.function("cuMemFreeHost")
    cuMemHostGetDevicePointer = try library.function("cuMemHostGetDevicePointer_v2")
    cuMemcpyHtoD = try library.function("cuMemcpyHtoD_v2")
    cuMemcpyDtoH = try library.function("cuMemcpyDtoH_v2")
    cuMemcpyHtoDAsync = try library.function("cuMemcpyHtoDAsync_v2")
    cuMemcpyDtoHAsync = try library.function("cuMemcpyDtoHAsync_v2")
    cuMemcpyDtoDAsync = try library.function("cuMemcpyDtoDAsync_v2")
    cuMemsetD8 = try library.function("cuMemsetD8_v2")
    cuMemsetD8Async = try library.function("cuMemsetD8Async")

    cuModuleLoadDataEx = try library.function("cuModuleLoadDataEx")
    cuModuleUnload = try library.function("cuModuleUnload")
    cuModuleGetFunction = try library.function("cuModuleGetFunction")
    cuFuncSetAttribute = try library.function("cuFuncSetAttribute")
    cuFuncGetAttribute = try library.function("cuFuncGetAttribute")
    cuOccupancyMaxActiveBlocksPerMultiprocessor = try library.function("cuOccupancyMaxActiveBlocksPerMultiprocessor")

    cuStreamCreate = try library.function("cuStreamCreate")
    cuStreamDestroy = try library.function("cuStreamDestroy_v2")
    cuStreamSynchronize = try library.function("cuStreamSynchronize")
    cuStreamQuery = try library.function("cuStreamQuery")
    cuStreamBeginCapture = try library.function("cuStreamBeginCapture_v2")
    cuStreamEndCapture = try library.function("cuStreamEndCapture")

    cuGraphInstantiateWithFlags = try library.function("cuGraphInstantiateWithFlags")
    cuGraphLaunch = try library.function("cuGraphLaunch")
    cuGraphDestroy = try library.function("cuGraphDestroy")
    cuGraphExecDestroy = try library.function("cuGraphExecDestroy")

    cuEventCreate = try library.function("cuEventCreate")
    cuEventDestroy = try library.function("cuEventDestroy_v2")
    cuEventRecord = try library.function("cuEventRecord")
    cuEventSynchronize = try library.function("cuEventSynchronize")
    cuEventElapsedTime = try library.function("cuEventElapsedTime")

    cuLaunchKernel = try library.function("cuLaunchKernel")
    cuLaunchCooperativeKernel = try library.function("cuLaunchCooperativeKernel")
  }

  /// What the driver calls a result, and its sentence for it.
  func describe(_ code: CUresult) -> CUDAResult {
    func text(_ ask: (CUresult, Out<Text?>) -> CUresult) -> String? {
      var text: Text?
      return ask(code, &text) == ResultCode.success ? text.map { String(cString: $0) } : nil
    }
    var words = text(cuGetErrorString) ?? "unknown error"
    // They go into the middle of a sentence, and some end one.
    if words.hasSuffix(".") { words.removeLast() }
    return CUDAResult(code: code, name: text(cuGetErrorName) ?? "unnamed", text: words)
  }
}
