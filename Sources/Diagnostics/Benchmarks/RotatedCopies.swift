import BitNetCUDADriver

/// Copies of the same bytes in device memory, so many that the second-level cache does not hold all of them.
struct RotatedCopies {
  let count: Int
  private let buffer: CUDABuffer
  private let stride: Int

  /// The most launches of a graph.
  private static let countLimit = 1 << 16

  /// - Parameter byteCount: the bytes of one copy, 1 or more. The contents are arbitrary at first.
  init(_ benchmark: CUDAKernelBenchmark, byteCount: Int) throws(CUDAError) {
    stride = (byteCount + 255) / 256 * 256
    let wanted = benchmark.isEmulated ? 2 : 2 * benchmark.device.l2ByteCount / byteCount + 1
    count = min(wanted, Self.countLimit)
    buffer = try CUDABuffer(benchmark.context, byteCount: count * stride)
  }

  func address(_ copy: Int) -> UInt64 { buffer.address + UInt64(copy * stride) }

  /// Writes the same bytes into all copies, repeating them if they are fewer than the bytes of a copy.
  func fill(_ bytes: UnsafeRawBufferPointer, byteCount: Int, _ stream: CUDAStream) throws(CUDAError) {
    for start in Swift.stride(from: 0, to: byteCount, by: bytes.count) {
      try buffer.copy(from: UnsafeRawBufferPointer(rebasing: bytes.prefix(byteCount - start)), at: start)
    }
    for copy in 1..<max(count, 1) { try stream.copy(device: address(0), to: address(copy), byteCount: byteCount) }
    try stream.synchronize()
  }
}
