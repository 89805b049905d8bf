import BitNetCUDAEngine
import CBitNetCUDAKernels
import Testing

@Suite("The report of a stalled decode step")
struct StallReportTests {
  /// Returns the report of records as blocks write them: block, hand-over from 0, ticket and state.
  private func report(
    blocks: UInt32, layers: Int = 3, _ waiting: [(block: Int, handOver: UInt32, ticket: UInt32, state: UInt32)]
  ) -> String? {
    var records = [StallRecord](repeating: StallRecord(), count: Int(stallRecords))
    for each in waiting {
      records[each.block] = StallRecord(
        handOver: each.handOver + 1, blocks: blocks, ticket: each.ticket, state: each.state)
    }
    return records.withUnsafeBytes { StallReport($0, layers: layers)?.description }
  }

  @Test("is nil when no block gave up")
  func nothing() { #expect(report(blocks: 4, []) == nil) }

  @Test("names hand-over, phase, layer, the block that waited and the block that did not arrive")
  func absentBlock() {
    let waiting = [0, 1, 3].map {
      (block: $0, handOver: UInt32(7), ticket: UInt32(0x7FFF_FFFD), state: UInt32(0x8000_0003))
    }
    #expect(
      report(blocks: 4, waiting)
        == "block 0 waited in vain at hand-over 7, before attention output of layer 1 "
        + "(ticket 0x7ffffffd, barrier 0x80000003); "
        + "1 of 4 blocks did not come, the first of them block 2")
  }

  @Test("describes the latest hand-over, where blocks that still wait at an earlier one have not arrived")
  func laggingBlocks() {
    #expect(
      report(blocks: 5, [(0, 10, 1, 2), (1, 10, 1, 2), (2, 11, 3, 4), (4, 10, 1, 2)])
        == "block 2 waited in vain at hand-over 11, before attention of layer 2 (ticket 0x3, barrier 0x4); "
        + "4 of 5 blocks did not come, the first of them block 0")
  }

  @Test("says so when all blocks wait, as after a lost arrival")
  func allWait() {
    #expect(
      report(blocks: 2, [(0, 4, 0, 1), (1, 4, 0, 1)])
        == "block 0 waited in vain at hand-over 4, before down of layer 0 (ticket 0x0, barrier 0x1); all blocks wait")
  }

  @Test("names every phase, and the LM head after the last layer")
  func places() {
    let expected = [
      "q·k·v of layer 0", "attention of layer 0", "attention output of layer 0", "gate·up of layer 0",
      "down of layer 0",
    ]
    let found = (0...15).map { report(blocks: 2, [(0, $0, 0, 0)]) ?? "" }
    for (handOver, place) in (expected + ["q·k·v of layer 1"]).enumerated() {
      #expect(found[handOver].contains(" hand-over \(handOver), before \(place) ("), "\(found[handOver])")
    }
    #expect(found[14].contains(" before down of layer 2 ("))
    #expect(found[15].contains(" hand-over 15, before the LM head ("))
  }

  @Test("counts only the blocks that have records when a grid has more")
  func manyBlocks() {
    let last = Int(stallRecords) - 1
    let sentence = report(blocks: UInt32(2 * stallRecords), [(last, 0, 0, 0)])
    let ending = "; \(last) of \(2 * stallRecords) blocks did not come, the first of them block 0"
    #expect(sentence?.hasSuffix(ending) == true, "\(sentence ?? "")")
  }
}
