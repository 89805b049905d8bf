import BitNetCUDADriver
import BitNetInference
import CBitNetCUDAKernels

/// The cooperative decode step: one token of each of 1 to 8 sequences through the whole model in one launch.
///
/// Its arrays keep their addresses and the sampler writes the next tokens into them, so that the step can be recorded
/// once as a graph and launched again and again without the host.
final class DecodeStep {
  let pass: CUDAForwardPass
  private var library: KernelLibrary { pass.library }
  /// A form of the step, and how it is launched.
  private struct Variant {
    let kernel: Kernel
    let traced: Kernel
    let model: DecodeModel
    let blocks: Int
    let sharedBytes: Int
  }
  /// For one sequence, and for any number up to `capacity`; nil where the device or the model's shape does not allow
  /// it.
  private let one: Variant?
  private let few: Variant?
  /// DecodeSequences.
  private let sequences: CUDABuffer
  /// Page tables, `[capacity][space.chunkCapacity]` addresses.
  private let tables: CUDABuffer
  /// By number of sequences.
  private var graphs: [Int: CUDAGraph] = [:]
  /// Why a step could not be recorded; nil while none has failed.
  private(set) var recordingError: CUDAError?
  static let capacity = outputGroup

  /// Returns nil where the device or the model's shape does not allow it.
  init?(_ pass: CUDAForwardPass) throws(CUDAError) {
    guard pass.isCooperative else { return nil }
    let space = pass.space, weights = pass.weights
    self.pass = pass
    let context = pass.library.context
    sequences = try CUDABuffer(context, byteCount: MemoryLayout<DecodeSequences>.stride)
    tables = try CUDABuffer(context, byteCount: 8 * Self.capacity * space.chunkCapacity)

    var model = DecodeModel()
    model.layers = weights.decodeLayers
    model.layerCount = Int32(pass.configuration.layerCount)
    model.epsilon = Float(pass.configuration.normEpsilon)
    model.hidden = Int32(pass.configuration.hiddenSize)
    model.embedding = weights.embedding
    model.head = weights.outputHead
    model.attention = pass.attention(
      pages: Pages(addresses: tables.address, capacity: Int32(space.chunkCapacity), unused: 0), layer: 0)
    model.x = space.x.address
    model.qkv = space.qkv.address
    model.inner = space.inner.address
    model.innerStride = Int32(space.inner.stride)
    model.isSquaredReLU = pass.configuration.activation == .squaredReLU ? 1 : 0
    model.barrier = space.barrier
    model.stalls = pass.messages.stalls.deviceAddress
    one = try Self.oneSequence(pass, model)
    few = try Self.fewSequences(pass, model)
    guard one != nil || few != nil else { return nil }
  }

  /// The kernel of 512 threads a block, with as much of the weights under way as the device's shared memory takes.
  private static func oneSequence(_ pass: CUDAForwardPass, _ model: DecodeModel) throws(CUDAError) -> Variant? {
    let weights = pass.weights
    guard let stride = weights.layerStride, pass.space.shape.padded <= Int32(longestShortHead) else { return nil }
    var model = model
    fill(&model.shapes, with: weights.layers[0].matrices)
    model.layerStride = Int64(stride)
    if let resident = try residentLayer(pass, model) { return resident }
    return try tape(pass, model)
  }

  /// Blocks that may work on one sequence. More than one a multiprocessor would only make the hand-overs slower.
  private static func blocks(_ pass: CUDAForwardPass, _ kernel: Kernel, sharedBytes: Int) throws(CUDAError) -> Int {
    min(
      try pass.library.residentBlocks(kernel, sharedBytes: sharedBytes),
      pass.library.context.device.multiprocessorCount)
  }

