/// A place in a stream's work, to wait for and to measure from.
package final class CUDAEvent {
  package let context: CUDAContext
  let handle: CUevent?

  private enum Flag {
    static let standard: UInt32 = 0
    static let disableTiming: UInt32 = 2
  }

  /// - Parameter timing: whether times can be measured with it; without, waiting costs less.
  package init(_ context: CUDAContext, timing: Bool = true) throws(CUDAError) {
    var handle: CUevent?
    try context.call("cuEventCreate") { $0.cuEventCreate(&handle, timing ? Flag.standard : Flag.disableTiming) }
    self.context = context
    self.handle = handle
  }

  deinit { context.release { $0.cuEventDestroy(handle) } }

  /// Marks the work given to the stream so far, and forgets the earlier mark.
  package func record(on stream: CUDAStream) throws(CUDAError) {
    try context.call("cuEventRecord") { $0.cuEventRecord(handle, stream.handle) }
  }

  /// Waits until the marked work is done. An event that was never recorded has none.
  package func synchronize() throws(CUDAError) {
    try context.call("cuEventSynchronize") { $0.cuEventSynchronize(handle) }
  }

  /// Seconds from the end of the work that `start` marks to the end of this one's, to about a microsecond.
  ///
  /// - Throws: `CUDAError.call` when an event was not recorded, was made without timing, or its work is not done.
  package func seconds(since start: CUDAEvent) throws(CUDAError) -> Double {
    var milliseconds: Float = 0
    try context.call("cuEventElapsedTime") { $0.cuEventElapsedTime(&milliseconds, start.handle, handle) }
    return Double(milliseconds) / 1000
  }
}
