import BitNetTernary

/// The specification: the forward pass as plain scalar loops that read top to bottom like the papers.
///
/// It takes neighbouring tokens of one sequence, whose keys and values it stores in the sequence's pages.
struct ReferenceForwardPass<Scalar: ReferenceScalar> {
  typealias Want = StepPlan.Output.Want

  let weights: ModelWeights
  /// By the base of the rotary embedding, nil being the model's own. The tables cover `positions`.
  let rotary: [Double?: RotaryTable]
  /// Pages that cover positions 0 up to the last token's.
  let pages: [ReferencePage]
  /// Of the tokens.
  let positions: Range<Int>
  private var configuration: ModelConfiguration { weights.configuration }

  init(weights: ModelWeights, rotary: [Double?: RotaryTable], pages: [ReferencePage], positions: Range<Int>) {
    self.weights = weights
    self.rotary = rotary
    self.pages = pages
    self.positions = positions
  }

  /// Runs the tokens through the model.
  ///
  /// - Parameters:
  ///   - tokens: one for each of `positions`.
  ///   - wanted: what is wanted after each token; nil for nothing.
  /// - Returns: a row for each token after which something is wanted, in their order.
  func forward(_ tokens: [Int32], wanted: [Want?]) -> [ReferenceRow] {
    let c = configuration
    var x = tokens.map { token in
      weights.embedding.row(Int(token)).map { Scalar(Float(bfloat16Bits: $0)) * Scalar(c.embeddingScale) }
    }
    for (index, layer) in weights.layers.enumerated() {
      // Project q·k·v. Keys and values of all tokens come first, because some layers attend to later tokens.
      var queries: [[Scalar]] = []
      for (i, position) in positions.enumerated() {
        let qkv = bitLinear(.queryKeyValue, of: layer, normalized(x[i], layer[.attention]))
        queries.append(rotated(normalized(qkv[0], layer[.queryHead]), layer: index, position: position))
        let key = rotated(normalized(qkv[1], layer[.keyHead]), layer: index, position: position)
        store(key: key, value: qkv[2], layer: index, position: position)
      }
      for (i, position) in positions.enumerated() {
        // Attend.
        let heads = attend(queries[i], layer: index, position: position)

        // Project out.
        let output = bitLinear(.attentionOutput, of: layer, normalized(heads, layer[.attentionSub]))[0]
        add(normalized(output, layer[.attentionPost]), to: &x[i])

        // Gate·up.
        let gateUp = bitLinear(.gateUp, of: layer, normalized(x[i], layer[.feedForward]))
        let inner = zip(gateUp[0], gateUp[1]).map { gated(c.activation, gate: $0, up: $1) }

        // Down.
        let down = bitLinear(.down, of: layer, normalized(inner, layer[.feedForwardSub]))[0]
        add(normalized(down, layer[.feedForwardPost]), to: &x[i])
      }
    }
    // Head.
    return zip(x, wanted).compactMap { x, want in
      guard let want else { return nil }
      let hidden = rmsNorm(x, weight: weights.finalNorm, epsilon: c.normEpsilon)
      if case .hidden = want { return ReferenceRow(hidden: hidden.map { Double($0) }, logits: []) }
      return ReferenceRow(hidden: hidden.map { Double($0) }, logits: logits(hidden).map { Double($0) })
    }
  }

  /// RMSNorm over neighbouring elements, as many as the norm has weights: all of x, or each head of it. x itself
  /// without a norm.
  private func normalized(_ x: [Scalar], _ weight: [Float]?, epsilon: Double? = nil) -> [Scalar] {
    guard let weight else { return x }
    return stride(from: 0, to: x.count, by: weight.count).flatMap {
      rmsNorm(
        Array(x[$0..<$0 + weight.count]), weight: weight, epsilon: epsilon ?? configuration.normEpsilon)
    }
  }

  /// Adds a branch to the residual stream.
  private func add(_ branch: [Scalar], to x: inout [Scalar]) {
    let scale = Scalar(configuration.residualScale)
    for i in x.indices { x[i] = x[i].addingProduct(branch[i], scale) }
  }

