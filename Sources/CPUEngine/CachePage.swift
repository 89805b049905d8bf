import CBitNetTernary
import BitNetInference
import BitNetTernary

/// Keys and values of one attention chunk (64 positions), all layers, in bfloat16.
///
/// For each layer and key/value head: keys `[4][headSize][16 positions]`, so that a vector runs across keys, then
/// values `[64 positions][headSize padded to 32]`, so that a vector runs along a head.
final class CachePage {
  struct Layout {
    let heads: Int
    /// Query heads that share a key/value head.
    let group: Int
    let headSize: Int
    let layers: Int

    init(_ configuration: ModelConfiguration) {
      heads = configuration.keyValueHeadCount
      group = configuration.headCount / configuration.keyValueHeadCount
      headSize = configuration.headSize
      layers = configuration.layerCount
    }

    var paddedHeadSize: Int { (headSize + 31) / 32 * 32 }
    var keyCount: Int { attentionChunkLength * headSize }
    var headCount: Int { keyCount + attentionChunkLength * paddedHeadSize }
    var byteCount: Int { layers * heads * headCount * MemoryLayout<UInt16>.size }
    /// Floats of the partial result of attention to a chunk: CTERNARY_PARTIAL.
    var partialCount: Int { Int(CTERNARY_MAX_GROUP) * (2 + paddedHeadSize) }
    func start(layer: Int, head: Int) -> Int { (layer * heads + head) * headCount }

    /// Where in a page the first element of a position's key belongs, the others being 16 elements apart, and where its
    /// value does.
    func slot(_ position: Int, in page: UnsafeMutablePointer<UInt16>, layer: Int, head: Int) -> (
      key: UnsafeMutablePointer<UInt16>, value: UnsafeMutablePointer<UInt16>
    ) {
      let slot = position % attentionChunkLength
      let start = page + start(layer: layer, head: head)
      return (start + slot / 16 * headSize * 16 + slot % 16, start + keyCount + slot * paddedHeadSize)
    }
  }

  private let owner: AnyObject
  let base: UnsafeMutablePointer<UInt16>

  init(_ layout: Layout) {
    // Of a large model, a page of the cache is several huge pages of memory.
    if layout.byteCount >= 2 << 20, let buffer = PageBuffer(count: layout.byteCount) {
      owner = buffer
      base = buffer.bytes.bindMemory(to: UInt16.self).baseAddress!
    } else {
      // What has not been stored is not read, except where the result is dropped.
      let buffer = AlignedBuffer(uninitializedCount: layout.byteCount)
      owner = buffer
      base = buffer.bytes.bindMemory(to: UInt16.self).baseAddress!
    }
  }

  /// A page with the keys and values of the first positions of another.
  convenience init(copy other: CachePage, positions: Int, _ layout: Layout) {
    self.init(layout)
    for layer in 0..<layout.layers {
      for head in 0..<layout.heads {
        let start = layout.start(layer: layer, head: head)
        (base + start).update(from: other.base + start, count: (positions + 15) / 16 * 16 * layout.headSize)
        let values = start + layout.keyCount
        (base + values).update(from: other.base + values, count: positions * layout.paddedHeadSize)
      }
    }
  }
}
