import CBitNetTernary
import BitNetInference
import BitNetTernary

/// The forward pass over a list of tokens, phase by phase; the team's members run it side by side.
final class CPUForwardPass {
  /// One token of the batch.
  struct Token {
    /// What to compute for a token besides its keys and values: one of the outputs.
    enum Output {
      case none
      /// From the hidden state after the final norm, or from all logits.
      case whole(index: Int, needsLogits: Bool)
      /// From the logits that matter when the next token is chosen in this way.
      case candidates(index: Int, SamplingParameters)
    }

    let id: Int
    let position: Int
    /// Its sequence's cache, up to and including this token's position.
    let pages: [CachePage]
    let output: Output
  }

  /// Tokens that go through the layers together: enough to make reading the weights cheap, few enough that their
  /// activations stay in the second-level cache.
  static let sliceLength = 64

  /// A slice that multiplies fewer weight bytes than this is left to one thread. Below it, the fifty-odd barriers of a
  /// small model cost more than the second core brings, and much more on a busy machine (the demo model's token is 1.2
  /// MB).
  private static let smallWork = 8 << 20

  let team: ThreadTeam
  let layout: CachePage.Layout
  let screen: ScreenedHead?
  private(set) var weights: ModelWeights
  let kernels: TernaryKernels
  let space: Workspace
  let partials = AttentionPartials()
  private let copiedTiles: CopiedTiles?
  private var rotary: RotaryTable
  private var cosines: [Float] = []
  private var sines: [Float] = []

  /// - Parameters:
  ///   - screensHead: nil to have the screened head where it pays and fits.
  ///   - copiesTiles: nil to copy the tiles where it pays; they are used where they lie when there is no room.
  init(_ weights: ModelWeights, team: ThreadTeam, kernels: TernaryKernels, screensHead: Bool?, copiesTiles: Bool?)
    throws(EngineError)
  {
    self.weights = weights
    copiedTiles = copiesTiles ?? CopiedTiles.pay(for: weights) ? CopiedTiles(for: weights) : nil
    self.team = team
    self.kernels = kernels
    layout = CachePage.Layout(weights.configuration)
    rotary = RotaryTable(weights.configuration)
    space = Workspace(weights, tokens: Self.sliceLength, threads: team.count)
    let head = weights.head
    if head.columns > ScreenedHead.longestRow || screensHead == false {
      screen = nil
    } else if screensHead == true {
      screen = try ScreenedHead(head, team: team, kernels: kernels)
    } else {
      // Without room for the copy the model runs all the same.
      screen =
        head.rows * head.columns >= ScreenedHead.worthwhile
        ? try? ScreenedHead(head, team: team, kernels: kernels) : nil
    }
  }

  var copiedByteCount: Int { copiedTiles?.byteCount ?? 0 }
  func finishCopying() { copiedTiles?.finish(&weights, team: team) }

  /// What a run gives besides the cache, filled in by the members of the team.
  struct Results {
    let plan: StepPlan<CachePage>
    /// `[outputs]`
    let rows: UnsafeMutableBufferPointer<RowResult>
    /// `[outputs]`, of those that are chosen from candidates.
    let candidates: UnsafeMutableBufferPointer<ScreenedHead.Candidates>
  }

  /// Runs all rows, in order, and returns what is wanted of them.
  func run(_ plan: StepPlan<CachePage>) -> [RowResult] {
    copiedTiles?.advance(&weights, team: team)
    extendRotary(to: (plan.rows.map(\.position).max() ?? -1) + 1)
    let tokens = plan.rows.map { row in
      Token(
        id: Int(row.token), position: row.position, pages: plan.entries[row.entry].pages,
        output: row.output.map { output($0, plan.outputs[$0]) } ?? .none)
    }
    var candidates = [ScreenedHead.Candidates](repeating: .init(), count: plan.outputs.count)
    var results = [RowResult](repeating: .values([]), count: plan.outputs.count)
    candidates.withUnsafeMutableBufferPointer { candidates in
      results.withUnsafeMutableBufferPointer { rows in
        let results = Results(plan: plan, rows: rows, candidates: candidates)
        for start in stride(from: 0, to: tokens.count, by: Self.sliceLength) {
          run(Array(tokens[start..<min(start + Self.sliceLength, tokens.count)]), results)
        }
      }
    }
    for token in tokens {
      guard case .candidates(let index, let sampling) = token.output else { continue }
      screen?.note(candidates[index], sampling)
      results[index] = .token(candidates[index].choose(sampling, position: plan.outputs[index].position))
    }
    return results
  }

