import BitNetCUDADriver
import BitNetInference
import CBitNetCUDAKernels

/// Rows of a plan that go through the layers together, and where their arrays are in device memory.
struct DeviceBatch {
  /// Up to `screenGroup` rows whose logits are computed together.
  struct OutputGroup {
    /// Among the plan's outputs.
    let outputs: Range<Int>
    let arrays: OutputArrays
  }

  /// Rows that attend together in one launch, keys and values first, and their tiles.
  struct Tiles {
    /// Int32 `[rowCount]`.
    let rows: UInt64
    let rowCount: Int
    /// QueryTile `[count]`.
    let address: UInt64
    let count: Int
  }

  let count: Int
  /// How many rows attend one by one: those that do not belong to prompts.
  let singleCount: Int
  /// Chunks of the longest sequence.
  let mostChunks: Int
  /// Each row's sequence, as its row of the page table.
  let slots: UInt64
  /// Each sequence's positions, those of its last row included: Int32 `[sequences]`.
  let ends: UInt64
  let singleRows: UInt64
  let prompts: Tiles
  /// All rows for layers with windows or bidirectional attention; nil in models without them.
  let all: Tiles?
  let pages: Pages
  let outputs: OutputArrays
  /// Among the plan's outputs.
  let outputRange: Range<Int>

  /// The outputs in groups. A sequence's rows and outputs follow one another, so a slice of rows has a range of them.
  var outputGroups: [OutputGroup] {
    stride(from: outputRange.lowerBound, to: outputRange.upperBound, by: screenGroup).map { start in
      OutputGroup(
        outputs: start..<min(start + screenGroup, outputRange.upperBound),
        arrays: outputs.skipping(start - outputRange.lowerBound))
    }
  }
}

/// The arrays that the head and the sampler take, in device memory.
struct OutputArrays {
  /// `[outputs]`: each output's row of the batch.
  var rows: UInt64
  /// `[outputs]` of RowSampling.
  var sampling: UInt64
  /// `[outputs]`: how far below the largest a logit can matter.
  var windows: UInt64
  /// By row of the batch: a token and its position, which the sampler replaces by the next.
  var tokens: UInt64
  var positions: UInt64

  func skipping(_ count: Int) -> OutputArrays {
    var arrays = self
    arrays.rows += UInt64(MemoryLayout<Int32>.stride * count)
    arrays.sampling += UInt64(MemoryLayout<RowSampling>.stride * count)
    arrays.windows += UInt64(MemoryLayout<Float>.stride * count)
    return arrays
  }
}

/// Gathers the small arrays of a batch in pinned memory and sends them in one copy.
struct BatchUpload {
  private let context: CUDAContext
  private var host: CUDAHostBuffer
  private var device: CUDABuffer
  private var bytes: [UInt8] = []

  init(_ context: CUDAContext) throws(CUDAError) {
    self.context = context
    host = try CUDAHostBuffer(context, byteCount: 64 << 10)
    device = try CUDABuffer(context, byteCount: 64 << 10)
  }

