import CBitNetTernary
import BitNetInference
import BitNetTernary

/// The buffers of one forward pass over up to `tokens` tokens, allocated once.
struct Workspace {
  /// Residual stream, `[tokens][hidden]`.
  let residual: Rows<Float>
  /// Rotated q, k and v, `[tokens][query width + 2 · key/value width]`; in the head, normalised hidden rows.
  let heads: Rows<Float>
  /// Attention output, or the gated activation, `[tokens][the wider of both]`.
  let inner: Rows<Float>
  /// Quantised activations, `[parts][tokens][the widest activation, padded to whole 64-byte vectors]`. One part, unless
  /// stacked projections have norms of their own.
  let codes: Rows<Int8>
  /// Of each token's codes, `[parts][tokens]`.
  let sums: UnsafeMutablePointer<Int32>
  let scales: UnsafeMutablePointer<Float>
  /// Exact products, `[tokens][rows of the largest stack]`.
  let dots: Rows<Int32>
  /// Room for a normalised row or for the attention kernel, `[threads]`.
  let scratch: Rows<Float>
  /// Room for a second normalised row, `[threads]`, where projections have norms of their own.
  let second: Rows<Float>
  /// Of a slice, at most.
  let tokens: Int
  /// Logits of some rows, `[logitRows][vocabulary and a vector]`.
  let logits: Rows<Float>
  /// How many rows have their logits at a time: as many as make it pay to read the head once, if that takes no more
  /// than four megabytes, but always 16.
  let logitRows: Int
  private let buffers: [AlignedBuffer]

  var byteCount: Int { buffers.reduce(0) { $0 + $1.bytes.count } }

  init(_ weights: ModelWeights, tokens: Int, threads: Int) {
    let configuration = weights.configuration
    let hidden = configuration.hiddenSize
    let innerWidth = max(configuration.queryWidth, configuration.feedForwardSize)
    let headWidth = configuration.queryWidth + 2 * configuration.keyValueWidth
    let layout = CachePage.Layout(configuration)
    let attention = layout.scratchPartials * layout.partialCount
    let hasPartNorms = configuration.has(.projectionNorms)
    let parts = hasPartNorms ? MatrixRole.allCases.map(\.partNorms.count).max() ?? 1 : 1
    self.tokens = tokens
    var buffers: [AlignedBuffer] = []
    func allocate<Element>(_ type: Element.Type, _ count: Int) -> UnsafeMutablePointer<Element> {
      let buffer = AlignedBuffer(count: count * MemoryLayout<Element>.stride)
      buffers.append(buffer)
      return buffer.bytes.bindMemory(to: type).baseAddress!
    }
    func allocateRows<Element>(_ type: Element.Type, _ count: Int, _ stride: Int) -> Rows<Element> {
      Rows(base: allocate(type, count * stride), stride: stride)
    }
    residual = allocateRows(Float.self, tokens, hidden)
    heads = allocateRows(Float.self, tokens, max(headWidth, hidden))
    inner = allocateRows(Float.self, tokens, innerWidth)
    codes = allocateRows(Int8.self, parts * tokens, Tile.padded(max(hidden, innerWidth), to: 64))
    sums = allocate(Int32.self, parts * tokens)
    scales = allocate(Float.self, parts * tokens)
    dots = allocateRows(Int32.self, tokens, weights.layers.flatMap(\.matrices).map(\.paddedRows).max() ?? 0)
    scratch = allocateRows(Float.self, threads, Tile.padded(max(hidden, innerWidth, attention), to: 16))
    second = allocateRows(Float.self, hasPartNorms ? threads : 0, Tile.padded(max(hidden, innerWidth), to: 16))
    let vocabulary = configuration.vocabularySize
    logitRows = min(max((4 << 20) / (vocabulary * MemoryLayout<Float>.stride), 16), 64)
    // A vector more, since rows that are a power of two apart would compete for the same lines of a cache.
    logits = allocateRows(Float.self, logitRows, Tile.padded(vocabulary, to: 16) + 16)
    self.buffers = buffers
  }
}
