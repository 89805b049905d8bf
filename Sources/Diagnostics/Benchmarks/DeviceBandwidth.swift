package import BitNetCUDADriver

/// The bandwidth of a GPU's memory, which bounds the speed of decoding.
package enum DeviceBandwidth {
  /// Copies a block of device memory that is larger than any cache several times.
  ///
  /// - Returns: the bytes read and written per second; the median of the copies.
  package static func measure(_ device: CUDADevice) throws(CUDAError) -> Double {
    try CUDAKernelBenchmark(device: device.ordinal, isQuick: true, cublasLibraries: []).copyBytesPerSecond()
  }
}
