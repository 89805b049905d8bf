import Foundation
import TestSupport
import Testing

/// Compiles programs outside the package that import only BitNet.
@Suite("A program that imports BitNet")
struct ClientTests {
  @Test(
    "compiles the examples of the README and the documentation",
    arguments: ["README.md", "Sources/BitNet/BitNet.docc/BitNet.md"])
  func examples(document: String) throws {
    let examples = try Self.examples(in: document)
    #expect(!examples.isEmpty)
    for example in examples {
      let output = try Self.typecheck(example)
      #expect(output.isEmpty, "\(document):\n\(example)\n\(output)")
    }
  }

  @Test(
    "cannot see the package's internal types",
    arguments: [
      "TernaryMatrix", "Tile", "CUDAEngine", "CPUEngine", "Scheduler", "CuBLAS", "CUDADriver", "ModelLoader",
      "SplitMix64",
      "DeviceCheck", "EngineError", "Verification", "PageBuffer", "CUDAFunction",
    ])
  func sealed(name: String) throws {
    let output = try Self.typecheck("import BitNet\nlet hidden = \(name).self\n")
    #expect(output.contains("cannot find '\(name)' in scope"), "\(output)")
  }

  @Test("sees fewer than 180 public symbols, and none that BitNet does not export")
  func surface() throws {
    var names: [String] = []
    // Symbols of other modules are public only if BitNet exports them.
    for module in ["BitNet", "BitNetCPUEngine", "BitNetInference", "BitNetServing", "BitNetTokenization"] {
      names += try Self.symbols(of: module)
    }
    #expect((50..<180).contains(names.count), "\(names.count): \(names.sorted())")
    for module in Self.others { #expect(try Self.symbols(of: module) == [], "\(module)") }
  }

  private static let others = [
    "BitNetConstraints", "BitNetCUDADriver", "BitNetCUDAEngine", "BitNetDeviceCheck", "BitNetDiagnostics", "BitNetJSON",
    "BitNetModelFiles", "BitNetRandomModels", "BitNetTernary",
  ]

  private static let root = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../..")
    .standardizedFileURL

  /// The Swift examples in a Markdown file that begin with `import BitNet`.
  private static func examples(in document: String) throws -> [String] {
    let text = try String(contentsOf: root.appending(path: document), encoding: .utf8)
    return text.components(separatedBy: "```swift\n").dropFirst()
      .compactMap { $0.components(separatedBy: "\n```").first }.filter { $0.hasPrefix("import BitNet\n") }
  }

  /// The compiler's messages about a program outside the package; empty if it compiles.
  private static func typecheck(_ program: String) throws -> String {
    try withFolder { folder in
      let file = folder.appending(path: "main.swift")
      try program.write(to: file, atomically: true, encoding: .utf8)
      return try run(["swiftc", "-typecheck", "-swift-version", "6", file.path] + searchPaths)
    }
  }

  /// The names of a module's public symbols, without those that the compiler synthesises for conformances.
  private static func symbols(of module: String) throws -> [String] {
    struct Graph: Decodable {
      struct Symbol: Decodable { let pathComponents: [String] }
      let symbols: [Symbol]
    }
    return try withFolder { folder in
      let output = try run(
        [
          "swift-symbolgraph-extract", "-module-name", module, "-minimum-access-level", "public",
          "-skip-synthesized-members", "-target", target(), "-output-dir", folder.path,
        ] + searchPaths)
      let data = try? Data(contentsOf: folder.appending(path: "\(module).symbols.json"))
      let graph = try JSONDecoder().decode(Graph.self, from: #require(data, "\(output)"))
      return graph.symbols.map { $0.pathComponents.joined(separator: ".") }
    }
  }

  private static func withFolder<Result>(_ body: (URL) throws -> Result) throws -> Result {
    let folder = FileManager.default.temporaryDirectory.appending(path: "bitnet-client-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    return try body(folder)
  }

  /// The target triple of this machine.
  private static func target() throws -> String {
    struct Info: Decodable {
      struct Target: Decodable { let triple: String }
      let target: Target
    }
    let output = try run(["swiftc", "-print-target-info"])
    return try JSONDecoder().decode(Info.self, from: Data(output.utf8)).target.triple
  }

  /// Compiler options that find the modules of this build.
  private static var searchPaths: [String] {
    let products = StandInDriver.products
    return ["-I", products.appending(path: "Modules").path]
      + ["CBitNetCUDAKernels", "CBitNetHash", "CBitNetTernary", "BitNetDemoModel"].flatMap {
        ["-Xcc", "-fmodule-map-file=\(products.appending(path: "\($0).build/module.modulemap").path)"]
      }
  }

  private static func run(_ arguments: [String]) throws -> String {
    let process = Process()
    process.executableURL = URL(filePath: "/usr/bin/env")
    process.arguments = arguments
    let pipe = Pipe()
    process.standardOutput = pipe
    process.standardError = pipe
    try process.run()
    let output = pipe.fileHandleForReading.readDataToEndOfFile()
    process.waitUntilExit()
    return String(decoding: output, as: UTF8.self)
  }
}
