import BitNetCUDADriver
import BitNetInference
import CBitNetCUDAKernels

/// The decode step: one token of each of up to 64 sequences through the whole model.
///
/// Its arrays keep their addresses and the sampler writes the next tokens into them, so that the step can be recorded
/// once as a graph and launched again and again without the host. One to eight sequences go through one cooperative
/// launch, if the device and the model allow it; otherwise the graph has a kernel for each operation.
final class DecodeStep {
  let pass: CUDAForwardPass
  private var library: KernelLibrary { pass.library }
  /// What one graph computes.
  private struct Form: Hashable {
    let count: Int
    /// Blocks for the chunks of a sequence's attention, where each operation is a kernel; 0 for the cooperative kernel.
    let chunks: Int
    /// Whether the screened head has cuts.
    let cuts: Bool

    var isCooperative: Bool { chunks == 0 }
  }
  /// A form of the cooperative kernel, and how it is launched.
  private struct Variant {
    let kernel: Kernel
    let traced: Kernel
    let model: DecodeModel
    let blocks: Int
    let sharedBytes: Int
  }
  /// For one sequence, and for any number up to `outputGroup`; nil where the device or the model's shape does not allow
  /// it.
  private let one: Variant?
  private let few: Variant?
  /// The arrays of the cooperative kernel.
  private let group: SequenceArrays
  /// Those of steps with a kernel for each operation; nil for models that cannot be recorded so.
  private let many: SequenceArrays?
  /// Whether top-k or top-p draws tokens of the sequences that were prepared.
  private var narrowsScreen = false
  private var graphs: [Form: CUDAGraph] = [:]
  /// What has been launched kernel by kernel, which loads the kernels, and is worth a graph when it comes again.
  private var firstTimes: Set<Form> = []
  /// Why steps could not be recorded, by whether they were cooperative.
  private var recordingErrors: [Bool: CUDAError] = [:]
  /// Why a step could not be recorded; nil while none has failed.
  var recordingError: CUDAError? { recordingErrors.values.first }

