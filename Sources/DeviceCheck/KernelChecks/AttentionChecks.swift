import BitNetCUDAEngine
import BitNetCUDADriver
import CBitNetCUDAKernels
import BitNetInference
package import BitNetRandomModels
import BitNetTernary

/// Rows of a batch whose queries are rotated, and whose keys and values are stored in the cache.
package struct RotaryCheck: KernelCheck {
  private let heads: Heads
  private let cache: RandomCache
  private let angles: RandomAngles
  private let qkv: [Float]
  private let slots: [Int32]
  private let positions: [Int32]
  /// The rows that the kernel processes.
  private let rows: [Int]

  package init(_ generator: inout SplitMix64) {
    let heads = Heads(keyValueHeads: generator.int(1...4), group: generator.int(1...5), size: 2 * generator.int(1...70))
    self.init(&generator, heads, rowCount: generator.int(1...20), length: 200)
  }

  /// - Parameter length: the most positions of a sequence, `rowCount` or more.
  init(_ generator: inout SplitMix64, _ heads: Heads, rowCount: Int, length: Int) {
    self.heads = heads
    let room = (0..<generator.int(1...3)).map { _ in generator.int(rowCount...length) }
    cache = RandomCache(heads, lengths: room, room: room, &generator)
    angles = RandomAngles(positions: room.max()!, pairs: Int(heads.size) / 2, &generator)
    var qkv = (0..<rowCount * heads.width).map { _ in generator.float(-3...3) }
    qkv[generator.int(0...qkv.count - 1)] = .nan
    self.qkv = qkv
    let slots = (0..<rowCount).map { _ in Int32(generator.int(0...room.count - 1)) }
    // Rows of one sequence have different positions.
    let starts = room.map { generator.int(0...$0 - rowCount) }
    positions = (0..<rowCount).map { Int32(starts[Int(slots[$0])] + $0) }
    self.slots = slots
    rows = Array((0..<rowCount).shuffled(using: &generator).prefix(generator.int(1...rowCount)))
  }

  package var shape: String { "\(heads.shape), \(rows.count) of \(slots.count) rows" }

  package func comparison(on device: KernelCheckDevice) throws -> KernelComparison {
    let uploaded = try cache.upload(to: device)
    let buffer = try device.buffer(qkv)
    try device.run(
      .rotateAndAppend, CUDAGrid(rows.count),
      RotateParameters(
        heads: heads, pages: uploaded.pages, rows: device.address(rows.map(Int32.init)), slots: device.address(slots),
        positions: device.address(positions), qkv: buffer.address, cosines: device.address(angles.cosines),
        sines: device.address(angles.sines), layer: Int32(cache.layer)))
    let width = heads.width
    var (after, expected) = (cache, qkv)
    for row in rows {
      let position = Int(positions[row])
      after.append(qkv[row * width..<(row + 1) * width], sequence: Int(slots[row]), position: position, angles: angles)
      let queries = row * width..<row * width + heads.queryWidth
      expected.replaceSubrange(queries, with: angles.rotated(qkv[queries], size: Int(heads.size), position: position))
    }
    var comparison = KernelComparison()
    comparison.compare(try buffer.values(), expected, width: width)
    try after.compare(uploaded, in: &comparison)
    return comparison
  }
}

