/// Memory of the GPU. It is freed with this object, which the work that uses it must not outlive.
package final class CUDABuffer: Sendable {
  package let context: CUDAContext
  /// The address of the first byte, for kernels; a multiple of 256.
  package let address: UInt64
  package let byteCount: Int

  /// Allocates memory, whose contents are arbitrary.
  ///
  /// - Parameter byteCount: 0 or more. One byte is allocated for 0, so that there is an address.
  /// - Throws: `CUDAError.outOfMemory` with the free memory.
  package init(_ context: CUDAContext, byteCount: Int) throws(CUDAError) {
    try requireByteCount(byteCount)
    var address: CUdeviceptr = 0
    let result = try context.result { $0.cuMemAlloc(&address, max(byteCount, 1)) }
    if result == ResultCode.outOfMemory {
      throw .outOfMemory(requested: byteCount, free: try? context.memory().free)
    }
    try context.device.driver.check(result, "cuMemAlloc", "\(byteCount) bytes")
    self.context = context
    self.address = address
    self.byteCount = byteCount
  }

  deinit { context.release { $0.cuMemFree(address) } }

  /// Copies bytes into the buffer and waits until they have arrived. Does not wait for work in flight.
  ///
  /// - Parameter offset: where in the buffer the first byte goes.
  /// - Throws: `CUDAError.outOfBounds` when the bytes do not fit.
  package func copy(from host: UnsafeRawBufferPointer, at offset: Int = 0) throws(CUDAError) {
    try requireRange(offset, host.count)
    guard host.count > 0 else { return }
    try context.call("cuMemcpyHtoD", "\(host.count) bytes to offset \(offset)") {
      $0.cuMemcpyHtoD(address + UInt64(offset), host.baseAddress, host.count)
    }
    try settle()
  }

  /// Copies bytes out of the buffer. Does not wait for work in flight: synchronize with the work that writes them
  /// first.
  ///
  /// - Parameter offset: the first byte's place in the buffer.
  /// - Throws: `CUDAError.outOfBounds` when the buffer ends before.
  package func copy(to host: UnsafeMutableRawBufferPointer, from offset: Int = 0) throws(CUDAError) {
    try requireRange(offset, host.count)
    guard host.count > 0 else { return }
    try context.call("cuMemcpyDtoH", "\(host.count) bytes from offset \(offset)") {
      $0.cuMemcpyDtoH(host.baseAddress, address + UInt64(offset), host.count)
    }
  }

  /// Sets all bytes and waits until they are set. Work in flight is not waited for.
  package func fill(byte: UInt8) throws(CUDAError) {
    guard byteCount > 0 else { return }
    try context.call("cuMemsetD8", "\(byteCount) bytes") { $0.cuMemsetD8(address, byte, byteCount) }
    try settle()
  }

  /// Waits for the default stream. Its copies and fills may return before they have reached the memory, and streams of
  /// this module do not wait for it.
  private func settle() throws(CUDAError) {
    try context.call("cuStreamSynchronize") { $0.cuStreamSynchronize(nil) }
  }

  private func requireRange(_ offset: Int, _ count: Int) throws(CUDAError) {
    guard offset >= 0, count <= byteCount, offset <= byteCount - count else {
      throw .outOfBounds(offset: offset, count: count, size: byteCount)
    }
  }
}

func requireByteCount(_ count: Int) throws(CUDAError) {
  guard count >= 0 else { throw .parameter(name: "the number of bytes", found: "\(count)", expected: "0 or more") }
}
