/// Memory of the host that the GPU can reach: page-locked, so that copies run beside other work, and mapped, so that
/// kernels can read and write it. It is freed with this object, which the work that uses it must not outlive.
package final class CUDAHostBuffer {
  package let context: CUDAContext
  /// The memory; its contents are arbitrary at first.
  package let bytes: UnsafeMutableRawBufferPointer
  /// The address of the first byte for kernels.
  package let deviceAddress: UInt64

  private enum Flag {
    /// For all contexts of the process.
    static let portable: UInt32 = 1
    static let deviceMap: UInt32 = 2
  }

  /// - Parameter byteCount: 0 or more. One byte is allocated for 0, so that there is an address.
  /// - Throws: `CUDAError.outOfHostMemory` when the system gives no more.
  package init(_ context: CUDAContext, byteCount: Int) throws(CUDAError) {
    try requireByteCount(byteCount)
    var memory: UnsafeMutableRawPointer?
    let result = try context.result { $0.cuMemHostAlloc(&memory, max(byteCount, 1), Flag.portable | Flag.deviceMap) }
    if result == ResultCode.outOfMemory { throw .outOfHostMemory(requested: byteCount) }
    try context.device.driver.check(result, "cuMemHostAlloc", "\(byteCount) bytes")
    var deviceAddress: CUdeviceptr = 0
    do throws(CUDAError) {
      try context.call("cuMemHostGetDevicePointer") { $0.cuMemHostGetDevicePointer(&deviceAddress, memory, 0) }
    } catch {
      context.release { $0.cuMemFreeHost(memory) }
      throw error
    }
    self.context = context
    self.deviceAddress = deviceAddress
    bytes = UnsafeMutableRawBufferPointer(start: memory, count: byteCount)
  }

  deinit { context.release { $0.cuMemFreeHost(bytes.baseAddress) } }
}
