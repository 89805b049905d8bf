import BitNetCUDADriver
import CBitNetCUDAKernels
import BitNetInference

/// The cooperative decode step: one token of each of 1 to 8 sequences through the whole model in one launch.
///
/// Its arrays stay where they are from step to step and the sampler writes the next tokens into them, so that the step
/// can be recorded once as a graph and launched again and again without the host.
final class DecodeStep {
  let pass: CUDAForwardPass
  var library: KernelLibrary { pass.library }
  /// How a kernel is launched.
  struct Plan {
    let kernel: Kernel
    let traced: Kernel
    var model: DecodeModel
    let blocks: Int
    let sharedBytes: Int
  }
  /// For one sequence, and for any number up to `capacity`; nil where the device or the model's shape does not allow
  /// it.
  private let one: Plan?
  private let few: Plan?
  private let arrays: CUDAForwardPass.Arrays
  private let buffer: CUDABuffer
  private let tables: CUDABuffer
  /// By number of sequences.
  private var graphs: [Int: CUDAGraph] = [:]
  /// Why a step could not be recorded; nil while none has failed.
  private(set) var recordingError: CUDAError?
  static let capacity = DeviceWorkspace.outputs

  /// Nil where the device or the model's shape does not allow it.
  init?(_ pass: CUDAForwardPass) throws(CUDAError) {
    guard pass.isCooperative else { return nil }
    let space = pass.space, weights = pass.weights, c = weights.configuration
    self.pass = pass
    let library = pass.library
    buffer = try CUDABuffer(library.context, byteCount: 1024)
    tables = try CUDABuffer(library.context, byteCount: 8 * Self.capacity * space.chunkCapacity)
    let base = buffer.address
    var arrays = CUDAForwardPass.Arrays()
    arrays.ids = base
    arrays.positions = base + 64
    arrays.slots = base + 128
    arrays.outputs = base + 192
    arrays.sampling = .init(parameters: base + 256, windows: base + 640)
    arrays.pages = Pages(addresses: tables.address, capacity: Int32(space.chunkCapacity), unused: 0)
    self.arrays = arrays

    var model = DecodeModel()
    model.layers = weights.decodeLayers
    model.layerCount = Int32(c.layerCount)
    model.epsilon = Float(c.normEpsilon)
    model.hidden = Int32(c.hiddenSize)
    model.embedding = weights.embedding
    model.head = weights.outputHead
    model.attention = pass.attention(pages: arrays.pages)
    model.x = space.x.address
    model.qkv = space.qkv.address
    model.inner = space.inner.address
    model.innerStride = Int32(space.innerStride)
    model.isSquaredReLU = c.activation == .squaredReLU ? 1 : 0
    model.barrier = space.barrier
    model.stalls = space.stalls.deviceAddress
    one = try Self.planOne(pass, model)
    few = try Self.planFew(pass, model)
    guard one != nil || few != nil else { return nil }
  }

  /// The kernel of 512 threads a block, with as much of the weights under way as the device's shared memory takes.
  private static func planOne(_ pass: CUDAForwardPass, _ model: DecodeModel) throws(CUDAError) -> Plan? {
    let weights = pass.weights, library = pass.library, matrices = weights.layers[0].matrices
    guard let stride = weights.layerStride, pass.space.heads.padded <= Int32(longestShortHead) else { return nil }
    let phase = max(Int(shortScratchBytes), matrices.map(\.paddedColumns).max()!)
    let choices: [(Kernel, Kernel, Int)] = [
      (.decodeOne, .decodeOneTraced, 12), (.decodeOneSmall, .decodeOneSmallTraced, 6),
    ]
    for (kernel, traced, depth) in choices {
      let shared = Int(oneScratchBytes) + depth * 16 * kernel.threads + phase
      guard shared <= library.context.device.sharedMemoryPerBlock else { continue }
      // More than one block a multiprocessor would only make the hand-overs slower.
      let resident = min(
        try library.residentBlocks(kernel, sharedBytes: shared), library.context.device.multiprocessorCount)
      guard resident > 0 else { continue }
      var model = model
      withUnsafeMutableBytes(of: &model.shapes) { _ = $0.bindMemory(to: Matrix.self).update(fromContentsOf: matrices) }
      model.layerStride = Int64(stride)
      let blocks = model.plan(matrices, resident: resident, warps: kernel.threads / 32)
      let chunks = pass.space.chunkCapacity * Int(pass.space.heads.keyValueHeads)
      return Plan(
        kernel: kernel, traced: traced, model: model, blocks: min(resident, max(blocks, chunks)), sharedBytes: shared)
    }
    return nil
  }

