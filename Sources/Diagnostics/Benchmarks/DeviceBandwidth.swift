package import BitNetCUDADriver

/// How fast a GPU's memory goes by: the bound on how fast a model's weights can.
package enum DeviceBandwidth {
  /// Copies a part of the memory that is larger than any cache to another place, several times.
  ///
  /// - Returns: bytes read and written in a second, the median of the copies.
  package static func measure(_ device: CUDADevice) throws(CUDAError) -> Double {
    try CUDAKernelBenchmark(device: device.ordinal, isQuick: true, cublasLibraries: []).copyBytesPerSecond()
  }
}
