import Foundation

#if os(Linux)
  /// An environment in which the driver's library is the stand-in that runs kernels on the processor. It lies beside the program, and so does
  /// the cache folder, so that the check before the first use is made once for all tests.
  func emulatedGPU(_ folder: TemporaryFolder) throws -> [String: String] {
    let library = BitNetProgram.url.deletingLastPathComponent().appending(path: "libCUDAOnCPU.so")
    try FileManager.default.createSymbolicLink(at: folder["libcuda.so.1"], withDestinationURL: library)
    return [
      "LD_LIBRARY_PATH": folder.url.path, "XDG_CACHE_HOME": library.deletingLastPathComponent().appending(path: "test-cache").path,
    ]
  }
#endif