  /// Sends the arrays for some rows of a plan. The copies before have arrived.
  mutating func send(
    _ plan: StepPlan, _ range: Range<Int>, _ configuration: ModelConfiguration, on stream: CUDAStream
  ) throws(CUDAError) -> DeviceBatch {
    let rows = Array(plan.rows[range])
    let isPrompt = rows.map { plan.entries[$0.entry].count > 1 }
    let single = rows.indices.filter { !isPrompt[$0] }
    let prompt = rows.indices.filter { isPrompt[$0] }
    let windowTile = max(1, Int(windowTileQueries) / configuration.group)
    let promptTile =
      configuration.headSize > Int(longestPromptHead) ? windowTile : max(1, 64 / configuration.group)
    let promptTiles = Self.tiles(rows, prompt, longest: promptTile)
    let hasWindows = configuration.has(.attentionWindow) || configuration.isBidirectional
    let all = hasWindows ? Array(rows.indices) : []
    let allTiles = Self.tiles(rows, all, longest: windowTile)
    let wanted = rows.indices.filter { rows[$0].output != nil }
    let sampling = wanted.map { plan.outputs[rows[$0].output!].deviceSampling ?? .greedy }
    let pages = plan.entries.map(\.addresses)
    let capacity = pages.map(\.count).max() ?? 0
    let table = pages.flatMap { $0 + Array(repeating: 0, count: capacity - $0.count) }
    let firstOutput = wanted.first.map { rows[$0].output! } ?? 0

    bytes.removeAll(keepingCapacity: true)
    let offsets = (
      tokens: add(rows.map(\.token)), positions: add(rows.map { Int32($0.position) }),
      slots: add(rows.map { Int32($0.entry) }), single: add(single.map { Int32($0) }),
      prompt: add(prompt.map { Int32($0) }), all: add(all.map { Int32($0) }),
      ends: add(plan.entries.map { Int32($0.start + $0.count) }), outputs: add(wanted.map { Int32($0) }),
      promptTiles: add(promptTiles), allTiles: add(allTiles),
      sampling: add(sampling.map { RowSampling($0) }), windows: add(sampling.map(\.window)), pages: add(table)
    )
    let base = try send(on: stream)
    return DeviceBatch(
      count: rows.count, singleCount: single.count,
      mostChunks: (rows.map(\.position).max() ?? 0) / attentionChunkLength + 1,
      slots: base + offsets.slots, ends: base + offsets.ends, singleRows: base + offsets.single,
      prompts: .init(
        rows: base + offsets.prompt, rowCount: prompt.count, address: base + offsets.promptTiles,
        count: promptTiles.count),
      all: hasWindows
        ? .init(
          rows: base + offsets.all, rowCount: all.count, address: base + offsets.allTiles, count: allTiles.count) : nil,
      pages: Pages(addresses: base + offsets.pages, capacity: Int32(capacity), unused: 0),
      outputs: OutputArrays(
        rows: base + offsets.outputs, sampling: base + offsets.sampling, windows: base + offsets.windows,
        tokens: base + offsets.tokens, positions: base + offsets.positions),
      outputRange: firstOutput..<firstOutput + wanted.count)
  }

  /// Neighbouring tokens of one sequence, up to `longest` of them. A tile's cost grows with the positions before its
  /// end: the longest come first, so that none of them runs alone at the end.
  private static func tiles(_ rows: [StepPlan.Row], _ members: [Int], longest: Int) -> [QueryTile] {
    var tiles: [QueryTile] = []
    for index in members {
      let (slot, position) = (Int32(rows[index].entry), Int32(rows[index].position))
      if let last = tiles.last, last.slot == slot, Int(last.firstRow + last.tokens) == index, last.tokens < longest {
        tiles[tiles.count - 1].tokens += 1
      } else {
        tiles.append(QueryTile(firstRow: Int32(index), tokens: 1, slot: slot, firstPosition: position))
      }
    }
    return tiles.sorted { $0.firstPosition + $0.tokens > $1.firstPosition + $1.tokens }
  }

  /// Adds an array and returns its offset, a multiple of 16.
  private mutating func add<Element: BitwiseCopyable>(_ values: [Element]) -> UInt64 {
    let offset = bytes.count
    values.withUnsafeBytes { bytes.append(contentsOf: $0) }
    bytes.append(contentsOf: repeatElement(0, count: (16 - bytes.count % 16) % 16))
    return UInt64(offset)
  }

  /// Sends everything; returns the address that offsets count from.
  private mutating func send(on stream: CUDAStream) throws(CUDAError) -> UInt64 {
    if bytes.count > device.byteCount {
      host = try CUDAHostBuffer(context, byteCount: 2 * bytes.count)
      device = try CUDABuffer(context, byteCount: 2 * bytes.count)
    }
    host.bytes.copyBytes(from: bytes)
    try stream.copy(
      from: UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(host.bytes)[0..<bytes.count]), to: device.address)
    return device.address
  }
}
