import BitNetCUDADriver
package import CBitNetCUDAKernels
import BitNetInference
import BitNetTernary

/// The forward pass over a list of tokens, one kernel an operation, or one cooperative kernel for a few single tokens.
final class CUDAForwardPass {
  /// One token of a batch.
  struct Token {
    let id: Int32
    let position: Int
    /// The place of its sequence's pages in the page table.
    let slot: Int
    /// Its place in `outputs`, if it has logits.
    let output: Int?
    /// Whether the sequence has more tokens in the batch: then keys and values of all go to the cache before attention.
    let isPrompt: Bool
  }

  let library: KernelLibrary
  let weights: DeviceWeights
  let space: DeviceWorkspace
  let rotary: DeviceRotaryTable
  let products: Products
  let screen: ScreenedHead?
  private let configuration: ModelConfiguration
  /// Whether a few single tokens go through the cooperative kernel.
  let isCooperative: Bool
  private var upload: Upload

  init(
    _ library: KernelLibrary, _ weights: DeviceWeights, contextLength: Int, screened: Bool?, cooperative: Bool
  ) throws(CUDAError) {
    self.library = library
    self.weights = weights
    configuration = weights.configuration
    products = Products(library)
    space = try DeviceWorkspace(library.context, configuration, contextLength: contextLength)
    rotary = try DeviceRotaryTable(library.context, configuration, contextLength: contextLength)
    upload = try Upload(library.context)
    isCooperative = cooperative && library.context.device.supportsCooperativeLaunch
    screen = try ScreenedHead.make(library, weights, wanted: screened)
  }

  /// Where the arrays of one batch are in device memory.
  struct Arrays {
    var ids: UInt64 = 0
    var positions: UInt64 = 0
    var slots: UInt64 = 0
    /// Rows of tokens that attend by themselves, rows of prompts, rows with logits.
    var single: UInt64 = 0
    var prompt: UInt64 = 0
    var outputs: UInt64 = 0
    var tiles: UInt64 = 0
    var pages = Pages()
    var sampling = SamplingArrays(parameters: 0, windows: 0)
  }

  /// Runs up to `space.rows` tokens through all layers.
  ///
  /// - Parameters:
  ///   - pages: addresses of each slot's pages.
  ///   - sampling: how each output's token is chosen, by `Token.output`.
  ///   - group: called for each group of up to eight outputs, when their rows are computed: with their places among the
  ///     outputs, and the arrays of the batch, those of the outputs moved to the group's.
  func run(
    _ tokens: [Token], pages: [[UInt64]], sampling: [SamplingParameters],
    group: (Range<Int>, Arrays) throws(CUDAError) -> Void
  ) throws(CUDAError) {
    try rotary.extend(to: (tokens.map(\.position).max() ?? -1) + 1)
    let groupSize = configuration.headCount / configuration.keyValueHeadCount
    // The tiled kernel for prompts knows heads up to 128; longer ones go token by token, each launch after the keys
    // before it.
    let isTiled = configuration.headSize <= 128
    let single = tokens.indices.filter { !tokens[$0].isPrompt || !isTiled }
    let prompt = tokens.indices.filter { tokens[$0].isPrompt && isTiled }
    // A tile costs as much as positions lie before its end: the longest come first, so that none of them is alone at
    // the end.
    let tiles = Self.tiles(tokens, rows: prompt, longest: max(1, 64 / groupSize)).sorted {
      $0.firstPosition + $0.tokens > $1.firstPosition + $1.tokens
    }
    let withLogits = tokens.indices.filter { tokens[$0].output != nil }
    let capacity = pages.map(\.count).max() ?? 0
    let table = pages.flatMap { $0 + Array(repeating: 0, count: capacity - $0.count) }

    let chosen = withLogits.map { sampling[tokens[$0].output!] }
    var arrays = Arrays()
    upload.begin()
    arrays.ids = upload.add(tokens.map(\.id))
    arrays.positions = upload.add(tokens.map { Int32($0.position) })
    arrays.slots = upload.add(tokens.map { Int32($0.slot) })
    arrays.single = upload.add(single.map { Int32($0) })
    arrays.prompt = upload.add(prompt.map { Int32($0) })
    arrays.outputs = upload.add(withLogits.map { Int32($0) })
    arrays.tiles = upload.add(tiles)
    arrays.sampling.parameters = upload.add(chosen.map { RowSampling($0) })
    arrays.sampling.windows = upload.add(chosen.map(\.window))
    arrays.pages = Pages(addresses: upload.add(table), capacity: Int32(capacity), unused: 0)
    let base = try upload.send(on: library.stream)
    arrays.move(by: base)

    try library.launch(
      .embedRows, CUDAGrid(tokens.count), .address(arrays.ids), .address(weights.embedding),
      .int(Int32(configuration.hiddenSize)),
      .address(space.x.address))
    for index in weights.layers.indices {
      try layer(
        index, tokens.count, arrays, single: single.count, oneByOne: !isTiled, prompt: prompt.count, tiles: tiles.count,
        longest: (tokens.map(\.position).max() ?? 0) / attentionChunkLength + 1)
    }
    for start in stride(from: 0, to: withLogits.count, by: DeviceWorkspace.outputs) {
      let rows = start..<min(start + DeviceWorkspace.outputs, withLogits.count)
      let first = tokens[withLogits[rows.lowerBound]].output!
      var own = arrays
      own.outputs += UInt64(4 * start)
      own.sampling.parameters += UInt64(start * MemoryLayout<RowSampling>.stride)
      own.sampling.windows += UInt64(4 * start)
      try group(first..<first + rows.count, own)
    }
  }

