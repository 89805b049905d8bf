import CUDADriver
import CUDAEngine
import CUDAKernels
import Inference
import TestSupport
import Ternary
import Testing

/// Pages of several sequences, filled with random keys and values up to each sequence's length; nonsense lies beyond.
struct RandomCache {
  let heads: Heads
  let layers: Int
  let layer: Int
  /// `[sequences][chunks]`, a page being `[layers][keys, values][heads][64][padded]`.
  var pages: [[[UInt16]]] = []
  /// Pages that the table has room for, for each sequence.
  let capacity: Int

  /// - Parameters:
  ///   - lengths: positions that each sequence has keys and values of.
  ///   - room: positions that each sequence has pages for.
  init(_ heads: Heads, lengths: [Int], room: [Int], _ generator: inout SeededGenerator) {
    self.heads = heads
    layers = generator.int(1...2)
    layer = generator.int(0...layers - 1)
    capacity = room.map { ($0 + 63) / 64 }.max()! + generator.int(0...1)
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

  /// Where an element of a position's key or value lies in its page.
  func place(isValue: Bool, head: Int, position: Int, _ i: Int) -> Int {
    (((2 * layer + (isValue ? 1 : 0)) * Int(heads.keyValueHeads) + head) * attentionChunkLength + position % attentionChunkLength)
      * Int(heads.padded) + i
  }

  func element(isValue: Bool, sequence: Int, head: Int, position: Int, _ i: Int) -> Float {
    Float(bfloat16Bits: pages[sequence][position / attentionChunkLength][place(isValue: isValue, head: head, position: position, i)])
  }

  /// Stores a position's rotated key and its value.
  mutating func append(_ qkv: ArraySlice<Float>, sequence: Int, position: Int, angles: Angles) {
    let size = Int(heads.size), firstKey = qkv.startIndex + Int(heads.queryHeads) * size
    for head in 0..<Int(heads.keyValueHeads) {
      let key = firstKey + head * size, value = key + Int(heads.keyValueHeads) * size
      let rotated = angles.rotated(qkv[key..<key + size], position: position)
      for i in 0..<size {
        let chunk = position / attentionChunkLength
        pages[sequence][chunk][place(isValue: false, head: head, position: position, i)] = rotated[i].bfloat16Bits
        pages[sequence][chunk][place(isValue: true, head: head, position: position, i)] = qkv[value + i].bfloat16Bits
      }
    }
  }

  /// Attention of one rotated query head over `count` positions.
  func attention(_ query: ArraySlice<Float>, queryHead: Int, sequence: Int, count: Int) -> [Float] {
    let head = queryHead / Int(heads.queryHeads / heads.keyValueHeads)
    return Canonical.attention(query, count: count, scale: heads.scale) { position, i in
      element(isValue: false, sequence: sequence, head: head, position: position, i)
    } value: { position, i in
      element(isValue: true, sequence: sequence, head: head, position: position, i)
    }
  }

  /// The cache on a device, its pages scattered.
  struct Uploaded {
    let pages: Pages
    let buffers: [[CUDABuffer]]
  }

  func upload(to device: DeviceUnderTest, _ generator: inout SeededGenerator) throws -> Uploaded {
    var places = pages.indices.flatMap { sequence in pages[sequence].indices.map { (sequence, $0) } }
    places.shuffle(using: &generator)
    var buffers = pages.map { [CUDABuffer?](repeating: nil, count: $0.count) }
    // No page is where the table has none.
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

  /// What is wrong with a cache on a device.
  func mistake(in uploaded: Uploaded) throws -> String? {
    for (sequence, buffers) in uploaded.buffers.enumerated() {
      for (chunk, buffer) in buffers.enumerated() {
        let found: [UInt16] = try buffer.values()
        let wrong = difference(
          found.map { Float(bfloat16Bits: $0) }, pages[sequence][chunk].map { Float(bfloat16Bits: $0) },
          "page \(chunk) of sequence \(sequence)")
        if let wrong { return wrong }
      }
    }
    return nil
  }
}

/// Random cosines and sines, `[positions][pairs]`.
struct Angles {
  let cosines: [Float]
  let sines: [Float]
  let pairs: Int

  init(positions: Int, pairs: Int, _ generator: inout SeededGenerator) {
    self.pairs = pairs
    cosines = (0..<positions * pairs).map { _ in generator.float() }
    sines = (0..<positions * pairs).map { _ in generator.float() }
  }

  func rotated(_ x: ArraySlice<Float>, position: Int) -> [Float] {
    let range = position * pairs..<(position + 1) * pairs
    return Canonical.rotated(x, cosines: cosines[range], sines: sines[range])
  }
}

extension Heads {
  /// - Parameter size: even.
  init(keyValueHeads: Int, group: Int, size: Int) {
    self.init(
      queryHeads: Int32(keyValueHeads * group), keyValueHeads: Int32(keyValueHeads), size: Int32(size), padded: Int32((size + 7) / 8 * 8),
      scale: Float(1 / Double(size).squareRoot()), unused: 0)
  }

  var width: Int { Int((queryHeads + 2 * keyValueHeads) * size) }

  var description: String { "\(queryHeads) heads, \(keyValueHeads) for keys, of \(size)" }
}

/// Single tokens of several sequences, among other rows of a batch.
struct DecodeAttentionCase {
  let heads: Heads
  var cache: RandomCache
  let angles: Angles
  /// Rows of the batch; those that decode, each with a sequence and a position of its own.
  let rowCount: Int
  let rows: [Int]
  var slots: [Int32]
  var positions: [Int32]
  let qkv: [Float]
  let outStride: Int
  let blocks: Int

  init(_ generator: inout SeededGenerator, maximumSize: Int = 256, lengths range: ClosedRange<Int> = 0...299) {
    let size = 2 * generator.int(1...(generator.chance(30) ? maximumSize : maximumSize / 4) / 2)
    heads = Heads(keyValueHeads: generator.int(1...3), group: generator.int(1...(size > 64 ? 5 : 10)), size: size)
    rowCount = generator.int(1...4)
    rows = Array((0..<rowCount).shuffled(using: &generator).prefix(generator.int(1...rowCount)))
    let sequences = rowCount + generator.int(0...1)
    let lengths = (0..<sequences).map { _ in
      range.lowerBound == 0 && generator.chance(20) ? 64 * generator.int(0...3) + 63 * generator.int(0...1) : generator.int(range)
    }
    slots = Array((0..<Int32(sequences)).shuffled(using: &generator).prefix(rowCount))
    positions = slots.map { Int32(lengths[Int($0)]) }
    cache = RandomCache(heads, lengths: lengths, room: lengths.map { $0 + 1 }, &generator)
    angles = Angles(positions: lengths.max()! + 1, pairs: size / 2, &generator)
    qkv = (0..<rowCount * heads.width).map { _ in generator.float(-3...3) }
    outStride = Int(heads.queryHeads) * size + generator.int(0...3)
    blocks = generator.int(1...5)
  }

  /// Runs it twice, because the second launch uses what the first one leaves behind.
  func mistake(on device: DeviceUnderTest, _ generator: inout SeededGenerator) throws -> String? {
    let width = heads.width, size = Int(heads.size)
    var after = cache
    var expected = [Float](repeating: 7, count: rowCount * outStride)
    for row in rows {
      let (sequence, position) = (Int(slots[row]), Int(positions[row]))
      after.append(qkv[row * width..<(row + 1) * width], sequence: sequence, position: position, angles: angles)
      for head in 0..<Int(heads.queryHeads) {
        let query = angles.rotated(qkv[row * width + head * size..<row * width + (head + 1) * size], position: position)
        let place = row * outStride + head * size
        expected.replaceSubrange(
          place..<place + size, with: after.attention(query[...], queryHead: head, sequence: sequence, count: position + 1))
      }
    }

    let uploaded = try cache.upload(to: device, &generator)
    let out = try device.buffer([Float](repeating: 7, count: rowCount * outStride))
    let chunks = Int(positions.max()!) / attentionChunkLength + 1 + generator.int(0...1)
    let perHead = rowCount * Int(heads.queryHeads) * chunks
    let arrivals = try device.buffer([UInt32](repeating: 0, count: rowCount * Int(heads.keyValueHeads)))
    let partials = Partials(
      largest: try device.address([Float](repeating: .nan, count: perHead)),
      total: try device.address([Float](repeating: .nan, count: perHead)),
      weighted: try device.address([Float](repeating: .nan, count: perHead * Int(heads.padded))), arrivals: arrivals.address,
      capacity: Int32(chunks), unused: 0)
    let attention = DecodeAttention(
      heads: heads, pages: uploaded.pages, partials: partials, qkv: try device.address(qkv), cosines: try device.address(angles.cosines),
      sines: try device.address(angles.sines), out: out.address, outStride: Int32(outStride), unused: 0)
    let (rows, slots) = (try device.address(self.rows.map(Int32.init)), try device.address(self.slots))
    let positions = try device.address(self.positions)
    for launch in 1...2 {
      try device.run(
        .attendDecode, CUDAGrid(blocks, Int(heads.keyValueHeads), self.rows.count),
        sharedBytes: Int(chunkScratchBytes) + 32 * Int(heads.padded), .value(attention), .count(cache.layer), .address(rows),
        .address(slots), .address(positions))
      let wrong =
        try difference(out.values(), expected) ?? after.mistake(in: uploaded)
        ?? difference(arrivals.values(), [UInt32](repeating: 0, count: rowCount * Int(heads.keyValueHeads)), "arrivals")
      if let wrong {
        return "\(heads.description), rows \(self.rows) at \(self.positions), \(blocks) blocks, launch \(launch): \(wrong)"
      }
      // What the first launch stored is there now; its outputs are not.
      if launch == 1 { try out.copy(from: [Float](repeating: 7, count: rowCount * outStride)) }
    }
    return nil
  }
}

extension CUDABuffer {
  fileprivate func copy(from values: [Float]) throws { try values.withUnsafeBytes { try copy(from: $0) } }
}

/// Neighbouring tokens of several sequences, keys and values in the cache already.
struct PromptAttentionCase {
  let heads: Heads
  let cache: RandomCache
  /// Tokens and the first one's position for each sequence; the rows of a sequence follow one another.
  let sequences: [(tokens: Int, start: Int)]
  let qkv: [Float]
  let outStride: Int

  init(_ generator: inout SeededGenerator, group: Int? = nil) {
    let size = 2 * generator.int(1...(generator.chance(30) ? 64 : 20))
    heads = Heads(keyValueHeads: generator.int(1...2), group: group ?? generator.int(1...6), size: size)
    let limit = size > 40 || Int(heads.queryHeads) > 6 ? 40 : 100
    sequences = (0..<generator.int(1...3)).map { _ in
      (generator.int(1...limit), generator.chance(30) ? 64 * generator.int(0...2) : generator.int(0...150))
    }
    let lengths = sequences.map { $0.tokens + $0.start }
    cache = RandomCache(heads, lengths: lengths, room: lengths, &generator)
    let rows = sequences.reduce(0) { $0 + $1.tokens }
    qkv = (0..<rows * heads.width).map { _ in generator.float(-3...3) }
    outStride = Int(heads.queryHeads) * size + generator.int(0...3)
  }

  func mistake(on device: DeviceUnderTest, _ generator: inout SeededGenerator) throws -> String? {
    let width = heads.width, size = Int(heads.size), group = Int(heads.queryHeads / heads.keyValueHeads)
    var tiles: [QueryTile] = []
    var expected: [Float] = []
    for (sequence, work) in sequences.enumerated() {
      let firstRow = expected.count / outStride
      var done = 0
      while done < work.tokens {
        let tokens = min(work.tokens - done, generator.chance(70) ? max(1, 64 / group) : generator.int(1...max(1, 64 / group)))
        tiles.append(
          QueryTile(
            firstRow: Int32(firstRow + done), tokens: Int32(tokens), slot: Int32(sequence), firstPosition: Int32(work.start + done)))
        done += tokens
      }
      for token in 0..<work.tokens {
        for head in 0..<Int(heads.queryHeads) {
          let place = (firstRow + token) * width + head * size
          expected += cache.attention(qkv[place..<place + size], queryHead: head, sequence: sequence, count: work.start + token + 1)
        }
        expected += Array(repeating: 7, count: outStride - Int(heads.queryHeads) * size)
      }
    }
    tiles.shuffle(using: &generator)
    let uploaded = try cache.upload(to: device, &generator)
    let out = try device.buffer([Float](repeating: 7, count: expected.count))
    try device.run(
      .attendPrompt, CUDAGrid(tiles.count, Int(heads.keyValueHeads), (group + 63) / 64), sharedBytes: Int(tileScratchBytes), .value(heads),
      .value(uploaded.pages), .count(cache.layer), .address(device.address(tiles)), .address(device.address(qkv)), .address(out.address),
      .count(outStride))
    let wrong = try difference(out.values(), expected) ?? cache.mistake(in: uploaded)
    return wrong.map { "\(heads.description), \(sequences), \(tiles.count) tiles: \($0)" }
  }
}

extension KernelTests {
  @Suite("Attention")
  struct AttentionTests {
    @Test("Rotates queries and stores keys and values")
    func rotatesAndAppends() {
      KernelTests.run(0..<24) { device, generator in
        let heads = Heads(keyValueHeads: generator.int(1...4), group: generator.int(1...5), size: 2 * generator.int(1...70))
        let rowCount = generator.int(1...20), width = heads.width, size = Int(heads.size)
        let sequences = generator.int(1...3)
        let room = (0..<sequences).map { _ in generator.int(rowCount...200) }
        var cache = RandomCache(heads, lengths: room, room: room, &generator)
        let angles = Angles(positions: room.max()!, pairs: size / 2, &generator)
        var qkv = (0..<rowCount * width).map { _ in generator.float(-3...3) }
        qkv[generator.int(0...qkv.count - 1)] = .nan
        let slots = (0..<rowCount).map { _ in Int32(generator.int(0...sequences - 1)) }
        // Rows of one sequence have positions of their own.
        let starts = room.map { generator.int(0...$0 - rowCount) }
        let positions = (0..<rowCount).map { Int32(starts[Int(slots[$0])] + $0) }
        let rows = (0..<rowCount).shuffled(using: &generator).prefix(generator.int(1...rowCount))
        let uploaded = try cache.upload(to: device, &generator)
        let buffer = try device.buffer(qkv)
        try device.run(
          .rotateAndAppend, CUDAGrid(rows.count), .value(heads), .value(uploaded.pages), .count(cache.layer),
          .address(device.address(rows.map(Int32.init))), .address(device.address(slots)), .address(device.address(positions)),
          .address(buffer.address), .address(device.address(angles.cosines)), .address(device.address(angles.sines)))
        for row in rows {
          cache.append(qkv[row * width..<(row + 1) * width], sequence: Int(slots[row]), position: Int(positions[row]), angles: angles)
          for head in 0..<Int(heads.queryHeads) {
            let range = row * width + head * size..<row * width + (head + 1) * size
            qkv.replaceSubrange(range, with: angles.rotated(qkv[range], position: Int(positions[row])))
          }
        }
        return try difference(buffer.values(), qkv) ?? cache.mistake(in: uploaded)
      }
    }

    @Test("Single tokens")
    func decode() {
      KernelTests.run(0..<32) { device, generator in try DecodeAttentionCase(&generator).mistake(on: device, &generator) }
    }

    @Test("Single tokens at positions whose chunks are more than a warp")
    func decodeFarAway() {
      KernelTests.run(100..<104) { device, generator in
        try DecodeAttentionCase(&generator, maximumSize: 160, lengths: 2000...2300).mistake(on: device, &generator)
      }
    }

    @Test("Prompts")
    func prompt() {
      KernelTests.run(0..<16) { device, generator in try PromptAttentionCase(&generator).mistake(on: device, &generator) }
    }

    @Test("A prompt with more than 64 query heads for each of keys")
    func promptOfManyHeads() {
      KernelTests.run(100..<102) { device, generator in
        try PromptAttentionCase(&generator, group: 70).mistake(on: device, &generator)
      }
    }
  }
}
