package import Foundation

/// The library that stands in for NVIDIA's driver and runs kernels on the processor.
package enum StandInDriver {
  /// Where the test bundle and the programs are.
  package static var products: URL {
    #if canImport(Darwin)
      let bundle = Bundle.allBundles.first { $0.bundlePath.hasSuffix(".xctest") }?.bundleURL ?? Bundle.main.bundleURL
    #else
      let bundle = URL(filePath: CommandLine.arguments[0])
    #endif
    return bundle.deletingLastPathComponent()
  }

  /// Links the library and puts it at `path`, in one move: another run of the tests may be using a file of that name,
  /// and keeps what it has opened. The test bundle holds the same code, but drivers come as libraries.
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
