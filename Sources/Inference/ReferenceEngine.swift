import BitNetTernary

/// The specification: the forward pass as plain scalar loops that read top to bottom like the papers.
///
/// In Float it is the canonical arithmetic that every other engine reproduces bit for bit; in Double it is held against
/// an independent float64 implementation.
package final class ReferenceEngine: Engine {
  package enum Precision: Sendable {
    case float
    case double
  }

  private enum Pass {
    // One case for each type, so that the compiler specialises the generic code.
    case float(ForwardPass<Float>)
    case double(ForwardPass<Double>)
  }

  package let configuration: ModelConfiguration
  package let contextLength: Int
  package let precision: Precision
  private var pass: Pass
  private var done = FinishedSteps()

  /// - Parameter contextLength: positions a sequence can hold; the model's own when nil.
  package init(weights: ModelWeights, precision: Precision, contextLength: Int? = nil) {
    configuration = weights.configuration
    self.contextLength = contextLength ?? weights.configuration.contextLength
    self.precision = precision
    pass =
      switch precision {
      case .float: .float(ForwardPass(weights))
      case .double: .double(ForwardPass(weights))
      }
  }

  package var summary: String { "reference, \(precision == .float ? "Float" : "Double")" }

  package var capacity: Capacity {
    Capacity(stepsAhead: 1, stepTokens: attentionChunkLength, cachePages: Self.cachePages)
  }
  package var memory: MemoryUse {
    switch pass {
    case .float(let pass): pass.memory
    case .double(let pass): pass.memory
    }
  }
  /// More than anybody has patience for.
  static let cachePages = 1 << 20

  package func makeSequence(startingWith tokens: [Int32]) -> (id: SequenceID, cached: Int) {
    // With attention in both directions, keys and values depend on the tokens after them.
    let tokens = configuration.isBidirectional ? [] : tokens
    return switch pass {
    case .float(let pass): pass.store.make(startingWith: tokens, from: pass.source)
    case .double(let pass): pass.store.make(startingWith: tokens, from: pass.source)
    }
  }

  package func removeSequence(_ id: SequenceID) {
    switch pass {
    case .float(let pass): pass.store.remove(id)
    case .double(let pass): pass.store.remove(id)
    }
  }

  package func tokens(of id: SequenceID) throws(EngineError) -> [Int32] {
    switch pass {
    case .float(let pass): try pass.store.tokens(of: id)
    case .double(let pass): try pass.store.tokens(of: id)
    }
  }

  package func truncate(_ id: SequenceID, to length: Int) throws(EngineError) {
    switch pass {
    case .float(let pass): try pass.store.truncate(id, to: length, from: pass.source)
    case .double(let pass): try pass.store.truncate(id, to: length, from: pass.source)
    }
  }

  package func submit(_ batch: Batch) throws(EngineError) -> StepTicket {
    switch pass {
    case .float(let pass): done.add(try pass.step(batch, contextLength: contextLength))
    case .double(let pass): done.add(try pass.step(batch, contextLength: contextLength))
    }
  }

  package func wait(for ticket: StepTicket) throws(EngineError) -> [StepResult] { try done.take(ticket) }

  /// The logits after each of a new sequence's tokens, in Double: `[tokens][vocabulary]`.
  package func logits(_ tokens: [Int32]) throws(EngineError) -> [Double] {
    let id = makeSequence()
    defer { removeSequence(id) }
    let batch = Batch([.init(sequence: id, tokens: tokens, rows: .all)])
    switch pass {
    case .float(let pass):
      return try pass.rows(batch, contextLength: contextLength).logits.flatMap { $0.map(Double.init) }
    case .double(let pass): return try pass.rows(batch, contextLength: contextLength).logits.flatMap { $0 }
    }
  }
}

/// Keys and values of `attentionChunkLength` positions in all layers.
final class ReferencePage<Scalar: ReferenceScalar> {
  /// `[layers][positions so far][key/value width]`.
  var keys: [[[Scalar]]]
  var values: [[[Scalar]]]

  init(layers: Int) {
    keys = Array(repeating: [], count: layers)
    values = Array(repeating: [], count: layers)
  }

  init(_ other: ReferencePage) { (keys, values) = (other.keys, other.values) }

  /// Puts a position's key and value at `slot`, dropping what a truncated sequence left there and beyond.
  func store(layer: Int, slot: Int, key: [Scalar], value: [Scalar]) {
    keys[layer].removeLast(keys[layer].count - slot)
    values[layer].removeLast(values[layer].count - slot)
    keys[layer].append(key)
    values[layer].append(value)
  }
}

