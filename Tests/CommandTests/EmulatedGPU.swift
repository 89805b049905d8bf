import Foundation
import TestSupport

#if os(Linux)
  private let standInDriver = Result {
    let library = StandInDriver.products.appending(path: "commands-libCUDAOnCPU.so")
    try StandInDriver.link(to: library)
    return library
  }

  /// An environment in which the driver's library is the stand-in that runs kernels on the CPU. The library and the
  /// cache folder are in the program's folder, so that the check before the first use runs once for all tests.
  func emulatedGPU(_ folder: TemporaryFolder) throws -> [String: String] {
    let library = try standInDriver.get()
    try FileManager.default.createSymbolicLink(at: folder["libcuda.so.1"], withDestinationURL: library)
    return [
      "LD_LIBRARY_PATH": folder.url.path,
      "XDG_CACHE_HOME": library.deletingLastPathComponent().appending(path: "test-cache").path,
    ]
  }
#endif
