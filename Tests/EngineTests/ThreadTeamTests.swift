import BitNetRandomModels
import BitNetCPUEngine
import Foundation
import Synchronization
import TestSupport
import Testing

@Suite("The thread team")
struct ThreadTeamTests {
  /// Counters that threads increment concurrently.
  private final class Counts: Sendable {
    private let counts: Mutex<[Int]>
    init(_ count: Int) { counts = Mutex(Array(repeating: 0, count: count)) }
    func raise(_ place: Int) { counts.withLock { $0[place] += 1 } }
    var all: [Int] { counts.withLock { $0 } }
  }

  @Test(
    "runs every piece of every phase once, after the previous phase has ended", arguments: [1, 2, 3, 5, 8])
  func phases(threads: Int) {
    let team = ThreadTeam(count: threads)
    var generator = SeededGenerator(seed: UInt64(threads))
    for run in 0..<30 {
      let pieces = (0..<Int.random(in: 1...40, using: &generator)).map { _ in Int.random(in: 0...50, using: &generator)
      }
      let slow = Int.random(in: 0..<pieces.count, using: &generator)
      let counts = pieces.map { Counts($0 + 1) }
      let early = Counts(1)
      team.run { member in
        for (phase, count) in pieces.enumerated() {
          member.phase(count) { piece in
            if phase > 0, counts[phase - 1].all.reduce(0, +) != pieces[phase - 1] { early.raise(0) }
            // Delay one member in the middle of a piece, as if it were descheduled.
            if phase == slow, piece == 0 { for _ in 0..<2000 { _ = early.all } }
            counts[phase].raise(piece)
          }
        }
      }
      for (phase, count) in pieces.enumerated() {
        let isRight = counts[phase].all == Array(repeating: 1, count: count) + [0]
        #expect(isRight, "\(threads) threads, run \(run), phase \(phase) of \(count) pieces")
      }
      #expect(early.all == [0], "\(threads) threads, run \(run)")
    }
  }

  @Test("cuts a range into pieces that cover it once, in whole units")
  func ranges() {
    let team = ThreadTeam(count: 3)
    for (total, unit) in [(1, 16), (16, 16), (100, 16), (1000, 1), (3840, 16), (128_256, 256)] {
      let counts = Counts(total)
      let ragged = Counts(1)
      team.run { member in
        member.phase(total, unit: unit, perMember: 4) { range in
          if range.lowerBound % unit != 0 || (range.upperBound % unit != 0 && range.upperBound != total) {
            ragged.raise(0)
          }
          for place in range { counts.raise(place) }
        }
      }
      let isRight = counts.all == Array(repeating: 1, count: total) && ragged.all == [0]
      #expect(isRight, "\(total) in units of \(unit)")
    }
  }
  @Test("starts each member's first piece of a phase at the start of its share", arguments: [1, 2, 3, 8])
  func shares(threads: Int) {
    let team = ThreadTeam(count: threads)
    for (total, unit, perMember) in [(128, 16, 8), (320, 16, 8), (6912, 16, 8), (501, 1, 128), (8, 1, 4)] {
      let starts = Mutex<[Int?]>(Array(repeating: nil, count: threads))
      let firsts = Mutex<[Int?]>(Array(repeating: nil, count: threads))
      team.run { member in
        starts.withLock { $0[member.index] = member.shareStart(total, unit: unit, perMember: perMember) }
        member.phase(total, unit: unit, perMember: perMember) { range in
          let isFirst = firsts.withLock { firsts in
            defer { firsts[member.index] = firsts[member.index] ?? range.lowerBound }
            return firsts[member.index] == nil
          }
          // There are at least as many pieces as members, so no member takes a second before all have their first.
          while isFirst, firsts.withLock({ $0.contains(nil) }) {}
        }
      }
      let (expected, found) = (starts.withLock { $0 }, firsts.withLock { $0 })
      #expect(found == expected && found.first == 0, "\(threads) threads, \(total) in units of \(unit)")
    }
  }
}

