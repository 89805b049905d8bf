import BitNetCUDADriver
import CBitNetCUDAKernels
import BitNetInference
import BitNetRandomModels
import BitNetTernary

/// Pages of several sequences, filled with random keys and values up to each sequence's length, and with NaNs beyond
/// it.
struct RandomCache {
  let heads: Heads
  let layers: Int
  let layer: Int
  /// `[sequences][chunks]`, a page being `[layers][keys, values][heads][64][padded]`.
  private var pages: [[[UInt16]]] = []
  /// The number of pages of each sequence that the table has room for.
  private let capacity: Int
  /// Determines the order of the pages in memory.
  private let placement: SplitMix64

  /// - Parameters:
  ///   - lengths: the number of positions of each sequence that have keys and values.
  ///   - room: the number of positions of each sequence that have pages.
  init(_ heads: Heads, lengths: [Int], room: [Int], _ generator: inout SplitMix64) {
    self.heads = heads
    layers = generator.int(1...2)
    layer = generator.int(0...layers - 1)
    capacity = room.map { ($0 + 63) / 64 }.max()! + generator.int(0...1)
    placement = SplitMix64(seed: generator.next())
    for (length, room) in zip(lengths, room) {
      var pages = Array(repeating: [UInt16](repeating: 0, count: pageCount), count: (room + 63) / 64)
      for chunk in pages.indices {
        for index in 0..<pageCount where index % Int(heads.padded) < Int(heads.size) {
          let position = chunk * attentionChunkLength + index / Int(heads.padded) % attentionChunkLength
          pages[chunk][index] = position < length ? generator.float(-2...2).bfloat16Bits : 0x7FFF
        }
      }
      self.pages.append(pages)
    }
  }

  private var pageCount: Int { layers * 2 * Int(heads.keyValueHeads) * attentionChunkLength * Int(heads.padded) }

  /// The index in its page at which a position's key or value begins.
  private func place(isValue: Bool, head: Int, position: Int) -> Int {
    (((2 * layer + (isValue ? 1 : 0)) * Int(heads.keyValueHeads) + head) * attentionChunkLength + position
      % attentionChunkLength)
      * Int(heads.padded)
  }

  /// Stores a position's rotated key and its value.
  mutating func append(_ qkv: ArraySlice<Float>, sequence: Int, position: Int, angles: RandomAngles) {
    let size = Int(heads.size), firstKey = qkv.startIndex + Int(heads.queryHeads) * size,
      chunk = position / attentionChunkLength
    for head in 0..<Int(heads.keyValueHeads) {
      let key = firstKey + head * size, value = key + Int(heads.keyValueHeads) * size
      let rotated = angles.rotated(qkv[key..<key + size], position: position)
      let places = (
        key: place(isValue: false, head: head, position: position),
        value: place(isValue: true, head: head, position: position)
      )
      for i in 0..<size {
        pages[sequence][chunk][places.key + i] = rotated[i].bfloat16Bits
        pages[sequence][chunk][places.value + i] = qkv[value + i].bfloat16Bits
      }
    }
  }

  /// The keys or values of one head of the layer, `[count][size]`.
  private func rows(isValue: Bool, sequence: Int, head: Int, count: Int) -> [Float] {
    var rows: [Float] = []
    rows.reserveCapacity(count * Int(heads.size))
    for position in 0..<count {
      let first = place(isValue: isValue, head: head, position: position)
      rows += pages[sequence][position / attentionChunkLength][first..<first + Int(heads.size)].map {
        Float(bfloat16Bits: $0)
      }
    }
    return rows
  }

