import CBitNetTernary
import BitNetInference
import BitNetTernary

/// The buffers of one forward pass over up to `tokens` tokens, allocated once.
struct Workspace {
  /// Bytes between two tokens' codes: the widest activation, padded to whole 64-byte vectors.
  let codeStride: Int
  /// Int32 places between two tokens' products.
  let dotStride: Int
  /// Residual stream, `[tokens][hidden]`.
  let residual: UnsafeMutablePointer<Float>
  /// Rotated q, k and v, `[tokens][query width + 2 · key/value width]`.
  let heads: UnsafeMutablePointer<Float>
  let headStride: Int
  /// Attention output, or the gated activation, `[tokens][inner]`.
  let inner: UnsafeMutablePointer<Float>
  let innerStride: Int
  /// Quantised activations, `[tokens][codeStride]`, their sums and scales.
  let codes: UnsafeMutablePointer<Int8>
  let sums: UnsafeMutablePointer<Int32>
  let scales: UnsafeMutablePointer<Float>
  /// Exact products, `[tokens][dotStride]`.
  let dots: UnsafeMutablePointer<Int32>
  /// Per thread: room for a normalised row and for the attention kernel.
  let scratch: UnsafeMutablePointer<Float>
  let scratchStride: Int
  /// Logits of some rows, `[logitRows][vocabulary]`.
  let logits: UnsafeMutablePointer<Float>
  static let logitRows = 16
  private let buffers: [AlignedBuffer]

  var byteCount: Int { buffers.reduce(0) { $0 + $1.bytes.count } }

  init(_ weights: ModelWeights, tokens: Int, threads: Int) {
    let c = weights.configuration
    innerStride = max(c.queryWidth, c.feedForwardSize)
    codeStride = (max(c.hiddenSize, innerStride) + 63) / 64 * 64
    dotStride = weights.layers.flatMap(\.matrices).map(\.paddedRows).max() ?? 0
    // The head phase keeps normalised hidden rows here as well.
    headStride = max(c.queryWidth + 2 * c.keyValueWidth, c.hiddenSize)
    let attention = 2 * CachePage.Layout(c).partialCount
    scratchStride = (max(c.hiddenSize, innerStride, attention) + 15) / 16 * 16
    var buffers: [AlignedBuffer] = []
    func allocate<Element>(_ type: Element.Type, _ count: Int) -> UnsafeMutablePointer<Element> {
      let buffer = AlignedBuffer(count: count * MemoryLayout<Element>.stride)
      buffers.append(buffer)
      return buffer.bytes.bindMemory(to: type).baseAddress!
    }
    residual = allocate(Float.self, tokens * c.hiddenSize)
    heads = allocate(Float.self, tokens * headStride)
    inner = allocate(Float.self, tokens * innerStride)
    codes = allocate(Int8.self, tokens * codeStride)
    sums = allocate(Int32.self, tokens)
    scales = allocate(Float.self, tokens)
    dots = allocate(Int32.self, tokens * dotStride)
    scratch = allocate(Float.self, threads * scratchStride)
    logits = allocate(Float.self, Self.logitRows * c.vocabularySize)
    self.buffers = buffers
  }
}
