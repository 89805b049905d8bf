import BitNetTernary

/// The specification: the forward pass as plain scalar loops that read top to bottom like the papers.
///
/// In Float it is the canonical arithmetic that every other engine reproduces bit for bit; in Double it is held against an
/// independent float64 implementation.
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

  package var capacity: Capacity { Capacity(stepsAhead: 1, stepTokens: attentionChunkLength, cachePages: Self.cachePages) }
  /// More than anybody has patience for.
  static let cachePages = 1 << 20

  package func makeSequence(startingWith tokens: [Int32]) -> (id: SequenceID, cached: Int) {
    switch pass {
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
    case .float(let pass): return try pass.rows(batch, contextLength: contextLength).logits.flatMap { $0.map(Double.init) }
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
  private var rotary: RotaryTable

  init(_ weights: ModelWeights) {
    self.weights = weights
    rotary = RotaryTable(weights.configuration)
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

  /// Runs every entry's tokens; returns for each row that something is wanted of its hidden state after the final norm, `[outputs][hidden]`, and
  /// its logits, `[outputs][vocabulary]`, empty where only the hidden state is wanted.
  func rows(
    _ batch: Batch, contextLength: Int
  ) throws(EngineError) -> (plan: StepPlan<ReferencePage<Scalar>>, hidden: [[Scalar]], logits: [[Scalar]]) {
    let plan = try store.admit(batch, vocabulary: configuration.vocabularySize, contextLength: contextLength, from: source)
    rotary.extend(to: (plan.rows.map(\.position).max() ?? -1) + 1)
    var hidden: [[Scalar]] = []
    var logits: [[Scalar]] = []
    for row in plan.rows {
      let x = run(row.token, position: row.position, pages: plan.entries[row.entry].pages)
      guard let output = row.output else { continue }
      hidden.append(rmsNorm(x, weight: weights.finalNorm, epsilon: configuration.normEpsilon))
      if case .hidden = plan.outputs[output].want { logits.append([]) } else { logits.append(head(hidden.last!)) }
    }
    return (plan, hidden, logits)
  }

  /// One token through all blocks; returns the residual stream after the last.
  private func run(_ token: Int32, position: Int, pages: [ReferencePage<Scalar>]) -> [Scalar] {
    let epsilon = configuration.normEpsilon
    var x = weights.embedding.row(Int(token)).map { Scalar(Float(bfloat16Bits: $0)) }
    for (index, layer) in weights.layers.enumerated() {
      let qkv = bitLinear(layer.queryKeyValue, rmsNorm(x, weight: layer.attentionNorm, epsilon: epsilon))
      var heads = attention(query: qkv[0], key: qkv[1], value: qkv[2], layer: index, position: position, pages: pages)
      if let norm = layer.attentionSubNorm { heads = rmsNorm(heads, weight: norm, epsilon: epsilon) }
      let output = bitLinear(layer.attentionOutput, heads)[0]
      for i in x.indices { x[i] += output[i] }

      let gateUp = bitLinear(layer.gateUp, rmsNorm(x, weight: layer.feedForwardNorm, epsilon: epsilon))
      var inner = zip(gateUp[0], gateUp[1]).map { gated(configuration.activation, gate: $0, up: $1) }
      if let norm = layer.feedForwardSubNorm { inner = rmsNorm(inner, weight: norm, epsilon: epsilon) }
      let down = bitLinear(layer.down, inner)[0]
      for i in x.indices { x[i] += down[i] }
    }
    return x
  }

  /// y = (codes of x · codes of W) · (scale of W / s) for each stacked part, s the activation scale.
  private func bitLinear(_ matrix: TernaryMatrix, _ x: [Scalar]) -> [[Scalar]] {
    var codes = [Int8](repeating: 0, count: matrix.paddedColumns)
    let s = x.withUnsafeBufferPointer { x in codes.withUnsafeMutableBufferPointer { AbsmaxQuantizer.quantize(x, into: $0) } }
    return codes.withUnsafeBufferPointer { codes in
      matrix.parts.map { part in
        let factor = Scalar(part.scale) / s
        return (0..<part.rows).map { Scalar(matrix.dot(row: part.firstRow + $0, activations: codes.baseAddress!)) * factor }
      }
    }
  }

  /// Causal grouped-query attention of one token; stores its key and value.
  private func attention(
    query: [Scalar], key: [Scalar], value: [Scalar], layer: Int, position: Int, pages: [ReferencePage<Scalar>]
  ) -> [Scalar] {
    let size = configuration.headSize
    let group = configuration.headCount / configuration.keyValueHeadCount
    let query = rotated(query, position: position)
    pages[position / attentionChunkLength].store(
      layer: layer, slot: position % attentionChunkLength,
      key: rotated(key, position: position).map(Scalar.cached), value: value.map(Scalar.cached))
    let scale = Scalar(1 / Double(size).squareRoot())
    var output: [Scalar] = []
    for head in 0..<configuration.headCount {
      let first = head / group * size  // of the key/value head that this query head shares with its group
      var running = SoftmaxSum<Scalar>(size: size)
      for chunk in 0...position / attentionChunkLength {
        let page = pages[chunk]
        let count = min(attentionChunkLength, position + 1 - chunk * attentionChunkLength)
        let scores = (0..<count).map { slot in
          LaneOrder.head.sum(size) { (query[head * size + $0], page.keys[layer][slot][first + $0]) } * scale
        }
        var largest = scores[0]
        for score in scores where score > largest { largest = score }
        let shares = scores.map { Scalar.exponential($0 - largest) }
        var weighted = [Scalar](repeating: 0, count: size)
        for slot in 0..<count {
          for i in 0..<size { weighted[i] = weighted[i].addingProduct(shares[slot], page.values[layer][slot][first + i]) }
        }
        running.add(largest: largest, total: LaneOrder.chunk.sum(count) { (shares[$0], 1) }, weighted: weighted)
      }
      output += running.result
    }
    return output
  }

  /// Rotary position embedding: dimensions i and i + size/2 of each head turn together.
  private func rotated(_ x: [Scalar], position: Int) -> [Scalar] {
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
  private func head(_ x: [Scalar]) -> [Scalar] {
    (0..<weights.head.rows).map { token in
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
