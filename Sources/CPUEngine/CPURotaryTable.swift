import BitNetInference
import BitNetTernary

/// A rotary table in Float, in memory that members of a team read without a reference count.
final class CPURotaryTable {
  /// Cosines and sines, `[positions][head size / 2]`.
  struct Angles {
    let cosines: UnsafePointer<Float>
    let sines: UnsafePointer<Float>
  }

  private var table: RotaryTable
  /// Room for some positions: cosines, then sines.
  private var buffer = AlignedBuffer(count: 0)
  private var capacity = 0

  init(_ table: RotaryTable) { self.table = table }

  /// Valid until the table is extended.
  var angles: Angles {
    let cosines = buffer.bytes.bindMemory(to: Float.self).baseAddress!
    return Angles(cosines: cosines, sines: cosines + capacity * table.pairs)
  }

  /// Makes the table cover at least `count` positions.
  func extend(to count: Int) {
    // Whole chunks, so that decoding does not extend the table at every token.
    let whole = (count + attentionChunkLength - 1) / attentionChunkLength * attentionChunkLength
    guard whole > table.positions else { return }
    var first = table.positions * table.pairs
    table.extend(to: whole)
    if whole > capacity {
      capacity = max(whole, 2 * capacity)
      buffer = AlignedBuffer(count: 2 * capacity * table.pairs * MemoryLayout<Float>.stride)
      first = 0
    }
    let cosines = buffer.bytes.bindMemory(to: Float.self).baseAddress!
    let sines = cosines + capacity * table.pairs
    for index in first..<table.cosines.count {
      cosines[index] = Float(table.cosines[index])
      sines[index] = Float(table.sines[index])
    }
  }
}