final class ForwardPass<Scalar: ReferenceScalar> {
  var store = SequenceStore<ReferencePage<Scalar>>(limit: ReferenceEngine.cachePages)
  var source: SequenceStore<ReferencePage<Scalar>>.Source {
    .init(make: { [layers = configuration.layerCount] in ReferencePage(layers: layers) }, copy: { ReferencePage($0) })
  }
  private let weights: ModelWeights
  private var configuration: ModelConfiguration { weights.configuration }
  /// By the base of the rotary embedding, nil being the model's own.
  private var rotary: [Double?: RotaryTable] = [:]

  var memory: MemoryUse {
    let position = 2 * configuration.layerCount * configuration.keyValueWidth * MemoryLayout<Scalar>.size
    return MemoryUse(
      weights: weights.byteCount, screen: 0, buffers: 0, cache: store.pageCount * attentionChunkLength * position)
  }

  init(_ weights: ModelWeights) {
    self.weights = weights
    for attention in weights.configuration.attention {
      rotary[attention.ropeTheta] = RotaryTable(weights.configuration, theta: attention.ropeTheta)
    }
  }

  func step(_ batch: Batch, contextLength: Int) throws(EngineError) -> [StepResult] {
    let (plan, hidden, logits) = try rows(batch, contextLength: contextLength)
    let results = zip(plan.outputs, zip(hidden, logits)).map { output, values in
      if case .hidden = output.want { return RowResult.values(values.0.map { Float($0) }) }
      return values.1.map { Float($0) }.withUnsafeBufferPointer { plan.result(output, logits: $0) }
    }
    let answers = plan.collect(results)
    store.record(answers, of: plan)
    return answers
  }

  /// Runs every entry's tokens; returns for each row that something is wanted of its hidden state after the final norm,
  /// `[outputs][hidden]`, and its logits, `[outputs][vocabulary]`, empty where only the hidden state is wanted.
  func rows(
    _ batch: Batch, contextLength: Int
  ) throws(EngineError) -> (plan: StepPlan<ReferencePage<Scalar>>, hidden: [[Scalar]], logits: [[Scalar]]) {
    try requireWholeTexts(batch)
    let plan = try store.admit(
      batch, vocabulary: configuration.vocabularySize, contextLength: contextLength, from: source)
    var hidden: [[Scalar]] = []
    var logits: [[Scalar]] = []
    var first = 0
    for entry in plan.entries {
      let rows = plan.rows[first..<first + entry.count]
      first += entry.count
      for (row, x) in zip(rows, forward(rows.map(\.token), from: entry.start, pages: entry.pages)) {
        guard let output = row.output else { continue }
        hidden.append(rmsNorm(x, weight: weights.finalNorm, epsilon: configuration.normEpsilon))
        if case .hidden = plan.outputs[output].want { logits.append([]) } else { logits.append(head(hidden.last!)) }
      }
    }
    return (plan, hidden, logits)
  }

  /// Attention in both directions makes a token's keys and values depend on the tokens after it, so nothing can be
  /// appended later.
  private func requireWholeTexts(_ batch: Batch) throws(EngineError) {
    guard configuration.isBidirectional else { return }
    for entry in batch.entries {
      let held = try store.tokens(of: entry.sequence).count
      guard held == 0 else {
        throw .parameter(
          name: "the length of \(entry.sequence)", found: "\(held)",
          expected: "0, because the model's attention is bidirectional: pass a text's tokens in one step")
      }
    }
  }

  /// Neighbouring tokens of one sequence through all blocks; returns each token's residual stream after the last.
  private func forward(_ tokens: [Int32], from start: Int, pages: [ReferencePage<Scalar>]) -> [[Scalar]] {
    let c = configuration
    for theta in rotary.keys { rotary[theta]?.extend(to: start + tokens.count) }
    var x = tokens.map { token in
      weights.embedding.row(Int(token)).map { Scalar(Float(bfloat16Bits: $0)) * Scalar(c.embeddingScale) }
    }
    for (index, layer) in weights.layers.enumerated() {
      // Keys and values of all tokens come first, because some layers attend to later tokens.
      let queries = x.indices.map { i in
        let qkv = bitLinear(layer[.queryKeyValue], normalized(x[i], layer[.attention]))
        let query = rotated(normalized(qkv[0], layer[.queryHead]), layer: index, position: start + i)
        let key = rotated(normalized(qkv[1], layer[.keyHead]), layer: index, position: start + i)
        store(key: key, value: qkv[2], layer: index, position: start + i, pages: pages)
        return query
      }
      for i in x.indices {
        let heads = attend(queries[i], layer: index, position: start + i, end: start + tokens.count, pages: pages)
        let output = bitLinear(layer[.attentionOutput], normalized(heads, layer[.attentionSub]))[0]
        add(normalized(output, layer[.attentionPost]), to: &x[i])

        let gateUp = bitLinear(layer[.gateUp], normalized(x[i], layer[.feedForward]))
        let inner = zip(gateUp[0], gateUp[1]).map { gated(c.activation, gate: $0, up: $1) }
        let down = bitLinear(layer[.down], normalized(inner, layer[.feedForwardSub]))[0]
        add(normalized(down, layer[.feedForwardPost]), to: &x[i])
      }
    }
    return x
  }

