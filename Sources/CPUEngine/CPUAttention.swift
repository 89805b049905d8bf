import CBitNetTernary
import BitNetInference
import BitNetTernary

/// Attention of few tokens, cut into chunks: the partial results of the chunks until they are combined.
///
/// The tokens of a prompt are enough work for all threads. A single token has a handful of key/value heads, too few to
/// divide among threads; its chunks do divide, because the canonical order combines them in ascending order, whichever
/// thread computes them.
final class AttentionPartials {
  /// Chunks that a member takes together: 128 KB of keys and values for heads of 128.
  static let run = 4

  /// Floats between two partials; 0 when attention is not cut.
  private(set) var stride = 0
  /// Chunks of a token, at most.
  private(set) var chunks = 0
  private var buffer: PageBuffer?
  /// Most bytes of partials; beyond, heads are divided among threads and chunks are not.
  private static let limit = 128 << 20

  var isCut: Bool { stride > 0 }
  /// Pieces of a token's head that members take.
  var runs: Int { (chunks + Self.run - 1) / Self.run }
  /// The partials; only while attention is cut.
  var base: UnsafeMutablePointer<Float> { buffer!.bytes.bindMemory(to: Float.self).baseAddress! }

  /// Decides about a slice of tokens and makes room.
  func prepare(for positions: [Int], _ layout: CachePage.Layout, threads: Int) {
    chunks = (positions.max() ?? 0) / attentionChunkLength + 1
    let tasks = positions.count * layout.heads
    stride = 0
    guard threads > 1, tasks < 4 * threads, chunks > Self.run, layout.group <= Int(CTERNARY_MAX_GROUP) else { return }
    let byteCount = 4 * layout.partialCount * chunks * tasks
    guard byteCount <= Self.limit else { return }
    // With room for twice the context, so that growing is rare; unused pages take no memory.
    if byteCount > buffer?.bytes.count ?? 0 { buffer = PageBuffer(count: 2 * byteCount) }
    if buffer != nil { stride = layout.partialCount }
  }
}

extension CPUForwardPass {
  /// Attention of every token and key/value head.
  func attend(_ queries: Activations, layer: Int) -> Activations {
    let (layout, partials) = (model.layout, model.partials)
    let heads = layout.heads
    let output = Activations(space.inner, width: configuration.queryWidth)
    guard partials.isCut else {
      member.phase(tokens.count * heads) { task in
        attend(queries.rows, task / heads, layer: layer, head: task % heads, output.rows)
      }
      return output
    }
    let runs = partials.runs
    member.phase(tokens.count * heads * runs) { task in
      let (t, head, run) = (task / runs / heads, task / runs % heads, task % runs)
      let first = run * AttentionPartials.run
      attendChunks(queries.rows, t, layer: layer, head: head, first..<first + AttentionPartials.run)
    }
    let size = configuration.headSize
    member.phase(tokens.count * heads) { task in
      let (t, head) = (task / heads, task % heads)
      kernels.combine(
        partials.base + task * partials.chunks * partials.stride, partials.stride,
        tokens[t].position / attentionChunkLength + 1, layout.group, size, output.rows[t] + head * layout.group * size)
    }
    return output
  }

  private var attentionScale: Float { Float(1 / Double(configuration.headSize).squareRoot()) }

  /// Token t's attention to some chunks of one key/value head.
  private func attendChunks(_ queries: Rows<Float>, _ t: Int, layer: Int, head: Int, _ range: Range<Int>) {
    let (layout, partials) = (model.layout, model.partials)
    let token = tokens[t]
    let size = configuration.headSize
    let start = layout.start(layer: layer, head: head)
    let last = token.position / attentionChunkLength
    for chunk in range where chunk <= last {
      let keys = UnsafePointer(token.pages[chunk].base + start)
      let next = UnsafePointer(token.pages[min(chunk + 1, last)].base + start)
      kernels.attendChunk(
        queries[t] + head * layout.group * size, layout.group, size, keys, keys + layout.keyCount, next,
        min(attentionChunkLength, token.position + 1 - chunk * attentionChunkLength), attentionScale,
        partials.base + ((t * layout.heads + head) * partials.chunks + chunk) * partials.stride)
    }
  }

  /// Token t's attention to all positions before it and its own, for one key/value head.
  private func attend(_ queries: Rows<Float>, _ t: Int, layer: Int, head: Int, _ output: Rows<Float>) {
    let layout = model.layout
    let token = tokens[t]
    let size = configuration.headSize
    let start = layout.start(layer: layer, head: head)
    let chunks = token.position / attentionChunkLength + 1
    withUnsafeTemporaryAllocation(of: UnsafePointer<UInt16>.self, capacity: 2 * chunks) { pointers in
      for chunk in 0..<chunks {
        let keys = UnsafePointer(token.pages[chunk].base + start)
        pointers.initializeElement(at: chunk, to: keys)
        pointers.initializeElement(at: chunks + chunk, to: keys + layout.keyCount)
      }
      for first in Swift.stride(from: 0, to: layout.group, by: Int(CTERNARY_MAX_GROUP)) {
        let offset = (head * layout.group + first) * size
        kernels.attend(
          queries[t] + offset, min(layout.group - first, Int(CTERNARY_MAX_GROUP)), size, pointers.baseAddress!,
          pointers.baseAddress! + chunks, token.position + 1, attentionScale, space.scratch[member.index],
          output[t] + offset)
      }
    }
  }
}