  /// The form in which the blocks have room for all weights of a layer.
  private static func residentLayer(_ pass: CUDAForwardPass, _ model: DecodeModel) throws(CUDAError) -> Variant? {
    let device = pass.library.context.device, kernel = Kernel.decodeResident
    guard device.computeCapability >= kernel.capability, pass.space.rows >= 4,
      let layer = ResidentLayer(pass.weights.layers[0].matrices, blocks: device.multiprocessorCount),
      layer.sharedBytes <= device.sharedMemoryPerBlock,
      try blocks(pass, kernel, sharedBytes: layer.sharedBytes) == device.multiprocessorCount
    else { return nil }
    var model = model
    fill(&model.regions, with: layer.regions.map(Int32.init))
    return Variant(
      kernel: kernel, traced: .decodeResidentTraced, model: model, blocks: device.multiprocessorCount,
      sharedBytes: layer.sharedBytes)
  }

  /// The form in which weights go through shared memory as a tape.
  private static func tape(_ pass: CUDAForwardPass, _ model: DecodeModel) throws(CUDAError) -> Variant? {
    let matrices = pass.weights.layers[0].matrices
    let phase = max(Int(shortScratchBytes), matrices.map(\.paddedColumns).max()!)
    let choices: [(Kernel, Kernel, Int)] = [
      (.decodeOne, .decodeOneTraced, 12), (.decodeOneSmall, .decodeOneSmallTraced, 6),
    ]
    for (kernel, traced, depth) in choices {
      let shared = Int(oneScratchBytes) + depth * 16 * kernel.threads + phase
      guard shared <= pass.library.context.device.sharedMemoryPerBlock else { continue }
      let resident = try blocks(pass, kernel, sharedBytes: shared)
      guard resident > 0 else { continue }
      var model = model
      let blocks = model.plan(matrices, resident: resident, warps: kernel.threads / 32)
      let chunks = pass.space.chunkCapacity * Int(pass.space.shape.keyValueHeads)
      return Variant(
        kernel: kernel, traced: traced, model: model, blocks: min(resident, max(blocks, chunks)), sharedBytes: shared)
    }
    return nil
  }

  private static func fewSequences(_ pass: CUDAForwardPass, _ model: DecodeModel) throws(CUDAError) -> Variant? {
    let library = pass.library, matrices = pass.weights.layers[0].matrices
    let shared =
      Int(stepScratchBytes)
      + max(matrices.map { Products.fewBytes($0) }.max()!, pass.space.shape.attentionBytes, pass.headBytes(8))
    guard shared <= library.context.device.sharedMemoryPerBlock else { return nil }
    let resident = try library.residentBlocks(.decodeFew, sharedBytes: shared)
    guard resident > 0 else { return nil }
    var model = model
    let blocks = model.plan(matrices, resident: resident, warps: Kernel.decodeFew.threads / 32)
    // Blocks without work would only make the barriers slower.
    return Variant(
      kernel: .decodeFew, traced: .decodeFewTraced, model: model,
      blocks: min(resident, max(blocks, (pass.weights.configuration.vocabularySize + 63) / 64)), sharedBytes: shared)
  }

  /// The form in which `count` sequences go together; nil if they cannot.
  private func variant(_ count: Int) -> Variant? {
    guard 1...Self.capacity ~= count else { return nil }
    return count == 1 ? one ?? few : few
  }

  /// Whether `count` sequences can go together.
  func canRun(_ count: Int) -> Bool { variant(count) != nil }

  /// One sequence's state at the start of a run.
  struct Start {
    let id: Int32
    let position: Int
    let pages: [UInt64]
    let sampling: SamplingParameters
  }

  /// Writes the sequences' state to the device. No step is running.
  func prepare(_ starts: [Start]) throws(CUDAError) {
    let places = starts.indices.map { Int32($0) }
    var state = DecodeSequences()
    fill(&state.tokens, with: starts.map(\.id))
    fill(&state.positions, with: starts.map { Int32($0.position) })
    fill(&state.slots, with: places)
    fill(&state.rows, with: places)
    fill(&state.windows, with: starts.map(\.sampling.window))
    fill(&state.sampling, with: starts.map { RowSampling($0.sampling) })
    try [state].withUnsafeBufferPointer { (state) throws(CUDAError) in
      try sequences.copy(from: UnsafeRawBufferPointer(state))
    }
    for (index, start) in starts.enumerated() { try setPages(start.pages, of: index, from: 0) }
  }

