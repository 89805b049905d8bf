import CBitNetTernary
import BitNetInference
import BitNetTernary

extension CPUForwardPass {
  /// Attention of every token and head.
  func attend(_ queries: Activations, layer: Int) -> Activations {
    let plan = model.attention
    let output = Activations(space.inner, width: configuration.queryWidth)
    member.fetchWhileWaiting(share(after: .queryKeyValue, layer: layer))
    member.phase(plan.pieces.count) { index in
      let piece = plan.pieces[index]
      if let part = piece.part {
        attendToPart(queries.rows, piece.tokens.lowerBound, layer: layer, part.range, plan.partials, part.partials)
      } else {
        attendToAll(queries.rows, piece.tokens, piece.groups, layer: layer, output.rows)
      }
    }
    let (layout, size) = (model.layout, configuration.headSize)
    member.phase(plan.combinations.count) { index in
      let it = plan.combinations[index]
      let query = layout.queryGroup(it.group).firstQuery + it.query
      kernels.combine(
        plan.partials + it.partial * layout.partialCount, layout.partialCount, tokens[it.token].chunkCount, it.query, 1,
        size, output.rows[it.token] + query * size)
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
        start: page.base + layout.start(layer: layer, head: head), count: (layout.heads - head) * layout.headCount))
  }

  /// The attention of some tokens and groups to all positions before them and their own.
  private func attendToAll(
    _ queries: Rows<Float>, _ tokens: Range<Int>, _ groups: Range<Int>, layer: Int, _ output: Rows<Float>
  ) {
    let (layout, size) = (model.layout, configuration.headSize)
    let scratch = space.scratch[member.index]
    let partial = scratch + (layout.scratchPartials - 1) * layout.partialCount
    func running(_ t: Int, _ group: Int) -> UnsafeMutablePointer<Float> {
      scratch + ((t - tokens.lowerBound) * groups.count + group - groups.lowerBound) * layout.partialCount
    }
    // The last token attends to the most chunks.
    for chunk in 0..<self.tokens[tokens.upperBound - 1].chunkCount {
      for group in groups {
        for t in tokens where chunk < self.tokens[t].chunkCount {
          let isLast = group == groups.upperBound - 1
          let next = isLast ? (chunk + 1, groups.lowerBound) : (chunk, group + 1)
          attend(
            queries, t, layer: layer, chunk: chunk, group: group, next: next,
            into: chunk == 0 ? running(t, group) : partial)
          if chunk > 0 { kernels.mergeChunk(running(t, group), partial, layout.queryGroup(group).count, size) }
        }
      }
    }
    for t in tokens {
      for group in groups {
        let (_, firstQuery, count) = layout.queryGroup(group)
        kernels.combine(running(t, group), 0, 1, 0, count, size, output[t] + firstQuery * size)
      }
    }
  }

  /// Parts of a token's attention, `[chunks][groups]`; their partials are stored by group, `[groups][chunks]`.
  private func attendToPart(
    _ queries: Rows<Float>, _ t: Int, layer: Int, _ range: Range<Int>, _ partials: UnsafeMutablePointer<Float>,
    _ first: Int
  ) {
    let groups = model.layout.queryGroupCount
    let chunks = tokens[t].chunkCount
    for index in range {
      let (chunk, group) = index.quotientAndRemainder(dividingBy: groups)
      let next = (index + 1).quotientAndRemainder(dividingBy: groups)
      attend(
        queries, t, layer: layer, chunk: chunk, group: group, next: (next.quotient, next.remainder),
        into: partials + (first + group * chunks + chunk) * model.layout.partialCount)
    }
  }

  /// The attention of token t to one chunk, for one group of query heads. `next`: the chunk and group that come after.
  private func attend(
    _ queries: Rows<Float>, _ t: Int, layer: Int, chunk: Int, group: Int, next: (chunk: Int, group: Int),
    into partial: UnsafeMutablePointer<Float>
  ) {
    let (layout, size) = (model.layout, configuration.headSize)
    let token = tokens[t]
    let (head, firstQuery, count) = layout.queryGroup(group)
    let keys = UnsafePointer(token.pages[chunk].base + layout.start(layer: layer, head: head))
    let nextKeys =
      next.chunk < token.chunkCount
      ? UnsafePointer(
        token.pages[next.chunk].base + layout.start(layer: layer, head: layout.queryGroup(next.group).head)) : keys
    kernels.attendChunk(
      queries[t] + firstQuery * size, count, size, keys, keys + layout.keyCount, nextKeys,
      min(attentionChunkLength, token.position + 1 - chunk * attentionChunkLength), attentionScale, partial)
  }

  private var attentionScale: Float { Float(1 / Double(configuration.headSize).squareRoot()) }
}