  private func output(_ index: Int, _ output: StepPlan<CachePage>.Output) -> Token.Output {
    switch output.want {
    // Where the screened head can serve and is likely to be worth it.
    case .token(let sampling, nil) where sampling.looksAtLargestOnly && screen?.pays(sampling) == true:
      .candidates(index: index, sampling)
    case .hidden: .whole(index: index, needsLogits: false)
    case .token, .surprise, .logits: .whole(index: index, needsLogits: true)
    }
  }

  private func run(_ slice: [Token], _ results: Results) {
    partials.prepare(for: slice.map(\.position), layout, threads: team.count)
    cosines.withUnsafeBufferPointer { cosines in
      sines.withUnsafeBufferPointer { sines in
        let angles = Angles(cosines: cosines.baseAddress!, sines: sines.baseAddress!)
        team.run(alone: slice.count * weights.tileByteCount < Self.smallWork) { member in
          forward(slice, member, angles, results)
        }
      }
    }
  }

  private struct Angles {
    let cosines: UnsafePointer<Float>
    let sines: UnsafePointer<Float>
  }

  private func extendRotary(to count: Int) {
    // Whole chunks, so that decoding does not extend the table at every token.
    let whole = (count + attentionChunkLength - 1) / attentionChunkLength * attentionChunkLength
    guard whole > rotary.positions else { return }
    rotary.extend(to: whole)
    cosines += rotary.cosines[cosines.count...].map { Float($0) }
    sines += rotary.sines[sines.count...].map { Float($0) }
  }

  private func forward(_ tokens: [Token], _ member: ThreadTeam.Member, _ angles: Angles, _ results: Results) {
    let c = weights.configuration
    let count = tokens.count
    let hidden = c.hiddenSize
    for (index, layer) in weights.layers.enumerated() {
      member.phase(count) { t in
        if index == 0 { embed(tokens[t].id, t) } else { addProduct(weights.layers[index - 1][.down], t) }
        quantize(space.residual + t * hidden, hidden, layer[.attention], t, member)
      }
      multiply(layer[.queryKeyValue], count, member, next: member.share(of: layer[.attentionOutput]))
      member.phase(count) { t in storeHeads(tokens[t], t, layer: index, angles) }
      attend(tokens, layer: index, member)
      member.phase(count) { t in
        quantize(space.inner + t * space.innerStride, c.queryWidth, layer[.attentionSub], t, member)
      }
      multiply(layer[.attentionOutput], count, member, next: member.share(of: layer[.gateUp]))
      member.phase(count) { t in
        addProduct(layer[.attentionOutput], t)
        quantize(space.residual + t * hidden, hidden, layer[.feedForward], t, member)
      }
      multiply(layer[.gateUp], count, member, next: member.share(of: layer[.down]))
      member.phase(count) { t in
        gate(layer[.gateUp], t)
        quantize(space.inner + t * space.innerStride, c.feedForwardSize, layer[.feedForwardSub], t, member)
      }
      let isLast = index == weights.layers.count - 1
      multiply(
        layer[.down], count, member,
        next: isLast ? headShare(member) : member.share(of: weights.layers[index + 1][.queryKeyValue]))
    }
    head(tokens, member, results)
  }

  private func embed(_ id: Int, _ t: Int) {
    let row = weights.embedding.row(id)
    let residual = space.residual + t * row.count
    for i in row.indices { residual[i] = Float(bfloat16Bits: row[i]) }
  }

