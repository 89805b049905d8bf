import Foundation

#if os(Linux)
  /// An environment in which the driver's library is the stand-in that runs kernels on the processor. It lies beside the program.
  func emulatedGPU(_ folder: TemporaryFolder) throws -> [String: String] {
    let library = BitNetProgram.url.deletingLastPathComponent().appending(path: "libCUDAOnCPU.so")
    try FileManager.default.createSymbolicLink(at: folder["libcuda.so.1"], withDestinationURL: library)
    return ["LD_LIBRARY_PATH": folder.url.path]
  }
#endif