  private static func tiles(_ tokens: [Token], rows: [Int], longest: Int) -> [QueryTile] {
    var tiles: [QueryTile] = []
    for row in rows {
      let token = tokens[row]
      if let last = tiles.last, last.slot == token.slot, last.firstRow + last.tokens == row, last.tokens < longest {
        tiles[tiles.count - 1].tokens += 1
      } else {
        tiles.append(
          QueryTile(firstRow: Int32(row), tokens: 1, slot: Int32(token.slot), firstPosition: Int32(token.position)))
      }
    }
    return tiles
  }

  private func layer(
    _ index: Int, _ count: Int, _ arrays: Arrays, single: Int, oneByOne: Bool, prompt: Int, tiles: Int, longest: Int
  ) throws(CUDAError) {
    let c = configuration
    let layer = weights.layers[index]
    let epsilon = Float(c.normEpsilon)
    let residual = Target(out: space.x.address, stride: Int32(c.hiddenSize), isSquaredReLU: 0)
    func multiply(
      _ role: MatrixRole, _ outcome: Products.Outcome, x: CUDABuffer, xStride: Int, _ target: Target
    ) throws(CUDAError) {
      try products.multiply(
        outcome, layer.matrices[role.rawValue], tokens: count, x: x.address, xStride: xStride,
        norm: layer.norms[role.rawValue],
        epsilon: epsilon, target: target, quantized: space.quantized)
    }
    try multiply(
      .queryKeyValue, .project, x: space.x, xStride: c.hiddenSize,
      Target(out: space.qkv.address, stride: Int32(c.queryWidth + 2 * c.keyValueWidth), isSquaredReLU: 0))
    if prompt > 0 {
      try library.launch(
        .rotateAndAppend, CUDAGrid(prompt), .value(space.heads), .value(arrays.pages), .int(Int32(index)),
        .address(arrays.prompt),
        .address(arrays.slots), .address(arrays.positions), .address(space.qkv.address), .address(rotary.cosines),
        .address(rotary.sines))
      let group = c.headCount / c.keyValueHeadCount
      try library.launch(
        .attendPrompt, CUDAGrid(c.keyValueHeadCount, tiles, (group + 63) / 64), sharedBytes: tileScratchBytes,
        .value(space.heads),
        .value(arrays.pages), .int(Int32(index)), .address(arrays.tiles), .address(space.qkv.address),
        .address(space.inner.address),
        .int(Int32(space.innerStride)))
    }
    let step = oneByOne ? 1 : space.attentionRows
    for start in stride(from: 0, to: single, by: step) {
      try library.launch(
        .attendDecode, CUDAGrid(min(longest, 64), c.keyValueHeadCount, min(step, single - start)),
        sharedBytes: attentionBytes,
        .value(attention(pages: arrays.pages)), .int(Int32(index)), .address(arrays.single + UInt64(4 * start)),
        .address(arrays.slots),
        .address(arrays.positions))
    }
    try multiply(.attentionOutput, .add, x: space.inner, xStride: space.innerStride, residual)
    try multiply(
      .gateUp, .activate, x: space.x, xStride: c.hiddenSize,
      Target(
        out: space.inner.address, stride: Int32(space.innerStride), isSquaredReLU: c.activation == .squaredReLU ? 1 : 0)
    )
    try multiply(.down, .add, x: space.inner, xStride: space.innerStride, residual)
  }

  func attention(pages: Pages) -> DecodeAttention {
    DecodeAttention(
      heads: space.heads, pages: pages, partials: space.partials, qkv: space.qkv.address, cosines: rotary.cosines,
      sines: rotary.sines,
      out: space.inner.address, outStride: Int32(space.innerStride), unused: 0)
  }

  /// Shared memory of a block that attends for single tokens.
  var attentionBytes: Int { space.heads.attentionBytes }
}

extension Heads {
  /// Shared memory of a block that attends for single tokens.
  package var attentionBytes: Int {
    let padded = Int(padded)
    let queries = max(1, min(8, 1024 / padded)) * padded * 4
    return padded <= longestShortHead ? Int(shortScratchBytes) : Int(chunkScratchBytes) + queries
  }
}

extension CUDAForwardPass.Arrays {
  /// Turns offsets into addresses.
  fileprivate mutating func move(by base: UInt64) {
    ids += base
    positions += base
    slots += base
    single += base
    prompt += base
    outputs += base
    tiles += base
    pages.addresses += base
    sampling.parameters += base
    sampling.windows += base
  }
}

/// Small arrays gathered in pinned memory and sent in one copy.
struct Upload {
  private let context: CUDAContext
  private var host: CUDAHostBuffer
  private var device: CUDABuffer
  private var bytes: [UInt8] = []

  init(_ context: CUDAContext) throws(CUDAError) {
    self.context = context
    host = try CUDAHostBuffer(context, byteCount: 64 << 10)
    device = try CUDABuffer(context, byteCount: 64 << 10)
  }

  /// Starts anew; what was sent before has arrived.
  mutating func begin() { bytes.removeAll(keepingCapacity: true) }

  /// Adds an array and returns its offset, a multiple of 16.
  mutating func add<Element: BitwiseCopyable>(_ values: [Element]) -> UInt64 {
    let offset = bytes.count
    values.withUnsafeBytes { bytes.append(contentsOf: $0) }
    bytes.append(contentsOf: repeatElement(0, count: (16 - bytes.count % 16) % 16))
    return UInt64(offset)
  }

  /// Sends everything; returns the address that offsets count from.
  mutating func send(on stream: CUDAStream) throws(CUDAError) -> UInt64 {
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
