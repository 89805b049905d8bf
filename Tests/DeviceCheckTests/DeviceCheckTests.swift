import BitNetCPUEngine
import BitNetCUDADriver
import BitNetCUDAEngine
import BitNetDeviceCheck
import CUDATestSupport
import Dispatch
import Foundation
import BitNetInference
import BitNetRandomModels
import Synchronization
import Testing

@Suite("The check of a GPU before its first use", .serialized)
struct DeviceCheckTests {
  private static let standIn = Result { try StandIn(copy: "device-check-tests") }

  private final class Count: Sendable {
    private let count = Atomic(0)
    var value: Int { count.load(ordering: .acquiring) }
    func add() { count.add(1, ordering: .releasing) }
  }

  /// Calls `body` with a folder that does not exist yet.
  private func withFolder(_ body: (String) throws -> Void) throws {
    let url = FileManager.default.temporaryDirectory.appending(path: "bitnet-device-check-\(UUID().uuidString)")
    defer { try? FileManager.default.removeItem(at: url) }
    try body(url.appending(path: "a/b").path)
  }

  /// Runs a check. Returns its error, and the number of calls of `willStart`.
  private func check(
    folder: String?, _ change: (inout CUDAOnCPUConfiguration) -> Void = { _ in },
    expected: @escaping DeviceCheck.MakeEngine
  ) throws -> (error: CUDAError?, starts: Int, launches: Int) {
    let standIn = try Self.standIn.get()
    let device = try standIn.driver(change).device(0)
    let starts = Count()
    var failure: CUDAError?
    do {
      try DeviceCheck(device, folder: folder, expected: expected).run { _ in starts.add() }
    } catch {
      failure = error
    }
    return (failure, starts.value, Int(try standIn.counters().launches))
  }

  private static let right: DeviceCheck.MakeEngine = { try CPUEngine(weights: $0, threads: 1) }

  @Test("runs once, and not for a GPU that an earlier process has checked")
  func pass() throws {
    try withFolder { folder in
      let first = try check(folder: folder, expected: Self.right)
      #expect(first.error == nil && first.starts == 1 && first.launches > 50)
      let second = try check(folder: folder, expected: { _ in throw CUDAError.noDevice })
      #expect(second.error == nil && second.starts == 0 && second.launches == 0)
      // Copy the file, for a process that has not run the check itself.
      let copy = folder + "-copy"
      try FileManager.default.copyItem(atPath: folder, toPath: copy)
      let other = try check(folder: copy, expected: { _ in throw CUDAError.noDevice })
      #expect(other.error == nil && other.starts == 0 && other.launches == 0)
    }
  }

  @Test("refuses a GPU whose engine gives other numbers until the process ends, and records no pass")
  func failure() throws {
    try withFolder { folder in
      let wrong: DeviceCheck.MakeEngine = {
        try CPUEngine(weights: ModelWeights(random: $0.configuration, seed: 99), threads: 1)
      }
      let first = try check(folder: folder, expected: wrong)
      guard case .untrusted(_, 0, let reason) = first.error else { throw first.error ?? CUDAError.noDevice }
      #expect(
        reason.hasPrefix("logits of a prompt, a small model, a kernel an operation, screened head: ")
          && first.starts == 1)
      #expect(reason.contains("; expected ") && first.launches > KernelCheckList.kernels.count)
      let second = try check(folder: folder, expected: Self.right)
      #expect(second.error == first.error && second.starts == 0 && second.launches == 0)
      #expect(!FileManager.default.fileExists(atPath: folder))
    }
  }

  @Test("requires free memory, and checks it again the next time")
  func memory() throws {
    try withFolder { folder in
      let small = try check(folder: folder, { $0.memoryByteCount = 100_000_000 }, expected: Self.right)
      guard case .outOfMemory(requested: 256_000_000, .some) = small.error else {
        throw small.error ?? CUDAError.noDevice
      }
      #expect(small.starts == 0 && small.launches == 0)
      let large = try check(folder: folder, expected: Self.right)
      #expect(large.error == nil && large.starts == 1)
    }
  }

  @Test("uses a different file for other kernels, another GPU and another driver")
  func record() throws {
    let driver = try Self.standIn.get().driver()
    let record = DeviceCheckRecord(try driver.device(0), folder: nil)
    #expect(
      record.text.contains("\ncompute capability: 8.0\nidentifier: c0c1c2c3c4c5c6c7c8c9cacbcccdcecf\ndriver: 12.1 "))
    #expect(!record.isPassed)
    record.save()
    let newer = try Self.standIn.get().driver { $0.capability = 90 }
    #expect(DeviceCheckRecord(try newer.device(0), folder: nil).text != record.text)
  }

  @Test("returns the result of work that ends, and abandons a step that takes too long with all later steps")
  func watchedWork() throws {
    try WatchedWork.run(giveUp: { Issue.record("given up") }) { try $0.begin("a step", patience: .seconds(100)) }
    #expect(throws: CUDAError.noDevice) {
      try WatchedWork.run(giveUp: { Issue.record("given up") }) { _ in throw CUDAError.noDevice }
    }
    let gate = DispatchSemaphore(value: 0), ended = DispatchSemaphore(value: 0)
    let given = Count(), stopped = Count()
    let error = #expect(throws: WatchedWork.Overdue.self) {
      try WatchedWork.run(giveUp: { given.add() }) { work in
        try work.begin("the first step", patience: .seconds(100))
        try work.begin("the second step", patience: .seconds(2))
        gate.wait()
        do { try work.begin("the third step", patience: .seconds(100)) } catch is WatchedWork.GivenUp { stopped.add() }
        ended.signal()
      }
    }
    #expect(error.map { "\($0)" } == "the second step did not end within 2 seconds")
    #expect(given.value == 1 && stopped.value == 0)
    gate.signal()
    ended.wait()
    #expect(stopped.value == 1)
  }
}