  /// Returns nil where the device or the model does not allow it.
  init?(_ pass: CUDAForwardPass) throws(CUDAError) {
    let space = pass.space, weights = pass.weights
    self.pass = pass
    group = try SequenceArrays(pass.library, capacity: outputGroup, pageCapacity: space.chunkCapacity)
    // Tiles for attention to windows, or in both directions, are the host's for every step.
    many =
      pass.configuration.isBidirectional || pass.configuration.has(.attentionWindow)
      ? nil : try SequenceArrays(pass.library, capacity: TokenMessages.capacity, pageCapacity: space.chunkCapacity)
    guard pass.isCooperative else {
      (one, few) = (nil, nil)
      guard many != nil else { return nil }
      return
    }

    var model = DecodeModel()
    model.layers = weights.decodeLayers
    model.layerCount = Int32(pass.configuration.layerCount)
    model.epsilon = Float(pass.configuration.normEpsilon)
    model.hidden = Int32(pass.configuration.hiddenSize)
    model.embedding = weights.embedding
    model.head = weights.outputHead
    model.attention = pass.attention(pages: group.pages, layer: 0)
    model.x = space.x.address
    model.qkv = space.qkv.address
    model.inner = space.inner.address
    model.innerStride = Int32(space.inner.stride)
    model.isSquaredReLU = pass.configuration.activation == .squaredReLU ? 1 : 0
    model.barrier = space.barrier
    model.stalls = pass.messages.stalls.deviceAddress
    one = try Self.oneSequence(pass, model)
    few = try Self.fewSequences(pass, model)
    guard one != nil || few != nil || many != nil else { return nil }
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

  /// How `count` sequences go through the cooperative kernel; nil if they cannot.
  private func variant(_ count: Int) -> Variant? {
    guard 1...outputGroup ~= count else { return nil }
    return count == 1 ? one ?? few : few
  }

  /// - Parameter positions: of the longest sequence, its new token included.
  private func form(_ count: Int, positions: Int) -> Form {
    let cuts = narrowsScreen && pass.screen != nil
    guard variant(count) == nil else { return Form(count: count, chunks: 0, cuts: cuts) }
    // More blocks than a sequence has chunks return at once. Few numbers make few graphs.
    let chunks = (positions + attentionChunkLength - 1) / attentionChunkLength
    return Form(count: count, chunks: [1, 4, 16].first { chunks <= $0 } ?? 64, cuts: cuts)
  }

  /// Whether `count` sequences can go together.
  func canRun(_ count: Int) -> Bool {
    isCooperative(count) || (many != nil && 1...min(TokenMessages.capacity, pass.space.rows) ~= count)
  }

  /// Whether they go through the cooperative kernel.
  func isCooperative(_ count: Int) -> Bool { variant(count) != nil }

  /// Writes the sequences' state to the device. No step is running.
  func prepare(_ starts: [SequenceArrays.Start]) throws(CUDAError) {
    narrowsScreen = starts.contains { $0.sampling.narrowsScreen }
    try arrays(starts.count).write(starts)
  }

  /// Adds pages to the table of one of `count` sequences, for the steps that are launched from now on.
  func setPages(_ addresses: [UInt64], of index: Int, among count: Int, from first: Int) throws(CUDAError) {
    try arrays(count).setPages(addresses, of: index, from: first)
  }

  private func arrays(_ count: Int) -> SequenceArrays { variant(count) == nil ? many! : group }

  /// Launches one step of `count` sequences.
  ///
  /// - Parameter positions: of the longest sequence, its new token included.
  func launch(_ count: Int, positions: Int) throws(CUDAError) {
    let form = form(count, positions: positions)
    if graphs[form] == nil, form.isCooperative || !firstTimes.insert(form).inserted { try recordGraph(form) }
    if let graph = graphs[form] { try graph.launch(on: library.stream) } else { try record(form) }
  }

  /// Launches one step that changes its sequences' logits or describes the chosen tokens. Its masks are new each time, so
  /// it is not recorded; and the screen bounds unchanged logits, so the whole head is computed.
  ///
  /// - Parameters:
  ///   - adjustments: one for each sequence.
  ///   - alternatives: the most tokens whose log probabilities are wanted besides the chosen one's; nil for none.
  func launch(adjusting adjustments: [DeviceAdjustment?], describing alternatives: Int?, positions: Int)
    throws(CUDAError)
  {
    let count = adjustments.count
    try launchLayers(form(count, positions: positions), computesHead: false)
    try forEachGroup(of: count) { (group, outputs) throws(CUDAError) in
      try pass.scaleOutputs(group.count, outputs)
      try pass.fullHead(group.count, outputs)
      var logits = pass.space.logits.address
      if alternatives != nil, adjustments[group].contains(where: { $0 != nil }) {
        logits = try pass.keepLogits(group.count)
      }
      try pass.adjust(Array(adjustments[group]), outputs)
      try pass.sample(group.count, outputs, from: group.lowerBound)
      guard let alternatives else { return }
      try pass.descriptions.describe(
        group.count, outputs, from: group.lowerBound, logits: logits, alternatives: alternatives)
    }
  }

  /// Records the cooperative step of `count` sequences, of which none is drawn by top-k or top-p, as a graph, without
  /// running it. If that fails, steps are launched kernel by kernel: a driver that does not record cooperative launches
  /// still runs them.
  func recordGraph(_ count: Int) throws(CUDAError) { try recordGraph(Form(count: count, chunks: 0, cuts: false)) }

  private func recordGraph(_ form: Form) throws(CUDAError) {
    // Loading a kernel is not allowed while a stream records.
    if form.isCooperative { try load(form.count) }
    guard graphs[form] == nil, recordingErrors[form.isCooperative] == nil else { return }
    do throws(CUDAError) {
      graphs[form] = try library.stream.capture { () throws(CUDAError) in try record(form) }
    } catch {
      recordingErrors[form.isCooperative] = error
    }
  }

  private func load(_ count: Int) throws(CUDAError) {
    let variant = variant(count)!
    try library.prepared(variant.kernel, sharedBytes: variant.sharedBytes)
    if variant.kernel != .decodeFew, pass.screen == nil { try pass.prepareFullHead(count) }
    try library.prepared(.sampleRows, sharedBytes: sampleScratchBytes)
    if let screen = pass.screen { try pass.prepareScreen(screen, count) }
  }

  private func record(_ form: Form) throws(CUDAError) {
    // The kernel for one sequence leaves the head to one of its own.
    let computesHead = pass.screen == nil && form.isCooperative && variant(form.count)!.kernel == .decodeFew
    try launchLayers(form, computesHead: computesHead)
    try finish(form.count, hasLogits: computesHead, cuts: form.cuts)
  }

  /// Launches the layers, and the head with them if the form computes it.
  private func launchLayers(_ form: Form, computesHead: Bool) throws(CUDAError) {
    if form.isCooperative { return try launchLayers(variant(form.count)!, form.count, computesHead: computesHead) }
    let arrays = arrays(form.count), outputs = arrays.outputs
    let none = DeviceBatch.Tiles(rows: 0, rowCount: 0, address: 0, count: 0)
    // Every sequence has a row, and a row's number is its sequence's.
    try pass.computeLayers(
      DeviceBatch(
        count: form.count, singleCount: form.count, mostChunks: form.chunks, slots: arrays.slots, ends: 0,
        singleRows: outputs.rows, prompts: none, all: nil, pages: arrays.pages, outputs: outputs,
        outputRange: 0..<form.count))
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
        model: model, sequences: group.address, logits: pass.space.logits.address, best: pass.space.best,
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
    try finish(count, hasLogits: false, cuts: narrowsScreen)
    try library.stream.synchronize()
    var values = [UInt32](repeating: 0, count: handOvers * blocks * marks)
    try values.withUnsafeMutableBufferPointer { (values) throws(CUDAError) in
      try buffer.copy(to: UnsafeMutableRawBufferPointer(values))
    }
    return DecodeTrace(marks: values, blocks: blocks, seconds: try end.seconds(since: start))
  }

  /// Launches the rest of the step after the layers: the head, unless logits are computed already, and the sampler.
  private func finish(_ count: Int, hasLogits: Bool, cuts: Bool) throws(CUDAError) {
    try forEachGroup(of: count) { (group, outputs) throws(CUDAError) in
      if !hasLogits {
        try pass.scaleOutputs(group.count, outputs)
        if let screen = pass.screen {
          return try pass.chooseScreened(screen, group.count, outputs, from: group.lowerBound, cuts: cuts)
        }
        try pass.fullHead(group.count, outputs)
      }
      try pass.sample(group.count, outputs, from: group.lowerBound)
    }
  }

  /// Calls `body` with groups of outputs whose logits are computed together.
  private func forEachGroup(
    of count: Int, _ body: (_ group: Range<Int>, OutputArrays) throws(CUDAError) -> Void
  ) throws(CUDAError) {
    let outputs = arrays(count).outputs
    for start in stride(from: 0, to: count, by: screenGroup) {
      try body(start..<min(start + screenGroup, count), outputs.skipping(start))
    }
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
