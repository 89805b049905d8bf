package import BitNetInference
import BitNetRandomModels

/// Runs a prompt through an engine in chunks and returns all logits, `[tokens][vocabulary]`.
package func logits(_ engine: any Engine, _ prompt: [Int32], chunks: [Int]) throws -> [Float] {
  let id = engine.makeSequence()
  defer { engine.removeSequence(id) }
  var result: [Float] = []
  var start = 0
  for chunk in chunks {
    let entry = Batch.Entry(sequence: id, tokens: Array(prompt[start..<start + chunk]), rows: .all)
    result += try engine.step(Batch([entry]))[0].values
    start += chunk
  }
  return result
}

/// Returns whether two rows of logits have the same bits. Call it outside of #expect, which on failure would spend
/// minutes on the differences of long arrays.
package func identical(_ a: [Float], _ b: [Float]) -> Bool { a.map(\.bitPattern) == b.map(\.bitPattern) }

/// Cuts `count` tokens into random chunks.
package func chunks(_ count: Int, using generator: inout SeededGenerator) -> [Int] {
  var chunks: [Int] = []
  var rest = count
  while rest > 0 {
    chunks.append(Int.random(in: 1...rest, using: &generator))
    rest -= chunks.last!
  }
  return chunks
}