  private static func planFew(_ pass: CUDAForwardPass, _ model: DecodeModel) throws(CUDAError) -> Plan? {
    let library = pass.library, matrices = pass.weights.layers[0].matrices
    let shared =
      Int(stepScratchBytes) + max(matrices.map { Products.fewBytes($0) }.max()!, pass.attentionBytes, pass.headBytes(8))
    guard shared <= library.context.device.sharedMemoryPerBlock else { return nil }
    let resident = try library.residentBlocks(.decodeFew, sharedBytes: shared)
    guard resident > 0 else { return nil }
    var model = model
    let blocks = model.plan(matrices, resident: resident, warps: Kernel.decodeFew.threads / 32)
    // Blocks without work would only make the barriers slower.
    return Plan(
      kernel: .decodeFew, traced: .decodeFewTraced, model: model,
      blocks: min(resident, max(blocks, (pass.weights.configuration.vocabularySize + 63) / 64)), sharedBytes: shared)
  }

  /// How `count` sequences go together; nil if they cannot.
  private func plan(_ count: Int) -> Plan? {
    guard 1...Self.capacity ~= count else { return nil }
    return count == 1 ? one ?? few : few
  }

  /// Whether `count` sequences can go together.
  func canRun(_ count: Int) -> Bool { plan(count) != nil }

  /// One sequence's state at the start of a run.
  struct Start {
    let id: Int32
    let position: Int
    let pages: [UInt64]
    let sampling: SamplingParameters
  }

  /// Writes the sequences' state to the device. No step is running.
  func prepare(_ starts: [Start]) throws(CUDAError) {
    var upload: [UInt8] = Array(repeating: 0, count: 1024)
    upload.withUnsafeMutableBytes { bytes in
      for (index, start) in starts.enumerated() {
        bytes.storeBytes(of: start.id, toByteOffset: 4 * index, as: Int32.self)
        bytes.storeBytes(of: Int32(start.position), toByteOffset: 64 + 4 * index, as: Int32.self)
        bytes.storeBytes(of: Int32(index), toByteOffset: 128 + 4 * index, as: Int32.self)
        bytes.storeBytes(of: Int32(index), toByteOffset: 192 + 4 * index, as: Int32.self)
        bytes.storeBytes(
          of: RowSampling(start.sampling), toByteOffset: 256 + MemoryLayout<RowSampling>.stride * index,
          as: RowSampling.self)
        bytes.storeBytes(of: start.sampling.window, toByteOffset: 640 + 4 * index, as: Float.self)
      }
    }
    try upload.withUnsafeBufferPointer { (upload) throws(CUDAError) in
      try buffer.copy(from: UnsafeRawBufferPointer(upload))
    }
    for (index, start) in starts.enumerated() { try setPages(start.pages, of: index, from: 0) }
  }

