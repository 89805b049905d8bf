import BitNetCUDAEngine
import CBitNetCUDAKernels
import Testing

@Suite("The trace of a decode step")
struct DecodeTraceTests {
  private static let phases = ["q·k·v", "attention", "attention output", "gate·up", "down"]
  private var blocks = 3
  private var handOvers = 10  // two layers

  /// Clocks of a part of a phase: all different, and none for what attention does not have.
  private func clocks(_ phase: Int, _ part: Int) -> UInt32 {
    phase == 1 && (part == 3 || part == 4) ? 0 : UInt32(100 * phase + 10 * part + 7)
  }

  /// Marks of blocks whose clocks begin at `start`, plus a thousand for each block, as a device leaves them.
  ///
  /// - Parameter extra: clocks that are added to a part of a hand-over of a block.
  private func marks(from start: UInt32, extra: (handOver: Int, block: Int, part: Int, clocks: UInt32)? = nil)
    -> [UInt32]
  {
    var marks = [UInt32](repeating: 0, count: handOvers * blocks * Int(traceMarks))
    for block in 0..<blocks {
      var now = start &+ UInt32(1000 * block)
      for handOver in 0..<handOvers {
        for part in 0..<Int(traceMarks) {
          // The first mark has none before it.
          if handOver > 0 || part > 0 { now &+= clocks(handOver % 5, part) }
          if let extra, extra.handOver == handOver, extra.block == block, extra.part == part { now &+= extra.clocks }
          let isMissing = handOver % 5 == 1 && (part == 3 || part == 4)
          if !isMissing { marks[(handOver * blocks + block) * Int(traceMarks) + part] = now }
        }
      }
    }
    return marks
  }

  /// The clocks from a block's first mark to its last.
  private var total: UInt32 {
    (0..<handOvers).reduce(0) { sum, handOver in
      sum + (0..<Int(traceMarks)).reduce(0) { $0 + (handOver == 0 && $1 == 0 ? 0 : clocks(handOver % 5, $1)) }
    }
  }

  private func check(
    _ trace: DecodeTrace, perMicrosecond: Double, largest: (phase: Int, part: Int, clocks: UInt32)? = nil
  ) {
    #expect(trace.phases.map(\.name) == Self.phases)
    #expect(trace.phases.allSatisfy { $0.parts.map(\.part) == DecodeTrace.Part.allCases })
    #expect(abs(trace.clocksPerMicrosecond / perMicrosecond - 1) < 1e-12)
    for phase in 0..<5 {
      for part in 0..<Int(traceMarks) {
        let found = trace.phases[phase].parts[part]
        // Nothing comes before the first phase of the only layer.
        let isFirst = handOvers == 5 && phase == 0 && part == 0
        let median = isFirst ? 0 : Double(clocks(phase, part)) / perMicrosecond
        #expect(abs(found.median - median) < 1e-9, "median of \(found.part), \(Self.phases[phase])")
        let maximum =
          largest.map { $0.phase == phase && $0.part == part ? Double($0.clocks) / perMicrosecond : median } ?? median
        #expect(abs(found.maximum - maximum) < 1e-9, "maximum of \(found.part), \(Self.phases[phase])")
      }
    }
  }

  @Test(
    "gives the median and the maximum of each part; the step's time scales the clocks; a missing mark takes no time")
  func medians() {
    // The longest block takes the whole time: two clocks a nanosecond.
    let extra = (handOver: 8, block: 1, part: 5, clocks: UInt32(900))
    let seconds = Double(total + extra.clocks) / 2e9
    let trace = DecodeTrace(marks: marks(from: 5000, extra: extra), blocks: blocks, seconds: seconds)
    #expect(trace.seconds == seconds)
    check(trace, perMicrosecond: 2000, largest: (phase: 3, part: 5, clocks: clocks(3, 5) + extra.clocks))
  }

  @Test("A clock may run over, between any two marks: its lower 32 bits do so every few seconds")
  func wrapAround() {
    // One block and layer, so that a part that is wrong once is wrong in the median.
    var single = self
    (single.blocks, single.handOvers) = (1, 5)
    let marks = single.marks(from: 1).filter { $0 != 0 }
    for (last, next) in zip(marks, marks.dropFirst()) where next > last + 1 {
      // The mark after the last one before the clock runs over is 1 or more: 0 would be a missing one.
      let shifted = single.marks(from: 0 &- last)
      #expect(shifted.count { $0 == 0 } == 2)
      single.check(DecodeTrace(marks: shifted, blocks: 1, seconds: Double(single.total) / 1e9), perMicrosecond: 1000)
    }
  }

  @Test("The CSV has a line for each hand-over and block, with clocks from the block's first mark on")
  func csv() {
    let trace = DecodeTrace(marks: marks(from: UInt32.max - 1500), blocks: blocks, seconds: 1e-5)
    var lines = trace.csv.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
    #expect(lines.removeFirst() == "hand_over,phase,block,arrived,asked,released,read,quantized,done")
    #expect(lines.removeLast() == "" && lines.count == handOvers * blocks)
    var (now, row) = (UInt32(0), [UInt32]())
    for handOver in 0..<handOvers {
      row = (0..<Int(traceMarks)).map { part in
        if handOver > 0 || part > 0 { now += clocks(handOver % 5, part) }
        return now
      }
      let values = row.map(String.init).joined(separator: ",")
      for block in 0..<blocks {
        #expect(lines[handOver * blocks + block] == "\(handOver),\(Self.phases[handOver % 5]),\(block),\(values)")
      }
    }
  }
}
