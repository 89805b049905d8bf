import CBitNetCUDAKernels

/// Where the time of one cooperative decode step went: clocks of its multiprocessors at the marks of every phase of
/// every block.
package struct DecodeTrace: Sendable {
  /// The work of a block between two marks.
  package enum Part: String, CaseIterable, Sendable {
    /// Meeting its own threads and adding to the barrier's count.
    case arriving
    /// Asking for the next weights, or keys and values.
    case asking
    case waiting
    /// Reading the row, up to the norm. Where there is no norm this is part of `quantizing`, in attention of
    /// `multiplying`.
    case reading
    /// Norm and quantiser.
    case quantizing
    /// Products and their outcome, or attention.
    case multiplying
  }

  /// A phase of the layers, such as all products q·k·v.
  package struct Phase: Sendable {
    package let name: String
    /// Microseconds, median over blocks and layers and largest of them, by `Part`.
    package let parts: [(part: Part, median: Double, maximum: Double)]
  }

  package let phases: [Phase]
  /// The duration of the kernel.
  package let seconds: Double
  package let clocksPerMicrosecond: Double
  /// A line for each hand-over and block: the marks in clocks of the block's multiprocessor, from the block's first on.
  package let csv: String

  static let phaseNames = DecodePhase.allCases.map(\.rawValue)

  /// - Parameters:
  ///   - marks: `[hand-overs][blocks][traceMarks]`; 0 for a mark that the phase does not have.
  ///   - seconds: the duration of the launch.
  package init(marks: [UInt32], blocks: Int, seconds: Double) {
    let count = Int(traceMarks), handOvers = marks.count / count / blocks
    func mark(_ handOver: Int, _ block: Int, _ index: Int) -> UInt32 {
      marks[(handOver * blocks + block) * count + index]
    }
    /// The marks of a phase; a missing mark repeats the one before.
    func row(_ handOver: Int, _ block: Int) -> [UInt32] {
      var row = (0..<count).map { mark(handOver, block, $0) }
      for index in 1..<count where row[index] == 0 { row[index] = row[index - 1] }
      return row
    }
    var longest: UInt32 = 1
    for block in 0..<blocks { longest = max(longest, mark(handOvers - 1, block, count - 1) &- mark(0, block, 0)) }
    let clocks = Double(longest) / (seconds * 1e6)
    var samples: [[[UInt32]]] = Self.phaseNames.map { _ in Part.allCases.map { _ in [] } }
    var lines = ["hand_over,phase,block,arrived,asked,released,read,quantized,done"]
    for handOver in 0..<handOvers {
      let phase = handOver % Self.phaseNames.count
      for block in 0..<blocks {
        let row = row(handOver, block), first = mark(0, block, 0)
        if handOver > 0 { samples[phase][0].append(row[0] &- mark(handOver - 1, block, count - 1)) }
        for index in 1..<count { samples[phase][index].append(row[index] &- row[index - 1]) }
        lines.append(
          "\(handOver),\(Self.phaseNames[phase]),\(block)," + row.map { "\($0 &- first)" }.joined(separator: ","))
      }
    }
    self.seconds = seconds
    clocksPerMicrosecond = clocks
    csv = lines.joined(separator: "\n") + "\n"
    phases = Self.phaseNames.indices.map { phase in
      Phase(
        name: Self.phaseNames[phase],
        parts: Part.allCases.enumerated().map { index, part in
          let sorted = samples[phase][index].sorted()
          return (
            part, sorted.isEmpty ? 0 : Double(sorted[sorted.count / 2]) / clocks, Double(sorted.last ?? 0) / clocks
          )
        })
    }
  }
}
