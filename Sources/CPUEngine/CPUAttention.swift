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
    plan.pieces.withUnsafeBufferPointer { pieces in member.phase(pieces.count) { attention.compute(pieces[$0]) } }
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
    let piece = plan.pieces[index]
    let (chunk, group) =
      piece.part.map { $0.range.lowerBound.quotientAndRemainder(dividingBy: layout.queryGroupCount) }
      ?? (0, piece.groups.lowerBound)
    let head = layout.queryGroup(group).head
    let page = tokens[piece.tokens.lowerBound].pages[chunk]
    return UnsafeRawBufferPointer(
      UnsafeBufferPointer(
        start: page + layout.start(layer: layer, head: head), count: (layout.heads - head) * layout.headCount))
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
    scale = Float(1 / Double(pass.configuration.headSize).squareRoot())
  }

  func compute(_ piece: AttentionPlan.Piece) {
    if let part = piece.part {
      compute(part, of: piece.tokens.lowerBound)
    } else {
      compute(piece.tokens, piece.groups)
    }
  }

  /// The attention of some tokens and groups to all positions before them and their own.
  private func compute(_ range: Range<Int>, _ groups: Range<Int>) {
    let partial = scratch + (layout.scratchPartials - 1) * layout.partialCount
    func running(_ t: Int, _ group: Int) -> UnsafeMutablePointer<Float> {
      scratch + ((t - range.lowerBound) * groups.count + group - groups.lowerBound) * layout.partialCount
    }
    // The last token attends to the most chunks.
    for chunk in 0..<tokens[range.upperBound - 1].chunkCount {
      for group in groups {
        let next = group == groups.upperBound - 1 ? (chunk + 1, groups.lowerBound) : (chunk, group + 1)
        for t in range where chunk < tokens[t].chunkCount {
          attend(t, chunk: chunk, group: group, next: next, into: chunk == 0 ? running(t, group) : partial)
          if chunk > 0 { kernels.mergeChunk(running(t, group), partial, layout.queryGroup(group).count, size) }
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

  private func compute(_ part: AttentionPlan.Part, of t: Int) {
    for index in part.range {
      let (chunk, group) = index.quotientAndRemainder(dividingBy: layout.queryGroupCount)
      let next = (index + 1).quotientAndRemainder(dividingBy: layout.queryGroupCount)
      let partial = partials(of: part.cut, group) + chunk * layout.partialCount
      attend(t, chunk: chunk, group: group, next: (next.quotient, next.remainder), into: partial)
    }
  }

  func compute(_ combination: AttentionPlan.Combination) {
    let (cut, group) = (combination.cut, combination.group)
    let query = layout.queryGroup(group).firstQuery + combination.query
    kernels.combine(
      partials(of: cut, group), layout.partialCount, cut.chunks, combination.query, 1, size,
      output[combination.token] + query * size)
  }

  /// The partials of a group of a cut token.
  private func partials(of cut: AttentionPlan.Cut, _ group: Int) -> UnsafeMutablePointer<Float> {
    partials! + (cut.partials + group * cut.chunks) * layout.partialCount
  }

  /// The attention of token t to one chunk, for one group of query heads. `next`: the chunk and group that come after.
  private func attend(
    _ t: Int, chunk: Int, group: Int, next: (chunk: Int, group: Int), into partial: UnsafeMutablePointer<Float>
  ) {
    let (position, pages) = (tokens[t].position, tokens[t].pages)
    let (head, firstQuery, count) = layout.queryGroup(group)
    let keys = UnsafePointer(pages[chunk] + layout.start(layer: layer, head: head))
    let nextKeys =
      next.chunk <= position / attentionChunkLength
      ? UnsafePointer(pages[next.chunk] + layout.start(layer: layer, head: layout.queryGroup(next.group).head)) : keys
    kernels.attendChunk(
      queries[t] + firstQuery * size, count, size, keys, keys + layout.keyCount, nextKeys,
      min(attentionChunkLength, position + 1 - chunk * attentionChunkLength), scale, partial)
  }
}
