/// Work of a stream that was recorded once and can be started as often as wanted, at the price of one launch.
///
/// It holds the addresses and argument values it was recorded with: buffers and modules must live as long as it is
/// used.
package final class CUDAGraph {
  package let context: CUDAContext
  private let handle: CUgraphExec?

  init(_ context: CUDAContext, template: CUgraph?) throws(CUDAError) {
    var handle: CUgraphExec?
    try context.call("cuGraphInstantiateWithFlags") { $0.cuGraphInstantiateWithFlags(&handle, template, 0) }
    self.context = context
    self.handle = handle
  }

  deinit { context.release { $0.cuGraphExecDestroy(handle) } }

  /// Starts the work, after the stream's earlier work. Two starts of one graph do not run at the same time.
  package func launch(on stream: CUDAStream) throws(CUDAError) {
    try context.call("cuGraphLaunch") { $0.cuGraphLaunch(handle, stream.handle) }
  }
}

extension CUDAStream {
  private enum CaptureMode {
    /// The driver refuses calls that would spoil the recording, such as allocations, to this thread only.
    static let threadLocal: UInt32 = 1
  }

  /// Records the work that `body` gives this stream, without doing it.
  ///
  /// ```swift
  /// let graph = try stream.capture { () throws(CUDAError) in
  ///   try stream.launch(kernel, grid: 4, threads: 256, .value(buffer.address))
  /// }
  /// ```
  ///
  /// Until it returns this thread must not allocate or free memory of the device, synchronize, or use synchronous
  /// copies: the driver refuses them and drops the recording.
  /// - Throws: the error of `body`; the stream can be used again either way.
  package func capture(_ body: () throws(CUDAError) -> Void) throws(CUDAError) -> CUDAGraph {
    try context.call("cuStreamBeginCapture") { $0.cuStreamBeginCapture(handle, CaptureMode.threadLocal) }
    var failure: CUDAError?
    do throws(CUDAError) { try body() } catch { failure = error }
    var template: CUgraph?
    let ended = try context.result { $0.cuStreamEndCapture(handle, &template) }
    defer { if template != nil { context.release { $0.cuGraphDestroy(template) } } }
    if let failure { throw failure }
    try context.device.driver.check(ended, "cuStreamEndCapture")
    return try CUDAGraph(context, template: template)
  }
}
