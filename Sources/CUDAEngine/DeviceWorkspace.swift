import BitNetCUDADriver
import CBitNetCUDAKernels
import BitNetInference
import BitNetTernary

/// The buffers of one forward pass over up to `rows` tokens, allocated once.
final class DeviceWorkspace {
  /// Tokens that go through the layers together: the longer a slice, the fuller are the last waves of blocks. Results
  /// do not depend on it.
  static let slices = [2048, 1024, 512]
  /// Outputs (rows with logits) that are computed together.
  static let outputs = 8
  /// Memory that the chunks of single tokens' attention may take before the tokens are split into several launches.
  private static let partialBytes = 14 << 20

  let rows: Int
  /// Tokens whose attention is computed chunk by chunk in one launch.
  let attentionRows: Int
  let innerStride: Int
  let chunkCapacity: Int
  let x: CUDABuffer
  let qkv: CUDABuffer
  let inner: CUDABuffer
  let quantized: QuantizedRows
  let logits: CUDABuffer
  let heads: Heads
  let partials: Partials
  /// Largest keys and largest lower bounds of the outputs, `[outputs]` of 64 bits each, zero between steps; then
  /// counters.
  let best: UInt64
  let floors: UInt64
  let screenArrivals: UInt64
  let survivors: UInt64
  let barrier: UInt64
  let rounds: UInt64
  let candidates: Candidates
  /// Sampled tokens for the host: `[messageRounds][outputs]`.
  let messages: CUDAHostBuffer
  static let messageRounds = 64
  /// Where blocks that wait too long for the others say so: StallRecord `[stallRecords]`, zero until then.
  let stalls: CUDAHostBuffer
  private var buffers: [CUDABuffer] = []

  init(_ context: CUDAContext, _ c: ModelConfiguration, contextLength: Int) throws(CUDAError) {
    let innerWidth = max(c.queryWidth, c.feedForwardSize), free = try context.memory().free
    // Buffers of a long slice must leave nearly all of the memory to the cache.
    let bytesPerRow = 4 * (2 * c.hiddenSize + c.queryWidth + 2 * c.keyValueWidth + innerWidth) + innerWidth
    let slice = Self.slices.first { $0 * bytesPerRow <= free / 32 } ?? Self.slices.last!
    rows = min(slice, max(contextLength, Self.outputs))
    innerStride = innerWidth
    chunkCapacity = (contextLength + attentionChunkLength - 1) / attentionChunkLength
    let padded = (c.headSize + 7) / 8 * 8
    heads = Heads(
      queryHeads: Int32(c.headCount), keyValueHeads: Int32(c.keyValueHeadCount), size: Int32(c.headSize),
      padded: Int32(padded),
      scale: Float(1 / Double(c.headSize).squareRoot()), unused: 0)

    var buffers: [CUDABuffer] = []
    func allocate(_ byteCount: Int, cleared: Bool = false) throws(CUDAError) -> CUDABuffer {
      let buffer = try CUDABuffer(context, byteCount: byteCount)
      if cleared { try buffer.fill(byte: 0) }
      buffers.append(buffer)
      return buffer
    }
    x = try allocate(4 * rows * c.hiddenSize)
    qkv = try allocate(4 * rows * (c.queryWidth + 2 * c.keyValueWidth))
    inner = try allocate(4 * rows * innerStride)
    let codeStride = Tile.padded(max(c.hiddenSize, innerStride), to: Tile.columns)
    quantized = QuantizedRows(
      codes: try allocate(rows * codeStride).address, stride: codeStride, scales: try allocate(4 * rows).address,
      sums: try allocate(4 * rows).address)
    logits = try allocate(4 * Self.outputs * c.vocabularySize)

    let places = c.headCount * chunkCapacity
    attentionRows = min(rows, max(Self.outputs, Self.partialBytes / (4 * places * (padded + 2))))
    partials = Partials(
      largest: try allocate(4 * attentionRows * places).address,
      total: try allocate(4 * attentionRows * places).address,
      weighted: try allocate(4 * attentionRows * places * padded).address,
      arrivals: try allocate(4 * attentionRows * c.keyValueHeadCount, cleared: true).address,
      capacity: Int32(chunkCapacity), unused: 0)

    // Six small arrays of [outputs] in one buffer, 64 bytes each.
    let small = try allocate(6 * 64, cleared: true).address
    (best, floors, screenArrivals, survivors, barrier, rounds) = (
      small, small + 64, small + 128, small + 192, small + 256, small + 320
    )
    candidates = Candidates(
      keys: try allocate(8 * Self.outputs * c.vocabularySize).address,
      weights: try allocate(8 * Self.outputs * c.vocabularySize).address)
    messages = try CUDAHostBuffer(context, byteCount: 8 * Self.messageRounds * Self.outputs)
    messages.bytes.initializeMemory(as: UInt8.self, repeating: 0)
    stalls = try CUDAHostBuffer(context, byteCount: Int(stallRecords) * MemoryLayout<StallRecord>.stride)
    stalls.bytes.initializeMemory(as: UInt8.self, repeating: 0)
    self.buffers = buffers
  }

  var byteCount: Int { buffers.reduce(0) { $0 + $1.byteCount } }

  var delivery: Delivery {
    Delivery(
      messages: messages.deviceAddress, rounds: rounds, messageRounds: Int32(Self.messageRounds),
      outputs: Int32(Self.outputs))
  }
}

/// Cosines and sines of the positions so far, in device memory that has room for the whole context.
final class DeviceRotaryTable {
  private var table: RotaryTable
  private let cosineBuffer: CUDABuffer
  private let sineBuffer: CUDABuffer
  private let capacity: Int
  var cosines: UInt64 { cosineBuffer.address }
  var sines: UInt64 { sineBuffer.address }
  var byteCount: Int { 2 * cosineBuffer.byteCount }

  init(_ context: CUDAContext, _ c: ModelConfiguration, contextLength: Int) throws(CUDAError) {
    table = RotaryTable(c)
    capacity = contextLength
    cosineBuffer = try CUDABuffer(context, byteCount: 4 * contextLength * table.pairs)
    sineBuffer = try CUDABuffer(context, byteCount: 4 * contextLength * table.pairs)
  }

  /// Makes the table cover `count` positions, `capacity` at most.
  func extend(to count: Int) throws(CUDAError) {
    guard count > table.positions else { return }
    // In steps, so that decoding does not extend it at every token.
    let start = table.positions * table.pairs
    table.extend(to: min(capacity, max(count, table.positions + 256)))
    for (buffer, values) in [(cosineBuffer, table.cosines), (sineBuffer, table.sines)] {
      let new = values[start...].map { Float($0) }
      try new.withUnsafeBufferPointer { (new) throws(CUDAError) in
        try buffer.copy(from: UnsafeRawBufferPointer(new), at: 4 * start)
      }
    }
  }
}
