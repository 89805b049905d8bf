import BitNetCUDADriver
import BitNetInference
import CBitNetCUDAKernels

/// Rows of a plan that go through the layers together, and where their arrays are in device memory.
struct DeviceBatch {
  /// Up to `outputGroup` rows whose logits are computed together.
  struct OutputGroup {
    /// Among the plan's outputs.
    let outputs: Range<Int>
    let arrays: OutputArrays
  }

  let count: Int
  /// How many rows attend one by one, and how many belong to prompts: in one launch, keys and values first.
  let singleCount: Int
  let promptCount: Int
  let tileCount: Int
  /// Chunks of the longest sequence.
  let mostChunks: Int
  /// Whether rows that attend one by one may follow each other in one sequence: then each launch takes one.
  let attendsInOrder: Bool
  /// Each row's sequence, as its row of the page table.
  let slots: UInt64
  let singleRows: UInt64
  let promptRows: UInt64
  /// QueryTile `[tileCount]`.
  let tiles: UInt64
  let pages: Pages
  let outputs: OutputArrays
  fileprivate let outputRange: Range<Int>

  /// The outputs in groups. A sequence's rows and outputs follow one another, so a slice of rows has a range of them.
  var outputGroups: [OutputGroup] {
    stride(from: outputRange.lowerBound, to: outputRange.upperBound, by: outputGroup).map { start in
      OutputGroup(
        outputs: start..<min(start + outputGroup, outputRange.upperBound),
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

  fileprivate func skipping(_ count: Int) -> OutputArrays {
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
    _ plan: StepPlan<PagePool.Page>, _ range: Range<Int>, _ configuration: ModelConfiguration, on stream: CUDAStream
  ) throws(CUDAError) -> DeviceBatch {
    let rows = Array(plan.rows[range])
    // The tiled kernel for prompts takes heads of up to 128 elements; longer ones go token by token, each launch after
    // the keys before it.
    let isTiled = configuration.headSize <= 128
    let isPrompt = rows.map { isTiled && plan.entries[$0.entry].count > 1 }
    let single = rows.indices.filter { !isPrompt[$0] }
    let prompt = rows.indices.filter { isPrompt[$0] }
    let group = configuration.headCount / configuration.keyValueHeadCount
    // A tile's cost grows with the positions before its end: the longest come first, so that none of them runs alone at
    // the end.
    let tiles = Self.tiles(rows, prompt, longest: max(1, 64 / group)).sorted {
      $0.firstPosition + $0.tokens > $1.firstPosition + $1.tokens
    }
    let wanted = rows.indices.filter { rows[$0].output != nil }
    let sampling = wanted.map { plan.outputs[rows[$0].output!].deviceSampling ?? .greedy }
    let pages = plan.entries.map { $0.pages.map(\.address) }
    let capacity = pages.map(\.count).max() ?? 0
    let table = pages.flatMap { $0 + Array(repeating: 0, count: capacity - $0.count) }
    let firstOutput = wanted.first.map { rows[$0].output! } ?? 0

    bytes.removeAll(keepingCapacity: true)
    let offsets = (
      tokens: add(rows.map(\.token)), positions: add(rows.map { Int32($0.position) }),
      slots: add(rows.map { Int32($0.entry) }), single: add(single.map { Int32($0) }),
      prompt: add(prompt.map { Int32($0) }), outputs: add(wanted.map { Int32($0) }), tiles: add(tiles),
      sampling: add(sampling.map { RowSampling($0) }), windows: add(sampling.map(\.window)), pages: add(table)
    )
    let base = try send(on: stream)
    return DeviceBatch(
      count: rows.count, singleCount: single.count, promptCount: prompt.count, tileCount: tiles.count,
      mostChunks: (rows.map(\.position).max() ?? 0) / attentionChunkLength + 1, attendsInOrder: !isTiled,
      slots: base + offsets.slots, singleRows: base + offsets.single, promptRows: base + offsets.prompt,
      tiles: base + offsets.tiles,
      pages: Pages(addresses: base + offsets.pages, capacity: Int32(capacity), unused: 0),
      outputs: OutputArrays(
        rows: base + offsets.outputs, sampling: base + offsets.sampling, windows: base + offsets.windows,
        tokens: base + offsets.tokens, positions: base + offsets.positions),
      outputRange: firstOutput..<firstOutput + wanted.count)
  }

  /// Neighbouring tokens of one sequence, up to `longest` of them.
  private static func tiles(_ rows: [StepPlan<PagePool.Page>.Row], _ prompt: [Int], longest: Int) -> [QueryTile] {
    var tiles: [QueryTile] = []
    for index in prompt {
      let (slot, position) = (Int32(rows[index].entry), Int32(rows[index].position))
      if let last = tiles.last, last.slot == slot, Int(last.firstRow + last.tokens) == index, last.tokens < longest {
        tiles[tiles.count - 1].tokens += 1
      } else {
        tiles.append(QueryTile(firstRow: Int32(index), tokens: 1, slot: slot, firstPosition: position))
      }
    }
    return tiles
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
