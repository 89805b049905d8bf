/// Work for the GPU, done in the order it was given, beside the work of other streams.
///
/// The work that these functions start goes on after they return; the memory it uses must stay until it is done. Later
/// calls throw its errors.
package final class CUDAStream {
  package let context: CUDAContext
  package let handle: CUstream?

  private enum Flag {
    /// The stream does not wait for the default stream, nor that for it.
    static let nonBlocking: UInt32 = 1
  }

  package init(_ context: CUDAContext) throws(CUDAError) {
    var handle: CUstream?
    try context.call("cuStreamCreate") { $0.cuStreamCreate(&handle, Flag.nonBlocking) }
    self.context = context
    self.handle = handle
  }

  /// Work that is under way goes on to its end.
  deinit { context.release { $0.cuStreamDestroy(handle) } }

  /// Waits until all work given so far is done.
  ///
  /// - Throws: also the errors of that work.
  package func synchronize() throws(CUDAError) {
    try context.call("cuStreamSynchronize") { $0.cuStreamSynchronize(handle) }
  }

  /// Whether all work given so far is done.
  ///
  /// - Throws: also the errors of that work.
  package func isIdle() throws(CUDAError) -> Bool {
    let result = try context.result { $0.cuStreamQuery(handle) }
    if result == ResultCode.notReady { return false }
    try context.device.driver.check(result, "cuStreamQuery")
    return true
  }

  /// Copies from the host to an address of the device. Bytes in page-locked memory must stay as they are until it is
  /// done; others have been read when this returns, except in a capture: a graph reads them whenever it runs.
  package func copy(from host: UnsafeRawBufferPointer, to address: UInt64) throws(CUDAError) {
    guard host.count > 0 else { return }
    try context.call("cuMemcpyHtoDAsync", "\(host.count) bytes") {
      $0.cuMemcpyHtoDAsync(address, host.baseAddress, host.count, handle)
    }
  }

  /// Copies from an address of the device to the host, where the bytes are once the stream is synchronized.
  package func copy(from address: UInt64, to host: UnsafeMutableRawBufferPointer) throws(CUDAError) {
    guard host.count > 0 else { return }
    try context.call("cuMemcpyDtoHAsync", "\(host.count) bytes") {
      $0.cuMemcpyDtoHAsync(host.baseAddress, address, host.count, handle)
    }
  }

  /// Copies between addresses of the device that do not overlap.
  ///
  /// - Parameter byteCount: 0 or more.
  package func copy(device source: UInt64, to destination: UInt64, byteCount: Int) throws(CUDAError) {
    try requireByteCount(byteCount)
    guard byteCount > 0 else { return }
    try context.call("cuMemcpyDtoDAsync", "\(byteCount) bytes") {
      $0.cuMemcpyDtoDAsync(destination, source, byteCount, handle)
    }
  }

  /// Sets bytes at an address of the device.
  ///
  /// - Parameter count: 0 or more.
  package func fill(_ address: UInt64, byte: UInt8, count: Int) throws(CUDAError) {
    try requireByteCount(count)
    guard count > 0 else { return }
    try context.call("cuMemsetD8Async", "\(count) bytes") { $0.cuMemsetD8Async(address, byte, count, handle) }
  }
}
