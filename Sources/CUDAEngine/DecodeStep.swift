import CUDADriver
import CUDAKernels
import Inference

/// The cooperative decode step: one token of each of 1 to 8 sequences through the whole model in one launch.
///
/// Its arrays stay where they are from step to step and the sampler writes the next tokens into them, so that the step can be recorded
/// once as a graph and launched again and again without the host.
final class DecodeStep {
  let pass: CUDAForwardPass
  var library: KernelLibrary { pass.library }
  private let model: [Bool: DecodeModel]
  let blocks: [Bool: Int]
  let bytes: [Bool: Int]
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

    var (models, blocks, bytes): ([Bool: DecodeModel], [Bool: Int], [Bool: Int]) = ([:], [:], [:])
    let matrices = weights.layers[0].matrices
    for isSingle in [true, false] {
      let products = matrices.map { isSingle ? Products.gemvBytes($0) : Products.fewBytes($0) }.max()!
      let shared = Int(stepScratchBytes) + max(products, pass.attentionBytes, pass.headBytes(isSingle ? 1 : 8))
      guard shared <= library.context.device.sharedMemoryPerBlock else { continue }
      let resident = try library.residentBlocks(isSingle ? .decodeOne : .decodeFew, sharedBytes: shared)
      guard resident > 0 else { continue }
      var model = DecodeModel()
      model.layers = weights.decodeLayers
      model.layerCount = Int32(c.layerCount)
      model.epsilon = Float(c.normEpsilon)
      let plans = matrices.enumerated().map {
        Products.plan($1, resident: resident, isPaired: $0 == DeviceWeights.Kind.gateUp.rawValue)
      }
      let splits = plans.map { Int32($0.split) }
      withUnsafeMutableBytes(of: &model.splits) { _ = $0.bindMemory(to: Int32.self).update(fromContentsOf: splits) }
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
      models[isSingle] = model
      // Blocks without work would only make the barriers slower.
      blocks[isSingle] = min(resident, max(plans.map(\.blocks).max()!, (c.vocabularySize + 63) / 64))
      bytes[isSingle] = shared
    }
    guard !models.isEmpty else { return nil }
    (model, self.blocks, self.bytes) = (models, blocks, bytes)
  }

  /// Whether `count` sequences can go together.
  func canRun(_ count: Int) -> Bool { 1...Self.capacity ~= count && model[count == 1] != nil }

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
          of: RowSampling(start.sampling), toByteOffset: 256 + MemoryLayout<RowSampling>.stride * index, as: RowSampling.self)
        bytes.storeBytes(of: start.sampling.window, toByteOffset: 640 + 4 * index, as: Float.self)
      }
    }
    try upload.withUnsafeBufferPointer { (upload) throws(CUDAError) in try buffer.copy(from: UnsafeRawBufferPointer(upload)) }
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

  /// Loads the kernels of a step of `count` sequences and records it as a graph, without running it. If that fails, steps are launched
  /// kernel by kernel: a driver that does not record cooperative launches still runs them.
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
    try library.prepared(count == 1 ? .decodeOne : .decodeFew, sharedBytes: bytes[count == 1]!)
    try library.prepared(.sampleRows, sharedBytes: sampleScratchBytes)
    if let screen = pass.screen { try pass.prepareScreen(screen, count) }
  }

  private func record(_ count: Int) throws(CUDAError) {
    let computesHead = pass.screen == nil
    try launchLayers(
      count == 1 ? .decodeOne : .decodeFew, count, blocks: blocks[count == 1]!, computesHead: computesHead, trace: 0)
    try finish(count, hasLogits: computesHead)
  }

  /// Launches the cooperative kernel itself.
  ///
  /// - Parameter trace: where the traced build puts its marks.
  func launchLayers(_ kernel: Kernel, _ count: Int, blocks: Int, computesHead: Bool, trace: UInt64) throws(CUDAError) {
    let isSingle = count == 1
    var model = self.model[isSingle]!
    model.trace = trace
    let ending: [CUDAArgument] = [
      .address(arrays.ids), .address(arrays.outputs), .address(arrays.slots), .address(arrays.positions), .int(computesHead ? 1 : 0),
      .address(pass.space.logits.address), .address(pass.space.best),
    ]
    try library.launch(
      kernel, CUDAGrid(blocks), sharedBytes: bytes[isSingle]!, cooperative: true,
      arguments: (isSingle ? [.value(model)] : [.value(model), .int(Int32(count))]) + ending)
  }

  /// Launches what follows the layers: the head, unless logits are there already, and the sampler.
  func finish(_ count: Int, hasLogits: Bool) throws(CUDAError) {
    if let screen = pass.screen {
      try pass.screenedHead(screen, count, rows: arrays.outputs, arrays.sampling)
    } else if !hasLogits {
      try pass.fullHead(count, rows: arrays.outputs)
    }
    try pass.sample(count, rows: arrays.outputs, ids: arrays.ids, positions: arrays.positions, arrays.sampling)
  }
}