  /// The attention of all query heads of some tokens of a sequence.
  ///
  /// - Parameters:
  ///   - queries: the rotated query heads of each token, one after another.
  ///   - seen: the positions that each token sees.
  /// - Returns: `[queryHeads][size]` for each token.
  func attention(_ queries: [ArraySlice<Float>], sequence: Int, seen: [Range<Int>]) -> [[Float]] {
    let end = seen.map(\.upperBound).max() ?? 0
    let size = Int(heads.size), group = Int(heads.queryHeads / heads.keyValueHeads)
    var out = queries.map { _ in [Float]() }
    for head in 0..<Int(heads.keyValueHeads) {
      let keys = rows(isValue: false, sequence: sequence, head: head, count: end)
      let values = rows(isValue: true, sequence: sequence, head: head, count: end)
      for (token, seen) in seen.enumerated() {
        for queryHead in head * group..<(head + 1) * group {
          let first = queries[token].startIndex + queryHead * size
          out[token] += ScalarArithmetic.attention(
            queries[token][first..<first + size], seen: seen, scale: heads.scale, keys: keys, values: values)
        }
      }
    }
    return out
  }

  /// The cache on a device, with scattered pages.
  struct Uploaded {
    let pages: Pages
    fileprivate let buffers: [[CUDABuffer]]
  }

  func upload(to device: KernelCheckDevice) throws -> Uploaded {
    var places = pages.indices.flatMap { sequence in pages[sequence].indices.map { (sequence, $0) } }
    var generator = placement
    places.shuffle(using: &generator)
    var buffers = pages.map { [CUDABuffer?](repeating: nil, count: $0.count) }
    // An invalid address where the table has no page.
    var table = [UInt64](repeating: 16, count: pages.count * capacity)
    for (sequence, chunk) in places {
      let buffer = try device.buffer(pages[sequence][chunk])
      buffers[sequence][chunk] = buffer
      table[sequence * capacity + chunk] = buffer.address
    }
    let addresses = try device.address(table)
    return Uploaded(
      pages: Pages(addresses: addresses, capacity: Int32(capacity), unused: 0), buffers: buffers.map { $0.map { $0! } })
  }

  /// Compares a cache on a device with this one.
  func compare(_ uploaded: Uploaded, in comparison: inout KernelComparison) throws {
    for (sequence, buffers) in uploaded.buffers.enumerated() {
      for (chunk, buffer) in buffers.enumerated() {
        comparison.compare(
          bfloat16: try buffer.values(), pages[sequence][chunk], "page \(chunk) of sequence \(sequence)",
          width: Int(heads.padded))
      }
    }
  }
}

/// Random cosines and sines, `[positions][pairs]`.
struct RandomAngles {
  let cosines: [Float]
  let sines: [Float]
  private let pairs: Int

  init(positions: Int, pairs: Int, _ generator: inout SplitMix64) {
    self.pairs = pairs
    cosines = (0..<positions * pairs).map { _ in generator.float() }
    sines = (0..<positions * pairs).map { _ in generator.float() }
  }

  func rotated(_ x: ArraySlice<Float>, position: Int) -> [Float] {
    let range = position * pairs..<(position + 1) * pairs
    return ScalarArithmetic.rotated(x, cosines: cosines[range], sines: sines[range])
  }

  /// Rotates several heads, one after another.
  func rotated(_ x: ArraySlice<Float>, size: Int, position: Int) -> [Float] {
    stride(from: x.startIndex, to: x.endIndex, by: size).flatMap { rotated(x[$0..<$0 + size], position: position) }
  }
}

extension Heads {
  /// - Parameter size: even.
  init(keyValueHeads: Int, group: Int, size: Int) {
    self.init(
      queryHeads: Int32(keyValueHeads * group), keyValueHeads: Int32(keyValueHeads), size: Int32(size),
      padded: Int32((size + 7) / 8 * 8),
      scale: Float(1 / Double(size).squareRoot()), unused: 0)
  }

  /// The width of a row of queries, keys and values, and of its queries.
  var width: Int { Int((queryHeads + 2 * keyValueHeads) * size) }
  var queryWidth: Int { Int(queryHeads * size) }

  var shape: String { "\(queryHeads) heads, \(keyValueHeads) for keys, of \(size)" }
}
