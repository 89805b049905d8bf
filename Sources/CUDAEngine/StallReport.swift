import CBitNetCUDAKernels

/// The records that blocks of the decode step left in pinned memory when they gave up waiting for the others.
package struct StallReport: Equatable, CustomStringConvertible {
  struct Waiting: Equatable {
    let block: Int
    /// Counted from 0 in the launch.
    let handOver: Int
    let ticket: UInt32
    let state: UInt32
  }

  private let blocks: Int
  private let layers: Int
  private let waiting: [Waiting]

  /// Returns nil if no block has given up.
  ///
  /// - Parameters:
  ///   - memory: StallRecord `[stallRecords]`.
  ///   - layers: of the model; the hand-over after the last one's is the LM head's.
  package init?(_ memory: UnsafeRawBufferPointer, layers: Int) {
    self.layers = layers
    let records = memory.bindMemory(to: StallRecord.self)
    waiting = records.indices.filter { records[$0].handOver > 0 }.map {
      Waiting(block: $0, handOver: Int(records[$0].handOver) - 1, ticket: records[$0].ticket, state: records[$0].state)
    }
    guard let first = waiting.first else { return nil }
    blocks = Int(records[first.block].blocks)
  }

  /// Blocks of the grid that do not wait at the latest hand-over: they are behind, or ended.
  private var missing: [Int] {
    let last = waiting.map(\.handOver).max()!
    let there = Set(waiting.filter { $0.handOver == last }.map(\.block))
    return (0..<min(blocks, Int(stallRecords))).filter { !there.contains($0) }
  }

  private func place(_ handOver: Int) -> String {
    let (layer, phase) = handOver.quotientAndRemainder(dividingBy: DecodePhase.allCases.count)
    return "hand-over \(handOver), before "
      + (layer < layers ? "\(DecodePhase.allCases[phase].rawValue) of layer \(layer)" : "the LM head")
  }

  package var description: String {
    let last = waiting.max { $0.handOver < $1.handOver }!
    func hex(_ value: UInt32) -> String { "0x" + String(value, radix: 16) }
    let missing = missing
    let absent =
      missing.isEmpty
      ? "all blocks wait" : "\(missing.count) of \(blocks) blocks did not come, the first of them block \(missing[0])"
    return
      "block \(last.block) waited in vain at \(place(last.handOver)) "
      + "(ticket \(hex(last.ticket)), barrier \(hex(last.state))); \(absent)"
  }
}
