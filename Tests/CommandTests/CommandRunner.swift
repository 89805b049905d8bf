import Foundation
import TestSupport
import Testing

/// The program, run as users run it.
enum BitNetProgram {
  static let url = StandInDriver.products.appending(path: "bitnet")

  struct Output {
    let status: Int32
    let bytes: Data
    let errors: String
    var text: String { String(decoding: bytes, as: UTF8.self) }
  }

  /// Runs the program to its end. Its input and output go through files, so that no pipe can fill up.
  @discardableResult
  static func run(_ arguments: [String], input: Data = Data(), environment: [String: String] = [:]) async throws
    -> Output
  {
    try await TemporaryFolder.with { folder in
      let process = try start(arguments, input: input, environment: environment, folder: folder)
      return try await finish(process, folder: folder)
    }
  }

  static func run(_ arguments: String..., input: String) async throws -> Output {
    try await run(arguments, input: Data(input.utf8))
  }

  static func run(_ arguments: String...) async throws -> Output { try await run(arguments) }

  static func start(
    _ arguments: [String], input: Data = Data(), environment: [String: String] = [:], folder: TemporaryFolder
  ) throws -> Process {
    try input.write(to: folder["stdin"])
    for name in ["stdout", "stderr"] { try Data().write(to: folder[name]) }
    let process = Process()
    process.executableURL = url
    process.arguments = arguments
    process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
    let files = try [
      FileHandle(forReadingFrom: folder["stdin"]), FileHandle(forWritingTo: folder["stdout"]),
      FileHandle(forWritingTo: folder["stderr"]),
    ]
    (process.standardInput, process.standardOutput, process.standardError) = (files[0], files[1], files[2])
    try process.run()
    // The process has its own copies. Hundreds of tests wait for processes at the same time, and to start one,
    // Foundation lists the open files; of more than a thousand it can read past the list's end.
    for file in files { try file.close() }
    return process
  }

  static func finish(_ process: Process, folder: TemporaryFolder) async throws -> Output {
    while process.isRunning { try await Task.sleep(for: .milliseconds(5)) }
    return Output(
      status: process.terminationStatus, bytes: try Data(contentsOf: folder["stdout"]),
      errors: String(decoding: try Data(contentsOf: folder["stderr"]), as: UTF8.self))
  }
}

extension Process {
  /// Waits until the condition holds or the process has ended. It blocks the thread, because a suspended task may be
  /// resumed seconds later when all tests run at once, which is too late.
  func wait(until condition: () throws -> Bool) throws {
    while isRunning, try !condition() { usleep(500) }
  }
}

/// A temporary folder for one test.
struct TemporaryFolder: Sendable {
  let url: URL

  subscript(_ name: String) -> URL { url.appending(path: name) }

  static func with<Result>(_ body: (TemporaryFolder) async throws -> Result) async throws -> Result {
    let url = FileManager.default.temporaryDirectory.appending(path: "bitnet-test-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: url) }
    return try await body(TemporaryFolder(url: url))
  }

  func write(_ text: String, to name: String) throws -> String {
    try Data(text.utf8).write(to: self[name])
    return self[name].path
  }
}

/// Decodes raw little-endian numbers.
func values<Value>(_ bytes: Data, as type: Value.Type) -> [Value] {
  let stride = MemoryLayout<Value>.stride
  return bytes.withUnsafeBytes { raw in
    (0..<raw.count / stride).map { raw.loadUnaligned(fromByteOffset: $0 * stride, as: type) }
  }
}
