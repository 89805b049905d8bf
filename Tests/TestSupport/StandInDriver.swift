package import Foundation

/// The library that replaces NVIDIA's driver and runs kernels on the CPU.
package enum StandInDriver {
  /// The folder that contains the test bundle and the programs.
  package static var products: URL {
    #if canImport(Darwin)
      let bundle = Bundle.allBundles.first { $0.bundlePath.hasSuffix(".xctest") }?.bundleURL ?? Bundle.main.bundleURL
    #else
      let bundle = URL(filePath: CommandLine.arguments[0])
    #endif
    return bundle.deletingLastPathComponent()
  }

  /// Links the library, because a driver must be a separate library although the test bundle contains the same code.
  /// Moves it to `path` atomically, so that another test run keeps the file of that name that it has opened.
  package static func link(to path: URL) throws {
    let script = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../../Scripts/stand-in-driver")
    let new = path.deletingLastPathComponent().appending(path: "\(UUID().uuidString)-\(path.lastPathComponent)")
    let process = Process()
    process.executableURL = URL(filePath: "/usr/bin/env")
    process.arguments = ["bash", script.path, products.path, new.path]
    try process.run()
    process.waitUntilExit()
    guard process.terminationStatus == 0, rename(new.path, path.path) == 0 else { throw CocoaError(.fileWriteUnknown) }
  }
}