  /// RMSNorm, if the place has one, and the absmax quantiser: fills the codes, sum and scale of token t.
  private func quantize(
    _ x: UnsafePointer<Float>, _ count: Int, _ norm: [Float]?, _ t: Int, _ member: ThreadTeam.Member
  ) {
    let scratch = space.scratch + member.index * space.scratchStride
    let epsilon = Float(weights.configuration.normEpsilon)
    let codes = space.codes + t * space.codeStride
    if let norm {
      space.scales[t] = norm.withUnsafeBufferPointer {
        kernels.normalizeAndQuantize(x, $0.baseAddress, epsilon, count, scratch, codes, space.sums + t)
      }
    } else {
      space.scales[t] = kernels.normalizeAndQuantize(x, nil, epsilon, count, scratch, codes, space.sums + t)
    }
  }

  /// The exact products of all tokens with a matrix.
  ///
  /// - Parameter next: the member's share of what is read after it.
  private func multiply(
    _ matrix: TernaryMatrix, _ tokens: Int, _ member: ThreadTeam.Member, next: UnsafeRawBufferPointer
  ) {
    member.fetchWhileWaiting(next)
    member.rows(of: matrix) { rows in
      kernels.multiply(
        matrix.tiles(ofRows: rows), matrix.tilesPerRow, rows.count, space.codes, space.codeStride, space.sums, tokens,
        space.dots + rows.lowerBound, space.dotStride)
    }
  }

  /// What a product of part `part` for token t is multiplied by, and where the products are.
  private func product(_ matrix: TernaryMatrix, _ part: Int, _ t: Int) -> (dots: UnsafePointer<Int32>, factor: Float) {
    let part = matrix.parts[part]
    return (UnsafePointer(space.dots + t * space.dotStride + part.firstRow), Float(part.scale) / space.scales[t])
  }

  func addProduct(_ matrix: TernaryMatrix, _ t: Int) {
    let hidden = weights.configuration.hiddenSize
    let (dots, factor) = product(matrix, 0, t)
    kernels.dequantizeAndAdd(dots, factor, hidden, space.residual + t * hidden)
  }

  private func gate(_ matrix: TernaryMatrix, _ t: Int) {
    let c = weights.configuration
    let (gate, gateFactor) = product(matrix, 0, t)
    let (up, upFactor) = product(matrix, 1, t)
    kernels.gate(
      gate, gateFactor, up, upFactor, c.activation == .squaredReLU ? 0 : 1, c.feedForwardSize,
      space.inner + t * space.innerStride)
  }

  /// Scales and rotates token t's q, k and v, and puts k and v in the cache.
  private func storeHeads(_ token: Token, _ t: Int, layer: Int, _ angles: Angles) {
    let c = weights.configuration
    let query = space.heads + t * space.headStride
    let key = query + c.queryWidth
    let value = key + c.keyValueWidth
    for (part, (target, width)) in [(query, c.queryWidth), (key, c.keyValueWidth), (value, c.keyValueWidth)]
      .enumerated()
    {
      let (dots, factor) = product(weights.layers[layer][.queryKeyValue], part, t)
      kernels.dequantize(dots, factor, width, target)
    }
    let pairs = c.headSize / 2
    let cosines = angles.cosines + token.position * pairs
    let sines = angles.sines + token.position * pairs
    kernels.rotate(query, c.headCount, pairs, cosines, sines)
    kernels.rotate(key, c.keyValueHeadCount, pairs, cosines, sines)
    CachePage.store(
      token.pages[token.position / attentionChunkLength].base, layout, layer: layer,
      slot: token.position % attentionChunkLength,
      keys: key, values: value)
  }
}

extension ThreadTeam.Member {
  /// A phase over a matrix's stacked rows, the same shares whatever is done with them.
  func rows(of matrix: TernaryMatrix, _ body: (Range<Int>) -> Void) {
    // Pieces of some 100 KB: long enough streams for the prefetchers, short enough that nobody waits long for the last
    // one.
    phase(matrix.paddedRows, unit: Tile.rows, perMember: Self.rowPieces, body)
  }

  private static let rowPieces = 8

  /// The tiles from the start of this member's share on.
  fileprivate func share(of matrix: TernaryMatrix) -> UnsafeRawBufferPointer {
    let row = shareStart(matrix.paddedRows, unit: Tile.rows, perMember: Self.rowPieces)
    return UnsafeRawBufferPointer(
      start: matrix.tiles(ofRows: row..<row), count: matrix.tiles.count - matrix.byteOffset(ofRow: row))
  }
}
