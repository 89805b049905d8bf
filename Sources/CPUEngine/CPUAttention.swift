import CBitNetTernary
import BitNetInference
import BitNetTernary

extension CPUForwardPass {
  /// Attention of every token and head.
  func attend(_ queries: Activations, layer: Int) -> Activations {
    let output = Activations(space.inner, width: configuration.queryWidth)
    let plan = model.attention
    let attention = LayerAttention(self, queries.rows, output.rows, layer: layer)
    member.fetchWhileWaiting(share(after: .queryKeyValue, layer: layer))
    plan.pieces.withUnsafeBufferPointer { pieces in
      member.phase(pieces.count) {
        attention.compute(pieces[$0], following: $0 + 1 < pieces.count ? attention.start(of: pieces[$0 + 1]).keys : nil)
      }
    }
    plan.combinations.withUnsafeBufferPointer { combinations in
      member.phase(combinations.count) { attention.compute(combinations[$0]) }
    }
    return output
  }

  /// The keys and values with which this member starts in a layer's attention.
  func cacheShare(layer: Int) -> UnsafeRawBufferPointer {
    let (plan, layout) = (model.attention, model.layout)
    let index = member.firstPiece(of: plan.pieces.count)
    guard index < plan.pieces.count else { return UnsafeRawBufferPointer(start: nil, count: 0) }
    let (keys, head) = LayerAttention(self, space.heads, space.inner, layer: layer).start(of: plan.pieces[index])
    return UnsafeRawBufferPointer(
      UnsafeBufferPointer(start: keys, count: (layout.heads - head) * layout.headCount))
  }
}

/// One member's work on the attention of a layer.
private struct LayerAttention {
  let tokens: [CPUForwardPass.Token]
  let kernels: TernaryKernels
  let layout: CachePage.Layout
  let queries: Rows<Float>
  let output: Rows<Float>
  /// Of cut tokens.
  let partials: UnsafeMutablePointer<Float>?
  let layer: Int
  let scratch: UnsafeMutablePointer<Float>
  let scale: Float
  let attention: ModelConfiguration.Attention

  private var size: Int { layout.headSize }

  init(_ pass: CPUForwardPass, _ queries: Rows<Float>, _ output: Rows<Float>, layer: Int) {
    tokens = pass.tokens
    kernels = pass.kernels
    layout = pass.model.layout
    self.queries = queries
    self.output = output
    partials = pass.model.attention.partials
    self.layer = layer
    scratch = pass.space.scratch[pass.member.index]
    scale = Float(pass.configuration.attentionScale ?? 1 / Double(pass.configuration.headSize).squareRoot())
    attention = pass.configuration.attention(ofLayer: layer)
  }

  /// The positions that a token attends to.
  private func seen(_ t: Int) -> Range<Int> {
    let position = tokens[t].position
    let end = attention.isBidirectional ? tokens[t].end : position + 1
    guard let window = attention.window else { return 0..<end }
    return max(0, position + 1 - window)..<min(end, position + window)
  }

  /// The chunks that a token attends to.
  private func chunks(_ t: Int) -> Range<Int> {
    let seen = seen(t)
    return seen.lowerBound / attentionChunkLength..<(seen.upperBound - 1) / attentionChunkLength + 1
  }

  /// The keys with which a piece starts, and their head.
  func start(of piece: AttentionPlan.Piece) -> (keys: UnsafePointer<UInt16>, head: Int) {
    let t = piece.tokens.lowerBound
    let (chunk, group) =
      piece.part.map { $0.range.lowerBound.quotientAndRemainder(dividingBy: layout.queryGroupCount) }
      ?? (chunks(t).lowerBound, piece.groups.lowerBound)
    return (keys(t, chunk: chunk, group: group), layout.queryGroup(group).head)
  }

  private func keys(_ t: Int, chunk: Int, group: Int) -> UnsafePointer<UInt16> {
    UnsafePointer(tokens[t].pages[chunk] + layout.start(layer: layer, head: layout.queryGroup(group).head))
  }