  /// The arrays of DecodeSequences that the head and the sampler take.
  private var arrays: OutputArrays {
    func address<Field>(_ field: KeyPath<DecodeSequences, Field>) -> UInt64 {
      sequences.address + UInt64(MemoryLayout<DecodeSequences>.offset(of: field)!)
    }
    return OutputArrays(
      rows: address(\.rows), sampling: address(\.sampling), windows: address(\.windows), tokens: address(\.tokens),
      positions: address(\.positions))
  }

  /// Adds pages to a sequence's table, in stream order: steps launched earlier do not see them, later steps do.
  func setPages(_ addresses: [UInt64], of index: Int, from first: Int) throws(CUDAError) {
    let place = tables.address + UInt64(8 * (index * pass.space.chunkCapacity + first))
    // Ordinary memory is copied aside before the call returns.
    try addresses.withUnsafeBufferPointer { (addresses) throws(CUDAError) in
      try library.stream.copy(from: UnsafeRawBufferPointer(addresses), to: place)
    }
  }

  /// Launches one step of `count` sequences.
  func launch(_ count: Int) throws(CUDAError) {
    if graphs[count] == nil { try recordGraph(count) }
    if let graph = graphs[count] { try graph.launch(on: library.stream) } else { try record(count) }
  }

  /// Launches one step that changes its sequences' logits. Its masks are new each time, so it is not recorded; and the
  /// screen bounds unchanged logits, so the whole head is computed.
  ///
  /// - Parameter adjustments: one for each sequence.
  func launch(adjusting adjustments: [RowAdjustment?]) throws(CUDAError) {
    let count = adjustments.count
    try launchLayers(variant(count)!, count, computesHead: false)
    try pass.fullHead(count, arrays)
    try pass.adjust(adjustments)
    try pass.sample(count, arrays)
  }

  /// Loads the kernels of a step of `count` sequences and records it as a graph, without running it. If that fails,
  /// steps are launched kernel by kernel: a driver that does not record cooperative launches still runs them.
  func recordGraph(_ count: Int) throws(CUDAError) {
    // Loading a kernel is not allowed while a stream records.
    try load(count)
    guard graphs[count] == nil, recordingError == nil else { return }
    do throws(CUDAError) {
      graphs[count] = try library.stream.capture { () throws(CUDAError) in try record(count) }
    } catch {
      recordingError = error
    }
  }

  private func load(_ count: Int) throws(CUDAError) {
    let variant = variant(count)!
    try library.prepared(variant.kernel, sharedBytes: variant.sharedBytes)
    if variant.kernel != .decodeFew, pass.screen == nil { try pass.prepareFullHead(count) }
    try library.prepared(.sampleRows, sharedBytes: sampleScratchBytes)
    if let screen = pass.screen { try pass.prepareScreen(screen, count) }
  }

  private func record(_ count: Int) throws(CUDAError) {
    let variant = variant(count)!
    // The kernel for one sequence leaves the head to one of its own.
    let computesHead = pass.screen == nil && variant.kernel == .decodeFew
    try launchLayers(variant, count, computesHead: computesHead)
    try finish(count, hasLogits: computesHead)
  }

