import BitNetCUDAEngine
import CBitNetCUDAKernels
import Testing

@Suite("The trace of a decode step")
struct DecodeTraceTests {
  private static let phases = ["q·k·v", "attention", "attention output", "gate·up", "down"]
  private var blocks = 3
  private var handOvers = 10  // two layers

  /// Returns the clocks of a part of a phase: all different, and 0 for parts that attention lacks.
  private func clocks(_ phase: Int, _ part: Int) -> UInt32 {
    phase == 1 && (part == 3 || part == 4) ? 0 : UInt32(100 * phase + 10 * part + 7)
  }

  /// Returns marks as a device writes them, from blocks whose clocks start at `start` plus a thousand for each block.
  ///
  /// - Parameter extra: Clocks to add to one part of one block's hand-over.
  private func marks(from start: UInt32, extra: (handOver: Int, block: Int, part: Int, clocks: UInt32)? = nil)
    -> [UInt32]
  {
    var marks = [UInt32](repeating: 0, count: handOvers * blocks * Int(traceMarks))
    for block in 0..<blocks {
      var now = start &+ UInt32(1000 * block)
      for handOver in 0..<handOvers {
        for part in 0..<Int(traceMarks) {
          // No mark precedes the first one.
          if handOver > 0 || part > 0 { now &+= clocks(handOver % 5, part) }
          if let extra, extra.handOver == handOver, extra.block == block, extra.part == part { now &+= extra.clocks }
          let isMissing = handOver % 5 == 1 && (part == 3 || part == 4)
          if !isMissing { marks[(handOver * blocks + block) * Int(traceMarks) + part] = now }
        }
      }
    }
    return marks
  }

  /// The number of clocks from a block's first mark to its last.
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
    "has the median and the maximum of each part; the step's time scales the clocks; a missing mark takes no time")
  func medians() {
    // The longest block takes the whole step, at two clocks a nanosecond.
    let extra = (handOver: 8, block: 1, part: 5, clocks: UInt32(900))
    let seconds = Double(total + extra.clocks) / 2e9
    let trace = DecodeTrace(marks: marks(from: 5000, extra: extra), blocks: blocks, seconds: seconds)
    #expect(trace.seconds == seconds)
    check(trace, perMicrosecond: 2000, largest: (phase: 3, part: 5, clocks: clocks(3, 5) + extra.clocks))
  }

  @Test("The clock's lower 32 bits, which overflow every few seconds, may do so between any two marks")
  func wrapAround() {
    // Use one block and layer, so that a single wrong part changes the median.
    var single = self
    (single.blocks, single.handOvers) = (1, 5)
    let marks = single.marks(from: 1).filter { $0 != 0 }
    for (last, next) in zip(marks, marks.dropFirst()) where next > last + 1 {
      // The first mark after the overflow is at least 1, because 0 means a missing mark.
      let shifted = single.marks(from: 0 &- last)
      #expect(shifted.count { $0 == 0 } == 2)
      single.check(DecodeTrace(marks: shifted, blocks: 1, seconds: Double(single.total) / 1e9), perMicrosecond: 1000)
    }
  }

  @Test("The CSV has a line for each hand-over and block, with clocks relative to the block's first mark")
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