/// Single tokens of several sequences, among other rows of a batch.
package struct DecodeAttentionCheck: KernelCheck {
  private let heads: Heads
  private let cache: RandomCache
  private let angles: RandomAngles
  /// The number of rows of the batch, and the rows that decode, each with its own sequence and position.
  private let rowCount: Int
  private let rows: [Int]
  private let slots: [Int32]
  private let positions: [Int32]
  private let qkv: [Float]
  private let outStride: Int
  private let blocks: Int
  /// The number of chunks that there is room for.
  private let chunks: Int

  package init(_ generator: inout SplitMix64, maximumSize: Int = 256, lengths range: ClosedRange<Int> = 0...299) {
    let size = 2 * generator.int(1...(generator.chance(30) ? maximumSize : maximumSize / 4) / 2)
    let heads = Heads(keyValueHeads: generator.int(1...3), group: generator.int(1...(size > 64 ? 5 : 10)), size: size)
    let rowCount = generator.int(1...4)
    let lengths = (0..<rowCount + generator.int(0...1)).map { _ in
      range.lowerBound == 0 && generator.chance(20)
        ? 64 * generator.int(0...3) + 63 * generator.int(0...1) : generator.int(range)
    }
    self.init(
      &generator, heads, rowCount: rowCount, decoding: generator.int(1...rowCount), lengths: lengths,
      blocks: generator.int(1...5))
  }

  /// - Parameters:
  ///   - decoding: the number of rows that decode.
  ///   - lengths: the positions of each sequence before its token, for `rowCount` or more sequences.
  init(_ generator: inout SplitMix64, _ heads: Heads, rowCount: Int, decoding: Int, lengths: [Int], blocks: Int) {
    (self.heads, self.rowCount, self.blocks) = (heads, rowCount, blocks)
    rows = Array((0..<rowCount).shuffled(using: &generator).prefix(decoding))
    slots = Array((0..<Int32(lengths.count)).shuffled(using: &generator).prefix(rowCount))
    positions = slots.map { Int32(lengths[Int($0)]) }
    cache = RandomCache(heads, lengths: lengths, room: lengths.map { $0 + 1 }, &generator)
    angles = RandomAngles(positions: lengths.max()! + 1, pairs: Int(heads.size) / 2, &generator)
    qkv = (0..<rowCount * heads.width).map { _ in generator.float(-3...3) }
    outStride = heads.queryWidth + generator.int(0...3)
    chunks = Int(positions.max()!) / attentionChunkLength + 1 + generator.int(0...1)
  }

  package var shape: String { "\(heads.shape), rows \(rows) at \(positions), \(blocks) blocks" }

  /// Runs the kernel twice, because the second launch uses the state that the first one leaves.
  package func comparison(on device: KernelCheckDevice) throws -> KernelComparison {
    let width = heads.width
    var after = cache
    let before = [Float](repeating: 7, count: rowCount * outStride)
    var expected = before
    for row in rows {
      let (sequence, position) = (Int(slots[row]), Int(positions[row]))
      after.append(qkv[row * width..<(row + 1) * width], sequence: sequence, position: position, angles: angles)
      let queries = angles.rotated(
        qkv[row * width..<row * width + heads.queryWidth], size: Int(heads.size), position: position)
      let attended = after.attention([queries[...]], sequence: sequence, seen: [0..<position + 1])[0]
      expected.replaceSubrange(row * outStride..<row * outStride + heads.queryWidth, with: attended)
    }

    let uploaded = try cache.upload(to: device)
    let out = try device.buffer(before)
    let perHead = rowCount * Int(heads.queryHeads) * chunks
    let arrivals = try device.buffer([UInt32](repeating: 0, count: rowCount * Int(heads.keyValueHeads)))
    let partials = Partials(
      largest: try device.address([Float](repeating: .nan, count: perHead)),
      total: try device.address([Float](repeating: .nan, count: perHead)),
      weighted: try device.address([Float](repeating: .nan, count: perHead * Int(heads.padded))),
      arrivals: arrivals.address,
      capacity: Int32(chunks), unused: 0)
    let attention = DecodeAttention(
      heads: heads, pages: uploaded.pages, partials: partials, qkv: try device.address(qkv),
      cosines: try device.address(angles.cosines),
      sines: try device.address(angles.sines), out: out.address, outStride: Int32(outStride), unused: 0)
    let (rows, slots) = (try device.address(self.rows.map(Int32.init)), try device.address(self.slots))
    let positions = try device.address(self.positions)
    var comparison = KernelComparison()
    for launch in ["first", "second"] {
      try device.run(
        .attendDecode, CUDAGrid(blocks, Int(heads.keyValueHeads), self.rows.count),
        sharedBytes: heads.attentionBytes,
        AttendDecodeParameters(
          attention: attention, rows: rows, slots: slots, positions: positions, layer: Int32(cache.layer)))
      comparison.compare(try out.values(), expected, "the \(launch) launch's output", width: outStride)
      try after.compare(uploaded, in: &comparison)
      comparison.compare(
        try arrivals.values(), [UInt32](repeating: 0, count: rowCount * Int(heads.keyValueHeads)), "arrivals")
      // Keep the keys and values that the first launch stored, but reset its outputs.
      try before.withUnsafeBytes { try out.copy(from: $0) }
    }
    return comparison
  }
}

