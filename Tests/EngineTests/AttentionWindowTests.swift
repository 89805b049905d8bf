import BitNetInference
import BitNetRandomModels
import BitNetTernary
import Foundation
import TestSupport
import Testing

@Suite("Attention windows of the reference")
struct AttentionWindowTests {
  @Test(
    "Windows within and across chunks of 64 positions, as long as a chunk, and longer", arguments: [1, 40, 64, 70])
  func plainComputation(window: Int) throws {
    let configuration = ModelConfiguration(
      architecture: "random", vocabularySize: 30, hiddenSize: 24, feedForwardSize: 40, layerCount: 2, headCount: 4,
      keyValueHeadCount: 2, headSize: 6, contextLength: 200, normEpsilon: 1e-5, ropeTheta: 10000, activation: .silu,
      optionalNorms: [], attention: [.init(window: window), .causal], tiedEmbedding: true)
    let weights = try ModelWeights(random: configuration, seed: 11)
    let tokens = (0..<150).map { Int32($0 * $0 % 29) }
    let found = try ReferenceEngine(weights: weights, precision: .double).logits(tokens)
    let expected = PlainModel(weights: weights).logits(tokens)
    #expect(found.count == 150 * 30 && expected.count == 150)
    for (position, row) in expected.enumerated() {
      var (difference, norm) = (0.0, 0.0)
      for (place, value) in row.enumerated() {
        let distance = found[position * row.count + place] - value
        difference += distance * distance
        norm += value * value
      }
      #expect((difference / norm).squareRoot() < 1e-9, "position \(position)")
    }
  }
}

/// A model computed as plainly as possible in Double: attention loops over positions, without chunks or lanes.
private struct PlainModel {
  let weights: ModelWeights
  private var configuration: ModelConfiguration { weights.configuration }

  func logits(_ tokens: [Int32]) -> [[Double]] {
    let size = configuration.headSize
    let group = configuration.headCount / configuration.keyValueHeadCount
    var angles = RotaryTable(configuration)
    angles.extend(to: tokens.count)
    var x = tokens.map { weights.embedding.row(Int($0)).map { Double(Float(bfloat16Bits: $0)) } }
    for (index, layer) in weights.layers.enumerated() {
      let window = configuration.attention(ofLayer: index).window ?? tokens.count
      let qkv = x.map { project(norm($0, layer[.attention]!), layer[.queryKeyValue]) }
      let queries = qkv.enumerated().map { rotated($1[0], angles, position: $0) }
      let keys = qkv.enumerated().map { rotated($1[1], angles, position: $0) }
      for t in x.indices {
        let seen = max(0, t - window + 1)...t
        let heads = (0..<configuration.headCount).flatMap { head -> [Double] in
          let first = head / group * size  // the start of the key/value head
          let scores: [Double] = seen.map { position in
            let product = (0..<size).reduce(0.0) { $0 + queries[t][head * size + $1] * keys[position][first + $1] }
            return product / Double(size).squareRoot()
          }
          let shares = scores.map { exp($0 - scores.max()!) }
          let total = shares.reduce(0, +)
          return (0..<size).map { i -> Double in
            zip(seen, shares).reduce(0.0) { $0 + qkv[$1.0][2][first + i] * $1.1 } / total
          }
        }
        x[t] = zip(x[t], project(heads, layer[.attentionOutput])[0]).map(+)
        let gateUp = project(norm(x[t], layer[.feedForward]!), layer[.gateUp])
        let inner = zip(gateUp[0], gateUp[1]).map { $0 / (1 + exp(-$0)) * $1 }
        x[t] = zip(x[t], project(inner, layer[.down])[0]).map(+)
      }
    }
    return x.map { x in
      let hidden = norm(x, weights.finalNorm)
      return (0..<weights.head.rows).map { token in
        zip(weights.head.row(token), hidden).reduce(0.0) { $0 + Double(Float(bfloat16Bits: $1.0)) * $1.1 }
      }
    }
  }

  private func norm(_ x: [Double], _ weight: [Float]) -> [Double] {
    let r = 1 / (x.reduce(0.0) { $0 + $1 * $1 } / Double(x.count) + configuration.normEpsilon).squareRoot()
    return zip(x, weight).map { $0 * r * Double($1) }
  }

  private func project(_ x: [Double], _ matrix: TernaryMatrix) -> [[Double]] {
    let scale = 127 / max(x.map(abs).max()!, 1e-5)
    let codes = x.map { min(max(($0 * scale).rounded(.toNearestOrEven), -128), 127) }
    return matrix.parts.map { part in
      (part.firstRow..<part.firstRow + part.rows).map { row in
        let sum = codes.indices.reduce(0.0) { $0 + codes[$1] * Double(matrix.code(row: row, column: $1)) }
        return sum * part.scale / scale
      }
    }
  }

  private func rotated(_ x: [Double], _ angles: RotaryTable, position: Int) -> [Double] {
    let half = angles.pairs
    return x.indices.map { i in
      let place = position * half + i % half
      let other = i % (2 * half) < half ? -x[i + half] : x[i - half]
      return x[i] * angles.cosines[place] + other * angles.sines[place]
    }
  }
}