  /// - Parameter following: the keys with which the piece after this one starts, to be fetched ahead.
  func compute(_ piece: AttentionPlan.Piece, following: UnsafePointer<UInt16>?) {
    if let part = piece.part {
      compute(part, of: piece.tokens.lowerBound, following: following)
    } else {
      compute(piece.tokens, piece.groups, following: following)
    }
  }

  /// The attention of some tokens and groups to all positions before them and their own.
  private func compute(_ range: Range<Int>, _ groups: Range<Int>, following: UnsafePointer<UInt16>?) {
    let partial = scratch + (layout.scratchPartials - 1) * layout.partialCount
    func running(_ t: Int, _ group: Int) -> UnsafeMutablePointer<Float> {
      scratch + ((t - range.lowerBound) * groups.count + group - groups.lowerBound) * layout.partialCount
    }
    // The first token attends to the first chunk of all, the last one to the last.
    for chunk in chunks(range.lowerBound).lowerBound..<chunks(range.upperBound - 1).upperBound {
      for group in groups {
        let next = group == groups.upperBound - 1 ? (chunk + 1, groups.lowerBound) : (chunk, group + 1)
        for t in range {
          let own = chunks(t)
          guard own.contains(chunk) else { continue }
          let isFirst = chunk == own.lowerBound
          attend(
            t, chunk: chunk, group: group, next: next, following: following,
            into: isFirst ? running(t, group) : partial)
          if !isFirst { kernels.mergeChunk(running(t, group), partial, layout.queryGroup(group).count, size) }
        }
      }
    }
    for t in range {
      for group in groups {
        let (_, firstQuery, count) = layout.queryGroup(group)
        kernels.combine(running(t, group), 0, 1, 0, count, size, output[t] + firstQuery * size)
      }
    }
  }

  private func compute(_ part: AttentionPlan.Part, of t: Int, following: UnsafePointer<UInt16>?) {
    let chunks = chunks(t)
    for index in part.range {
      let (chunk, group) = index.quotientAndRemainder(dividingBy: layout.queryGroupCount)
      guard chunks.contains(chunk) else { continue }
      let next = (index + 1).quotientAndRemainder(dividingBy: layout.queryGroupCount)
      let partial = partials(of: part.cut, group) + chunk * layout.partialCount
      attend(
        t, chunk: chunk, group: group, next: (next.quotient, next.remainder), following: following, into: partial)
    }
  }

  func compute(_ combination: AttentionPlan.Combination) {
    let (cut, group) = (combination.cut, combination.group)
    let query = layout.queryGroup(group).firstQuery + combination.query
    let chunks = chunks(combination.token)
    kernels.combine(
      partials(of: cut, group) + chunks.lowerBound * layout.partialCount, layout.partialCount, chunks.count,
      combination.query, 1, size, output[combination.token] + query * size)
  }

  /// The partials of a group of a cut token.
  private func partials(of cut: AttentionPlan.Cut, _ group: Int) -> UnsafeMutablePointer<Float> {
    partials! + (cut.partials + group * cut.chunks) * layout.partialCount
  }

  /// The attention of token t to one chunk, for one group of query heads. `next`: the chunk and group that come after;
  /// beyond the token's last chunk, the piece that follows.
  private func attend(
    _ t: Int, chunk: Int, group: Int, next: (chunk: Int, group: Int), following: UnsafePointer<UInt16>?,
    into partial: UnsafeMutablePointer<Float>
  ) {
    let seen = seen(t)
    let (_, firstQuery, count) = layout.queryGroup(group)
    let keys = keys(t, chunk: chunk, group: group)
    let nextKeys =
      next.chunk <= (seen.upperBound - 1) / attentionChunkLength
      ? self.keys(t, chunk: next.chunk, group: next.group) : following ?? keys
    let start = chunk * attentionChunkLength
    let end = min(attentionChunkLength, seen.upperBound - start)
    if seen.lowerBound > start {
      kernels.attendWindow(
        queries[t] + firstQuery * size, count, size, keys, keys + layout.keyCount, nextKeys, seen.lowerBound - start,
        end, scale, partial)
    } else {
      kernels.attendChunk(
        queries[t] + firstQuery * size, count, size, keys, keys + layout.keyCount, nextKeys, end, scale, partial)
    }
  }
}