/// Neighbouring tokens of several sequences, whose keys and values are already in the cache.
package struct PromptAttentionCheck: KernelCheck {
  /// A kernel, and what the tokens see.
  private enum Form {
    case prompt
    case window(ModelConfiguration.Attention)
  }
  private let form: Form
  private let heads: Heads
  private let cache: RandomCache
  /// The number of tokens and the first token's position, for each sequence. The rows of a sequence are consecutive.
  private let sequences: [(tokens: Int, start: Int)]
  private let qkv: [Float]
  private let outStride: Int
  private let tiles: [QueryTile]

  package init(_ generator: inout SplitMix64, group: Int? = nil) {
    let size = 2 * generator.int(1...(generator.chance(30) ? 64 : 20))
    let heads = Heads(keyValueHeads: generator.int(1...2), group: group ?? generator.int(1...6), size: size)
    let limit = size > 40 || Int(heads.queryHeads) > 6 ? 40 : 100
    let sequences = (0..<generator.int(1...3)).map { _ in
      (generator.int(1...limit), generator.chance(30) ? 64 * generator.int(0...2) : generator.int(0...150))
    }
    self.init(&generator, heads, sequences)
  }

  /// Tokens with a window or with attention to later tokens, and heads of any size.
  package init(windows generator: inout SplitMix64, group: Int? = nil) {
    let size = 2 * generator.int(1...(generator.chance(30) ? 150 : 20))
    let heads = Heads(keyValueHeads: generator.int(1...2), group: group ?? generator.int(1...6), size: size)
    let limit = size > 40 || Int(heads.queryHeads) > 6 ? 40 : 100
    let sequences = (0..<generator.int(1...3)).map { _ in
      (generator.int(1...limit), generator.chance(30) ? 64 * generator.int(0...3) : generator.int(0...200))
    }
    let attention = ModelConfiguration.Attention(
      window: generator.chance(80) ? generator.int(1...(generator.chance(50) ? 150 : 20)) : nil,
      isBidirectional: generator.chance(50))
    self.init(&generator, heads, sequences, windows: attention)
  }

  /// - Parameter windows: what tokens see where it is not all positions before them.
  init(
    _ generator: inout SplitMix64, _ heads: Heads, _ sequences: [(tokens: Int, start: Int)],
    windows: ModelConfiguration.Attention? = nil
  ) {
    form = windows.map { .window($0) } ?? .prompt
    (self.heads, self.sequences) = (heads, sequences)
    let lengths = sequences.map { $0.tokens + $0.start }
    cache = RandomCache(heads, lengths: lengths, room: lengths, &generator)
    let rows = sequences.reduce(0) { $0 + $1.tokens }
    qkv = (0..<rows * heads.width).map { _ in generator.float(-3...3) }
    outStride = heads.queryWidth + generator.int(0...3)
    let most = max(1, (windows == nil ? 64 : Int(windowTileQueries)) / Int(heads.queryHeads / heads.keyValueHeads))
    var tiles: [QueryTile] = []
    var firstRow = 0
    for (sequence, work) in sequences.enumerated() {
      var done = 0
      while done < work.tokens {
        let tokens = min(work.tokens - done, generator.chance(70) ? most : generator.int(1...most))
        tiles.append(
          QueryTile(
            firstRow: Int32(firstRow + done), tokens: Int32(tokens), slot: Int32(sequence),
            firstPosition: Int32(work.start + done)))
        done += tokens
      }
      firstRow += work.tokens
    }
    self.tiles = tiles.shuffled(using: &generator)
  }

  package var shape: String {
    let work = sequences.map { "\($0.tokens) tokens from \($0.start) on" }.joined(separator: ", ")
    let seen =
      switch form {
      case .prompt: ""
      case .window(let attention):
        ", \(attention.window.map { "a window of \($0)" } ?? "no window"), "
          + (attention.isBidirectional ? "bidirectional" : "causal")
      }
    return "\(heads.shape), \(work)\(seen), \(tiles.count) tiles"
  }

  /// The positions that a token of a sequence sees.
  private func seen(by position: Int, of sequence: (tokens: Int, start: Int)) -> Range<Int> {
    guard case .window(let attention) = form else { return 0..<position + 1 }
    let (end, reach) = (sequence.start + sequence.tokens, attention.window ?? 1 << 24)
    return max(0, position + 1 - reach)..<(attention.isBidirectional ? min(end, position + reach) : position + 1)
  }

  package func comparison(on device: KernelCheckDevice) throws -> KernelComparison {
    var expected: [Float] = []
    for (sequence, work) in sequences.enumerated() {
      let firstRow = expected.count / outStride
      let queries = (0..<work.tokens).map {
        qkv[(firstRow + $0) * heads.width..<(firstRow + $0) * heads.width + heads.queryWidth]
      }
      let seen = (0..<work.tokens).map { self.seen(by: work.start + $0, of: work) }
      for row in cache.attention(queries, sequence: sequence, seen: seen) {
        expected += row + Array(repeating: 7, count: outStride - heads.queryWidth)
      }
    }
    let uploaded = try cache.upload(to: device)
    let out = try device.buffer([Float](repeating: 7, count: expected.count))
    switch form {
    case .prompt:
      let groups = (Int(heads.queryHeads / heads.keyValueHeads) + 63) / 64
      try device.run(
        .attendPrompt, CUDAGrid(Int(heads.keyValueHeads), tiles.count, groups), sharedBytes: Int(tileScratchBytes),
        AttendPromptParameters(
          heads: heads, pages: uploaded.pages, tiles: device.address(tiles), qkv: device.address(qkv),
          out: out.address, layer: Int32(cache.layer), outStride: Int32(outStride)))
    case .window(let attention):
      let ends = sequences.map { Int32($0.start + $0.tokens) }
      try device.run(
        .attendWindow, heads.windowGrid(tiles: tiles.count), sharedBytes: Int(windowScratchBytes),
        AttendWindowParameters(
          heads: heads, pages: uploaded.pages, tiles: device.address(tiles), ends: device.address(ends),
          qkv: device.address(qkv), out: out.address, layer: Int32(cache.layer), outStride: Int32(outStride),
          window: Int32(attention.window ?? Int(endlessWindow)),
          isBidirectional: attention.isBidirectional ? 1 : 0))
    }
    var comparison = KernelComparison()
    comparison.compare(try out.values(), expected, width: outStride)
    try cache.compare(uploaded, in: &comparison)
    return comparison
  }
}
