import BitNetCUDADriver
import BitNetInference
import BitNetTernary
import CBitNetCUDAKernels

/// Rows of floats in device memory, `stride` elements apart.
struct DeviceRows {
  let buffer: CUDABuffer
  let stride: Int
  var address: UInt64 { buffer.address }
}

/// The buffers of one forward pass over up to `rows` tokens, allocated once.
final class DeviceWorkspace {
  /// Tokens that go through the layers together: the longer a slice, the fuller are the last waves of blocks. Results
  /// do not depend on it.
  static let slices = [2048, 1024, 512]
  /// Memory that the chunks of single tokens' attention may take before the tokens are split into several launches.
  private static let partialBytes = 14 << 20

  let rows: Int
  /// Tokens whose attention is computed chunk by chunk in one launch.
  let attentionRows: Int
  let chunkCapacity: Int
  /// Residual stream, `[rows][hidden]`.
  let x: DeviceRows
  /// Products q, k and v, `[rows][query width + 2 · key/value width]`.
  let qkv: DeviceRows
  /// Concatenated heads, or the gated activation, `[rows][the wider of both]`.
  let inner: DeviceRows
  /// Outputs of the attention and of the feed-forward part before they are added to the residual stream, and
  /// normalised rows before the head, `[rows][hidden]`; nil where they are not kept.
  let branch: DeviceRows?
  /// Products gate and up before the activation, `[rows][2 · feed-forward size]`; nil where they are not kept.
  let gateUp: DeviceRows?
  /// Room for `[parts][rows]` where stacked projections have norms of their own, otherwise for `[rows]`.
  let quantized: QuantizedRows
  let logits: CUDABuffer
  /// The shape of the attention.
  let shape: Heads
  let partials: Partials
  /// Largest keys and largest lower bounds of the outputs, `[screenGroup]` of 64 bits each, zero between steps; then
  /// counters.
  let best: UInt64
  let floors: UInt64
  let screenArrivals: UInt64
  let survivors: UInt64
  let barrier: UInt64
  private let small: CUDABuffer
  let candidates: Candidates
  private let buffers: [CUDABuffer]

  /// - Parameter leastRows: of which there is room for more than usual, if need be.
  init(
    _ context: CUDAContext, _ configuration: ModelConfiguration, contextLength: Int, leastRows: Int = 0
  ) throws(CUDAError) {
    let (hidden, headCount) = (configuration.hiddenSize, configuration.headCount)
    let qkvWidth = configuration.queryWidth + 2 * configuration.keyValueWidth
    let innerWidth = max(configuration.queryWidth, configuration.feedForwardSize)
    let free = try context.memory().free
    // Buffers of a long slice must leave nearly all of the memory to the cache.
    let branchWidth = configuration.keepsBranches ? hidden : 0
    let gateUpWidth = configuration.keepsGateAndUp ? 2 * configuration.feedForwardSize : 0
    let parts = configuration.has(.projectionNorms) ? MatrixRole.allCases.map(\.partNorms.count).max() ?? 1 : 1
    let bytesPerRow =
      4 * (2 * hidden + qkvWidth + innerWidth + branchWidth + gateUpWidth) + parts * max(hidden, innerWidth)
    let slice = Self.slices.first { $0 * bytesPerRow <= free / 32 } ?? Self.slices.last!
    let rows = max(leastRows, min(slice, max(contextLength, screenGroup)))
    self.rows = rows
    chunkCapacity = (contextLength + attentionChunkLength - 1) / attentionChunkLength
    let padded = (configuration.headSize + 7) / 8 * 8
    shape = Heads(
      queryHeads: Int32(headCount), keyValueHeads: Int32(configuration.keyValueHeadCount),
      size: Int32(configuration.headSize), padded: Int32(padded),
      scale: Float(configuration.attentionScale ?? 1 / Double(configuration.headSize).squareRoot()), unused: 0)

    var buffers: [CUDABuffer] = []
    func allocate(_ byteCount: Int, cleared: Bool = false) throws(CUDAError) -> CUDABuffer {
      let buffer = try CUDABuffer(context, byteCount: byteCount)
      if cleared { try buffer.fill(byte: 0) }
      buffers.append(buffer)
      return buffer
    }
    func allocateRows(_ width: Int) throws(CUDAError) -> DeviceRows {
      DeviceRows(buffer: try allocate(4 * rows * width), stride: width)
    }
    x = try allocateRows(hidden)
    qkv = try allocateRows(qkvWidth)
    inner = try allocateRows(innerWidth)
    branch = branchWidth > 0 ? try allocateRows(branchWidth) : nil
    gateUp = gateUpWidth > 0 ? try allocateRows(gateUpWidth) : nil
    let codeStride = Tile.padded(max(hidden, innerWidth), to: Tile.columns)
    quantized = QuantizedRows(
      codes: try allocate(parts * rows * codeStride).address, stride: codeStride,
      scales: try allocate(4 * parts * rows).address, sums: try allocate(4 * parts * rows).address)
    logits = try allocate(4 * screenGroup * configuration.vocabularySize)

    let chunks = headCount * chunkCapacity  // of one row
    attentionRows = min(rows, max(outputGroup, Self.partialBytes / (4 * chunks * (padded + 2))))
    partials = Partials(
      largest: try allocate(4 * attentionRows * chunks).address,
      total: try allocate(4 * attentionRows * chunks).address,
      weighted: try allocate(4 * attentionRows * chunks * padded).address,
      arrivals: try allocate(4 * attentionRows * configuration.keyValueHeadCount, cleared: true).address,
      capacity: Int32(chunkCapacity), unused: 0)

    // Five small arrays of [screenGroup] in one buffer, 128 bytes each.
    small = try allocate(5 * 128, cleared: true)
    let first = small.address
    (best, floors, screenArrivals, survivors, barrier) = (first, first + 128, first + 256, first + 384, first + 512)
    candidates = Candidates(
      keys: try allocate(8 * screenGroup * configuration.vocabularySize).address,
      weights: try allocate(8 * screenGroup * configuration.vocabularySize).address)
    self.buffers = buffers
  }

  /// How many rows the screened head has computed, modulo 2^32.
  func survivingRows() throws(CUDAError) -> UInt32 {
    var value = [UInt32(0)]
    try value.withUnsafeMutableBufferPointer { (value) throws(CUDAError) in
      try small.copy(to: UnsafeMutableRawBufferPointer(value), from: Int(survivors - small.address))
    }
    return value[0]
  }

  var byteCount: Int { buffers.reduce(0) { $0 + $1.byteCount } }
}

extension ModelConfiguration {
  /// Whether the attention's and the feed-forward part's outputs are added to the residual stream as they are.
  var hasPlainBranches: Bool { !has(.postNorms) && !has(.residualScale) }
  /// Whether rows of hidden states are kept besides the residual stream.
  fileprivate var keepsBranches: Bool { !hasPlainBranches || has(.outputScale) }
  /// Whether gate and up have products of their own: the fused ones know neither their norms nor all activations.
  fileprivate var keepsGateAndUp: Bool {
    has(.geluTanh) || !optionalNorms.isDisjoint(with: MatrixRole.gateUp.partNorms)
  }
}

extension Heads {
  /// Shared memory of a block that attends for single tokens.
  package var attentionBytes: Int {
    let padded = Int(padded)
    let queries = max(1, min(8, 1024 / padded)) * padded * 4
    return padded <= longestShortHead ? Int(shortScratchBytes) : Int(chunkScratchBytes) + queries
  }
}