  /// Adds pages to a sequence's table. In stream order: the steps launched before do not see them, those after do.
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
    try library.prepared(plan(count)!.kernel, sharedBytes: plan(count)!.sharedBytes)
    if plan(count)!.kernel != .decodeFew, pass.screen == nil { try pass.prepareFullHead(count) }
    try library.prepared(.sampleRows, sharedBytes: sampleScratchBytes)
    if let screen = pass.screen { try pass.prepareScreen(screen, count) }
  }

  private func record(_ count: Int) throws(CUDAError) {
    let plan = plan(count)!
    // The kernel for one sequence leaves the head to one of its own.
    let computesHead = pass.screen == nil && plan.kernel == .decodeFew
    try launchLayers(plan, count, computesHead: computesHead)
    try finish(count, hasLogits: computesHead)
  }

  /// Launches the cooperative kernel itself.
  private func launchLayers(
    _ plan: Plan, _ count: Int, computesHead: Bool, trace: (blocks: Int, address: UInt64)? = nil
  ) throws(CUDAError) {
    var model = plan.model
    model.trace = trace?.address ?? 0
    let kernel = trace == nil ? plan.kernel : plan.traced
    let state: [CUDAArgument] = [.address(arrays.slots), .address(arrays.positions)]
    let arguments: [CUDAArgument] =
      plan.kernel == .decodeFew
      ? [.value(model), .int(Int32(count)), .address(arrays.ids), .address(arrays.outputs)] + state + [
        .int(computesHead ? 1 : 0), .address(pass.space.logits.address), .address(pass.space.best),
      ]
      : [.value(model), .address(arrays.ids)] + state
    try library.launch(
      kernel, CUDAGrid(trace?.blocks ?? plan.blocks), sharedBytes: plan.sharedBytes, cooperative: true,
      arguments: arguments)
  }

  /// Runs one step of `count` sequences with time stamps, as `launch` without a graph.
  func trace(_ count: Int) throws(CUDAError) -> DecodeTrace {
    let plan = plan(count)!, marks = Int(traceMarks)
    let blocks = min(plan.blocks, try library.residentBlocks(plan.traced, sharedBytes: plan.sharedBytes))
    let handOvers = DecodeTrace.phaseNames.count * pass.weights.configuration.layerCount
    let buffer = try CUDABuffer(library.context, byteCount: 4 * handOvers * blocks * marks)
    try buffer.fill(byte: 0)
    let (start, end) = (try CUDAEvent(library.context), try CUDAEvent(library.context))
    try start.record(on: library.stream)
    // Without the head, which follows as a kernel of its own: the time is that of the layers.
    try launchLayers(plan, count, computesHead: false, trace: (blocks, buffer.address))
    try end.record(on: library.stream)
    try finish(count, hasLogits: false)
    try library.stream.synchronize()
    var values = [UInt32](repeating: 0, count: handOvers * blocks * marks)
    try values.withUnsafeMutableBufferPointer { (values) throws(CUDAError) in
      try buffer.copy(to: UnsafeMutableRawBufferPointer(values))
    }
    return DecodeTrace(marks: values, blocks: blocks, seconds: try end.seconds(since: start))
  }

  /// Launches what follows the layers: the head, unless logits are there already, and the sampler.
  private func finish(_ count: Int, hasLogits: Bool) throws(CUDAError) {
    if let screen = pass.screen {
      try pass.screenedHead(screen, count, rows: arrays.outputs, arrays.sampling)
    } else if !hasLogits {
      try pass.fullHead(count, rows: arrays.outputs)
    }
    try pass.sample(count, rows: arrays.outputs, ids: arrays.ids, positions: arrays.positions, arrays.sampling)
  }
}

extension DecodeModel {
  /// Chooses how the rows of the four matrices are dealt out, for blocks of so many warps; returns how many blocks have
  /// work.
  fileprivate mutating func plan(_ matrices: [Matrix], resident: Int, warps: Int) -> Int {
    let plans = matrices.enumerated().map {
      Products.plan($1, resident: resident, warps: warps, isPaired: $0 == MatrixRole.gateUp.rawValue)
    }
    let splits = plans.map { Int32($0.split) }
    withUnsafeMutableBytes(of: &self.splits) { _ = $0.bindMemory(to: Int32.self).update(fromContentsOf: splits) }
    return plans.map(\.blocks).max()!
  }
}
