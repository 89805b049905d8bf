import BitNetCUDADriver
import BitNetInference

/// Device memory for the key/value cache, in pages of 64 positions of all layers that sequences take and give back.
final class PagePool {
  /// One page; it goes back to the pool with the last reference to it.
  final class Page {
    let address: UInt64
    private let pool: PagePool

    fileprivate init(_ address: UInt64, _ pool: PagePool) {
      self.address = address
      self.pool = pool
    }

    deinit { pool.free.append(address) }
  }

  let pageByteCount: Int
  private let context: CUDAContext
  private var slabs: [CUDABuffer] = []
  fileprivate var free: [UInt64] = []
  /// Pages that are taken from the device together: about 32 MB, because the driver rounds each allocation up to 2 MB;
  /// no more than a sequence can have.
  private let slabLength: Int

  /// - Parameter paddedHeadSize: elements of a head in the cache.
  init(_ context: CUDAContext, _ c: ModelConfiguration, contextLength: Int, paddedHeadSize: Int) {
    self.context = context
    pageByteCount =
      c.layerCount * 2 * c.keyValueHeadCount * attentionChunkLength * paddedHeadSize * MemoryLayout<UInt16>.size
    slabLength = max(
      1, min((32 << 20) / pageByteCount, (contextLength + attentionChunkLength - 1) / attentionChunkLength))
  }

  /// Bytes of device memory that the pool holds, in use or not.
  var byteCount: Int { slabs.reduce(0) { $0 + $1.byteCount } }

  /// Makes sure that `count` pages can be taken.
  func reserve(_ count: Int) throws(CUDAError) {
    while free.count < count {
      // If the device has no room for a whole slab, take only the pages that are needed.
      do { try add(max(slabLength, count - free.count)) } catch { try add(count - free.count) }
    }
  }

  private func add(_ pages: Int) throws(CUDAError) {
    let slab = try CUDABuffer(context, byteCount: pages * pageByteCount)
    // The padding of heads must be zero; kernels never write it.
    try slab.fill(byte: 0)
    slabs.append(slab)
    for page in (0..<pages).reversed() { free.append(slab.address + UInt64(page * pageByteCount)) }
  }

  /// A page that was reserved.
  func take() -> Page { Page(free.removeLast(), self) }
}

extension StepPlan.Entry {
  /// Where the entry's pages are on the device.
  var addresses: [UInt64] { pages.map { unsafeDowncast($0, to: PagePool.Page.self).address } }
}
