import CUDADriver

/// How fast a GPU's memory goes by: the bound on how fast a model's weights can.
public enum DeviceBandwidth {
  /// Copies a part of the memory that is larger than any cache to another place, several times.
  ///
  /// - Returns: bytes read and written in a second, the median of the copies.
  public static func measure(_ device: CUDADevice) throws(CUDAError) -> Double {
    try KernelBenchmark(device: device.ordinal, isQuick: true, cublasLibraries: []).copyBytesPerSecond()
  }
}