  /// y = (codes of x · codes of W) · (scale of W / s) for each stacked part, s the activation scale.
  /// Parts may have norms of their own, after that of x.
  private func bitLinear(_ role: MatrixRole, of layer: LayerWeights, _ x: [Scalar]) -> [[Scalar]] {
    let matrix = layer[role]
    return zip(matrix.parts, role.partNorms).map { part, norm in
      var codes = [Int8](repeating: 0, count: matrix.paddedColumns)
      let own = normalized(x, layer[norm], epsilon: configuration.projectionNormEpsilon)
      let s = own.withUnsafeBufferPointer { x in
        codes.withUnsafeMutableBufferPointer { AbsmaxQuantizer.quantize(x, into: $0) }
      }
      let factor = Scalar(part.scale) / s
      return codes.withUnsafeBufferPointer { codes in
        (0..<part.rows).map {
          Scalar(matrix.dot(row: part.firstRow + $0, activations: codes.baseAddress!)) * factor
        }
      }
    }
  }

  private func store(key: [Scalar], value: [Scalar], layer: Int, position: Int) {
    pages[position / attentionChunkLength].store(
      layer: layer, slot: position % attentionChunkLength, key: key.map { Double(Scalar.cached($0)) },
      value: value.map { Double(Scalar.cached($0)) })
  }

  /// Grouped-query attention of one token to the positions that the layer lets it see, all of which are in the cache.
  private func attend(_ query: [Scalar], layer: Int, position: Int) -> [Scalar] {
    let size = configuration.headSize
    let group = configuration.headCount / configuration.keyValueHeadCount
    let attention = configuration.attention(ofLayer: layer)
    let end = positions.upperBound
    let reach = attention.window ?? end
    let seen = max(0, position + 1 - reach)..<(attention.isBidirectional ? min(end, position + reach) : position + 1)
    let scale = Scalar(configuration.attentionScale ?? 1 / Double(size).squareRoot())
    var output: [Scalar] = []
    for head in 0..<configuration.headCount {
      let first = head / group * size  // of the key/value head that this query head shares with its group
      var running = SoftmaxSum<Scalar>(size: size)
      for chunk in seen.lowerBound / attentionChunkLength...(seen.upperBound - 1) / attentionChunkLength {
        let page = pages[chunk]
        let start = chunk * attentionChunkLength
        let slots = max(0, seen.lowerBound - start)..<min(attentionChunkLength, seen.upperBound - start)
        let scores = slots.map { slot in
          let key = page.keys[layer][slot]
          return LaneOrder.head.sum(size) { (query[head * size + $0], Scalar(key[first + $0])) } * scale
        }
        var largest = scores[0]
        for score in scores where score > largest { largest = score }
        // Positions of the chunk before the window weigh nothing, so that a position's lane does not depend on the
        // window.
        let shares = [Scalar](repeating: 0, count: slots.lowerBound) + scores.map { Scalar.exponential($0 - largest) }
        var weighted = [Scalar](repeating: 0, count: size)
        for slot in slots {
          let value = page.values[layer][slot]
          for i in 0..<size { weighted[i] = weighted[i].addingProduct(shares[slot], Scalar(value[first + i])) }
        }
        running.add(largest: largest, total: LaneOrder.chunk.sum(shares.count) { (shares[$0], 1) }, weighted: weighted)
      }
      output += running.result
    }
    return output
  }

  /// Rotary position embedding: dimensions i and i + size/2 of each head turn together.
  private func rotated(_ x: [Scalar], layer: Int, position: Int) -> [Scalar] {
    guard let rotary = rotary[configuration.attention(ofLayer: layer).ropeTheta] else {
      preconditionFailure("one for each base")
    }
    let half = rotary.pairs
    var y = x
    for first in stride(from: 0, to: x.count, by: 2 * half) {
      for i in 0..<half {
        let (a, b) = (x[first + i], x[first + half + i])
        let cosine = Scalar(rotary.cosines[position * half + i])
        let sine = Scalar(rotary.sines[position * half + i])
        y[first + i] = (-(b * sine)).addingProduct(a, cosine)
        y[first + half + i] = (a * sine).addingProduct(b, cosine)
      }
    }
    return y
  }

  /// The logits of a hidden state after the final norm.
  private func logits(_ hidden: [Scalar]) -> [Scalar] {
    let x = hidden.map { $0 * Scalar(configuration.outputScale) }
    return (0..<weights.head.rows).map { token in
      let row = weights.head.row(token)
      return LaneOrder.row.sum(x.count) { (Scalar(Float(bfloat16Bits: row[$0])), x[$0]) }
    }
  }
}

/// The results after one row, in Double, which holds those of either precision exactly.
struct ReferenceRow {
  /// The hidden state after the final norm, `[hidden]`.
  let hidden: [Double]
  /// `[vocabulary]`; empty where only the hidden state is wanted.
  let logits: [Double]
}