@Suite("Processors")
struct ProcessorsTests {
  /// Simulates two sockets of four cores with two hardware threads each, in Linux's numbering.
  private func withMachine(
    quota: [String: String] = [:], memory: [String: String] = [:], _ body: (String) throws -> Void
  ) throws {
    let folder = NSTemporaryDirectory() + "processors-\(UInt64.random(in: 0 ... .max))"
    defer { try? FileManager.default.removeItem(atPath: folder) }
    func write(_ path: String, _ text: String) throws {
      try FileManager.default.createDirectory(
        atPath: (path as NSString).deletingLastPathComponent, withIntermediateDirectories: true)
      try Data(text.utf8).write(to: URL(fileURLWithPath: path))
    }
    for processor in 0..<16 {
      try write(
        "\(folder)/system/cpu/cpu\(processor)/topology/thread_siblings_list", "\(processor % 8),\(processor % 8 + 8)\n")
    }
    try write("\(folder)/system/node/has_memory", "0-1\n")
    try write("\(folder)/system/node/node0/cpulist", "0-3,8-11\n")
    try write("\(folder)/system/node/node1/cpulist", "4-7,12-15\n")
    for (group, text) in quota { try write("\(folder)/groups\(group)/cpu.max", text) }
    for (group, text) in memory { try write("\(folder)/groups\(group)/memory.max", text) }
    try body(folder)
  }

  private func read(_ folder: String, allowed: [Int], group: String? = nil) -> Processors {
    Processors(allowed: allowed, systemFiles: "\(folder)/system", groups: "\(folder)/groups", ownGroup: group)
  }

  @Test("counts the allowed physical cores, and groups processors by memory")
  func cores() throws {
    try withMachine { folder in
      let all = read(folder, allowed: Array(0..<16))
      #expect(all.coreCount == 8 && all.threadCount == 8 && all.quota == nil)
      #expect(all.nodes == [[0, 1, 2, 3, 8, 9, 10, 11], [4, 5, 6, 7, 12, 13, 14, 15]])
      #expect(
        (0..<4).map { all.processors(ofThread: $0, of: 4) } == [all.nodes[0], all.nodes[0], all.nodes[1], all.nodes[1]])
      // The second node has one processor, not half of them.
      let uneven = read(folder, allowed: [0, 1, 2, 3, 4])
      #expect(
        (0..<5).map { uneven.processors(ofThread: $0, of: 5) } == Array(repeating: [0, 1, 2, 3], count: 4) + [[4]])
      // Allow both hardware threads of core 1 and one of core 2.
      let few = read(folder, allowed: [1, 9, 10])
      #expect(few.coreCount == 2 && few.nodes == [[1, 9, 10]] && few.processors(ofThread: 1, of: 2) == nil)
    }
  }

  @Test("uses no more threads than the control group's CPU quota")
  func quota() throws {
    let groups = ["": "max 100000\n", "/a": "250000 100000\n", "/a/b": "max 100000\n", "/c": "50000 100000\n"]
    try withMachine(quota: groups) { folder in
      func threads(_ group: String?) -> Int { read(folder, allowed: Array(0..<16), group: group).threadCount }
      #expect(threads("0::/a/b\n") == 3)
      #expect(threads("1:cpu:/c\n0::/c\n") == 1)
      #expect(threads("0::/\n") == 8 && threads(nil) == 8 && threads("0::/elsewhere/d\n") == 8)
    }
  }

  @Test("counts no more memory than the control group's limit")
  func memoryQuota() throws {
    let groups = ["/a": "1048576\n", "/a/b": "max\n", "/c": "max\n"]
    try withMachine(memory: groups) { folder in
      func quota(_ group: String?) -> Int? { read(folder, allowed: [0], group: group).memoryQuota }
      #expect(
        quota("0::/a/b\n") == 1 << 20 && quota("0::/a\n") == 1 << 20 && quota("0::/c\n") == nil && quota(nil) == nil)
      #expect(read(folder, allowed: [0], group: "0::/a\n").memoryByteCount == 1 << 20)
    }
    #expect(Processors.current.memoryByteCount > 1 << 20)
  }

  #if os(Linux)
    @Test("keeps a thread on the processors that it is bound to")
    func binding() async throws {
      let allowed = Processors.allowedProcessors()
      let wanted = [try #require(allowed.last)]
      // Use a separate thread, because the binding ends with the thread.
      let found: [Int] = await withCheckedContinuation { continuation in
        Thread.detachNewThread {
          Processors.bindThread(to: wanted)
          continuation.resume(returning: Processors.allowedProcessors())
        }
      }
      #expect(found == wanted && Processors.allowedProcessors() == allowed)
    }
  #endif

  @Test("assumes as many cores as processors on a machine without system files")
  func bare() {
    let bare = read("/nowhere", allowed: [0, 1, 2])
    #expect(bare.coreCount == 3 && bare.nodes.isEmpty && bare.threadCount == 3)
    #expect(read("/nowhere", allowed: []).threadCount == 1)
    #expect(
      Processors.current.threadCount >= 1
        && Processors.current.threadCount <= max(1, Processors.allowedProcessors().count))
  }
}
