import Foundation
import TestSupport
import Testing

@Suite("Downloads")
struct PullTests {
  #if Hub
    @Test("survive a hub that makes mistakes", .enabled(if: hasPython, "needs python3"))
    func mistakes() async throws {
      try await TemporaryFolder.with { folder in
        let output = folder["output"]
        try Data().write(to: output)
        let process = Process()
        process.executableURL = URL(filePath: "/usr/bin/env")
        process.arguments = ["python3", Repository.path("Tests/HubServer/check.py"), BitNetProgram.url.path]
        process.standardOutput = try FileHandle(forWritingTo: output)
        process.standardError = process.standardOutput
        try process.run()
        while process.isRunning { try await Task.sleep(for: .milliseconds(50)) }
        let text = try String(contentsOf: output, encoding: .utf8)
        let failures = text.split(separator: "\n").filter { $0.hasPrefix("failed:") }
        #expect(process.terminationStatus == 0 && failures.isEmpty, "\(failures.isEmpty ? text : "\(failures)")")
      }
    }

    private static var hasPython: Bool {
      let process = Process()
      process.executableURL = URL(filePath: "/usr/bin/env")
      process.arguments = ["python3", "--version"]
      process.standardOutput = FileHandle.nullDevice
      process.standardError = FileHandle.nullDevice
      guard (try? process.run()) != nil else { return false }
      process.waitUntilExit()
      return process.terminationStatus == 0
    }
  #else
    @Test("are not in a build without the trait Hub, which says how to get them")
    func absent() async throws {
      let output = try await BitNetProgram.run("pull", "org/name")
      #expect(output.status == 1)
      #expect(output.errors.contains("swift build -c release --traits Hub"), "\(output.errors)")
      #expect(output.errors.split(separator: "\n").count == 1)
    }
  #endif
}