  /// RMSNorm over neighbouring elements, as many as the norm has weights: all of x, or each head of it. x itself
  /// without a norm.
  private func normalized(_ x: [Scalar], _ weight: [Float]?) -> [Scalar] {
    guard let weight else { return x }
    return stride(from: 0, to: x.count, by: weight.count).flatMap {
      rmsNorm(Array(x[$0..<$0 + weight.count]), weight: weight, epsilon: configuration.normEpsilon)
    }
  }

  /// Adds a branch to the residual stream.
  private func add(_ branch: [Scalar], to x: inout [Scalar]) {
    let scale = Scalar(configuration.residualScale)
    for i in x.indices { x[i] = x[i].addingProduct(branch[i], scale) }
  }

  /// y = (codes of x · codes of W) · (scale of W / s) for each stacked part, s the activation scale.
  private func bitLinear(_ matrix: TernaryMatrix, _ x: [Scalar]) -> [[Scalar]] {
    var codes = [Int8](repeating: 0, count: matrix.paddedColumns)
    let s = x.withUnsafeBufferPointer { x in
      codes.withUnsafeMutableBufferPointer { AbsmaxQuantizer.quantize(x, into: $0) }
    }
    return codes.withUnsafeBufferPointer { codes in
      matrix.parts.map { part in
        let factor = Scalar(part.scale) / s
        return (0..<part.rows).map {
          Scalar(matrix.dot(row: part.firstRow + $0, activations: codes.baseAddress!)) * factor
        }
      }
    }
  }

  private func store(key: [Scalar], value: [Scalar], layer: Int, position: Int, pages: [ReferencePage<Scalar>]) {
    pages[position / attentionChunkLength].store(
      layer: layer, slot: position % attentionChunkLength, key: key.map(Scalar.cached), value: value.map(Scalar.cached))
  }

  /// Grouped-query attention of one token to the positions that the layer lets it see, all of which are in the cache.
  ///
  /// - Parameter end: the positions that the sequence holds.
  private func attend(_ query: [Scalar], layer: Int, position: Int, end: Int, pages: [ReferencePage<Scalar>])
    -> [Scalar]
  {
    let size = configuration.headSize
    let group = configuration.headCount / configuration.keyValueHeadCount
    let attention = configuration.attention(ofLayer: layer)
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
          LaneOrder.head.sum(size) { (query[head * size + $0], page.keys[layer][slot][first + $0]) } * scale
        }
        var largest = scores[0]
        for score in scores where score > largest { largest = score }
        // Positions of the chunk before the window weigh nothing, so that a position's lane does not depend on the
        // window.
        let shares = [Scalar](repeating: 0, count: slots.lowerBound) + scores.map { Scalar.exponential($0 - largest) }
        var weighted = [Scalar](repeating: 0, count: size)
        for slot in slots {
          for i in 0..<size {
            weighted[i] = weighted[i].addingProduct(shares[slot], page.values[layer][slot][first + i])
          }
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
  private func head(_ hidden: [Scalar]) -> [Scalar] {
    let x = hidden.map { $0 * Scalar(configuration.outputScale) }
    return (0..<weights.head.rows).map { token in
      let row = weights.head.row(token)
      return LaneOrder.row.sum(x.count) { (Scalar(Float(bfloat16Bits: row[$0])), x[$0]) }
    }
  }
}

/// Softmax-weighted sums over chunks of positions, taken in ascending order; each chunk brings its own maximum.
struct SoftmaxSum<Scalar: ReferenceScalar> {
  private var largest: Scalar = 0
  private var total: Scalar = 0
  private var weighted: [Scalar]
  private var isEmpty = true

  init(size: Int) { weighted = Array(repeating: 0, count: size) }

  /// - Parameters:
  ///   - largest: the chunk's largest score m.
  ///   - total: Σ e^(score - m) over the chunk.
  ///   - weighted: Σ e^(score - m) · value over the chunk.
  mutating func add(largest m: Scalar, total chunkTotal: Scalar, weighted chunk: [Scalar]) {
    guard !isEmpty else {
      (largest, total, weighted, isEmpty) = (m, chunkTotal, chunk, false)
      return
    }
    let next = m > largest ? m : largest
    let before = Scalar.exponential(largest - next)
    let now = Scalar.exponential(m - next)
    total = (total * before).addingProduct(chunkTotal, now)
    for i in weighted.indices { weighted[i] = (weighted[i] * before).addingProduct(chunk[i], now) }
    largest = next
  }

  var result: [Scalar] {
    let reciprocal = 1 / total
    return weighted.map { $0 * reciprocal }
  }
}