  /// Launches the cooperative kernel itself.
  private func launchLayers(
    _ variant: Variant, _ count: Int, computesHead: Bool, trace: (blocks: Int, address: UInt64)? = nil
  ) throws(CUDAError) {
    var model = variant.model
    model.trace = trace?.address ?? 0
    try library.launch(
      trace == nil ? variant.kernel : variant.traced, CUDAGrid(trace?.blocks ?? variant.blocks),
      sharedBytes: variant.sharedBytes, cooperative: true,
      DecodeParameters(
        model: model, sequences: sequences.address, logits: pass.space.logits.address, best: pass.space.best,
        count: Int32(count), computesHead: computesHead ? 1 : 0))
  }

  /// Runs one step of `count` sequences with time stamps, as `launch` without a graph.
  func trace(_ count: Int) throws(CUDAError) -> DecodeTrace {
    let variant = variant(count)!, marks = Int(traceMarks)
    let blocks = min(variant.blocks, try library.residentBlocks(variant.traced, sharedBytes: variant.sharedBytes))
    let handOvers = DecodeTrace.phaseNames.count * pass.weights.configuration.layerCount
    let buffer = try CUDABuffer(library.context, byteCount: 4 * handOvers * blocks * marks)
    try buffer.fill(byte: 0)
    let (start, end) = (try CUDAEvent(library.context), try CUDAEvent(library.context))
    try start.record(on: library.stream)
    // Without the head, which follows as a kernel of its own: the time is that of the layers.
    try launchLayers(variant, count, computesHead: false, trace: (blocks, buffer.address))
    try end.record(on: library.stream)
    try finish(count, hasLogits: false)
    try library.stream.synchronize()
    var values = [UInt32](repeating: 0, count: handOvers * blocks * marks)
    try values.withUnsafeMutableBufferPointer { (values) throws(CUDAError) in
      try buffer.copy(to: UnsafeMutableRawBufferPointer(values))
    }
    return DecodeTrace(marks: values, blocks: blocks, seconds: try end.seconds(since: start))
  }

  /// Launches the rest of the step after the layers: the head, unless logits are computed already, and the sampler.
  private func finish(_ count: Int, hasLogits: Bool) throws(CUDAError) {
    if let screen = pass.screen {
      try pass.screenedHead(screen, count, arrays)
    } else if !hasLogits {
      try pass.fullHead(count, arrays)
    }
    try pass.sample(count, arrays)
  }
}

extension DecodeModel {
  /// Chooses how the rows of the four matrices are dealt out, for blocks of so many warps; returns how many blocks have
  /// work.
  fileprivate mutating func plan(_ matrices: [Matrix], resident: Int, warps: Int) -> Int {
    let plans = matrices.enumerated().map {
      Products.plan($1, resident: resident, warps: warps, isPaired: $0 == roleGateUp)
    }
    fill(&splits, with: plans.map { Int32($0.split) })
    return plans.map(\.blocks).max()!
  }
}

/// The places of a layer's weights in the shared memory of decode_resident.
struct ResidentLayer {
  /// By role: the first byte.
  let regions: [Int]
  /// Of a block.
  let sharedBytes: Int
  /// Tile rows of a matrix that a block can have: one thread delivers one row.
  private static let mostRows = 512 / 16

  /// Returns nil where a block would have too many rows.
  ///
  /// - Parameters:
  ///   - matrices: by role.
  ///   - blocks: of the launch.
  init?(_ matrices: [Matrix], blocks: Int) {
    var regions: [Int] = []
    var next = Int(residentScratchBytes) + max(Int(shortScratchBytes), matrices.map(\.paddedColumns).max()!)
    for (role, matrix) in matrices.enumerated() {
      // Gate and up are dealt out in pairs of rows.
      let pair = role == Int(roleGateUp) ? 2 : 1
      let units = Int(matrix.tileRows) / pair, most = (units + blocks - 1) / blocks
      guard most <= Self.mostRows, units * blocks <= Int(Int32.max) else { return nil }
      next = (next + 127) / 128 * 128
      regions.append(next)
      next += pair * most * Int(matrix.tilesPerRow) * 128
    }
    self.regions = regions
    sharedBytes = next
  }
}
