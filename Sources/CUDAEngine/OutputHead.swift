import BitNetCUDADriver
package import CBitNetCUDAKernels
package import BitNetInference

/// The int8 copy of the head that bounds logits, so that only rows that can matter are read in full.
final class ScreenedHead {
  let screen: Screen
  private let codes: CUDABuffer
  private let rows: CUDABuffer
  var byteCount: Int { codes.byteCount + rows.byteCount }

  /// Tables below this many values fit in the second-level cache, where screening gains nothing.
  private static let worthwhile = 64 << 20

  /// Makes the copy on the device.
  ///
  /// - Parameter wanted: nil to make it where it pays and the memory is there.
  static func make(_ library: KernelLibrary, _ weights: DeviceWeights, wanted: Bool?) throws(CUDAError) -> ScreenedHead?
  {
    let c = weights.configuration
    if let wanted { return wanted ? try ScreenedHead(library, weights) : nil }
    let size = c.vocabularySize * c.hiddenSize
    // Half as much again must stay free, for the cache of a long conversation.
    guard size >= worthwhile, try library.context.memory().free > size + size / 2 else { return nil }
    return try ScreenedHead(library, weights)
  }

  private init(_ library: KernelLibrary, _ weights: DeviceWeights) throws(CUDAError) {
    let c = weights.configuration
    let stride = (c.hiddenSize + 15) / 16 * 16
    codes = try CUDABuffer(library.context, byteCount: c.vocabularySize * stride)
    rows = try CUDABuffer(library.context, byteCount: 16 * c.vocabularySize)
    screen = Screen(codes: codes.address, rows: rows.address, stride: Int32(stride), unused: 0)
    try library.launch(
      .screenBuild, CUDAGrid(min((c.vocabularySize + 7) / 8, 4096)), .value(weights.outputHead), .int(Int32(stride)),
      .address(codes.address),
      .address(rows.address))
    try library.stream.synchronize()
  }
}

extension DeviceWeights {
  var outputHead: Head {
    Head(
      table: head, norm: finalNorm, epsilon: Float(configuration.normEpsilon), hidden: Int32(configuration.hiddenSize),
      vocabulary: Int32(configuration.vocabularySize), unused: 0)
  }
}

extension CUDAForwardPass {
  /// How outputs' tokens are chosen, in device memory: `[outputs]` of RowSampling, then of the screen's windows.
  struct SamplingArrays {
    var parameters: UInt64
    var windows: UInt64
  }

  /// Shared memory of the head for groups of this many outputs.
  func headBytes(_ width: Int) -> Int {
    rowScratchBytes + 64 * width + width * 4 * ((weights.configuration.hiddenSize + 255) / 256 * 256)
  }

  /// Shared memory of the screen for groups of this many outputs: activations come as two planes of int8 beside.
  private func screenBytes(_ screened: ScreenedHead, _ width: Int) -> Int {
    headBytes(width) + width * (16 + 2 * Int(screened.screen.stride))
  }

  /// Outputs that one block takes together: 8, 4 or 1, what is useful for `count` of them and fits.
  ///
  /// - Parameter bytes: the shared memory for groups of a width.
  private func headWidth(_ count: Int, widest: Int, bytes: (Int) -> Int) -> Int {
    let limit = library.context.device.sharedMemoryPerBlock
    return [8, 4].first { $0 <= widest && count > $0 / 4 && bytes($0) <= limit } ?? 1
  }

  /// The logits of `count` outputs (1 to 8) in full; rows: address of their rows in the batch.
  func fullHead(_ count: Int, rows: UInt64) throws(CUDAError) {
    let width = headWidth(count, widest: 8, bytes: headBytes), bytes = headBytes(width)
    let kernel: Kernel = width == 8 ? .head8 : width == 4 ? .head4 : .head1
    try library.launch(
      kernel, CUDAGrid(try headBlocks(kernel, bytes), (count + width - 1) / width), sharedBytes: bytes,
      .value(weights.outputHead),
      .address(space.x.address), .address(rows), .int(Int32(count)), .address(space.logits.address),
      .address(space.best))
  }

  /// The same with the screen: logits that cannot matter for the given sampling are minus infinity.
  func screenedHead(_ screened: ScreenedHead, _ count: Int, rows: UInt64, _ sampling: SamplingArrays) throws(CUDAError)
  {
    let width = headWidth(count, widest: 4) { screenBytes(screened, $0) }
    let bytes = screenBytes(screened, width)
    let kernel: Kernel = width == 4 ? .screen4 : .screen1
    try library.launch(
      kernel, CUDAGrid(try headBlocks(kernel, bytes), (count + width - 1) / width), sharedBytes: bytes,
      .value(weights.outputHead),
      .value(screened.screen), .address(space.x.address), .address(rows), .int(Int32(count)),
      .address(space.logits.address),
      .address(space.floors))
    try library.launch(
      .screenRescore, CUDAGrid(try headBlocks(.screenRescore, headBytes(1)), count), sharedBytes: headBytes(1),
      .value(weights.outputHead),
      .address(space.x.address), .address(rows), .address(sampling.windows), .address(space.logits.address),
      .address(space.floors),
      .address(space.best), .address(space.screenArrivals), .address(space.survivors))
  }

  /// Loads the kernel of the full head for `count` outputs.
  func prepareFullHead(_ count: Int) throws(CUDAError) {
    let width = headWidth(count, widest: 8, bytes: headBytes)
    _ = try headBlocks(width == 8 ? .head8 : width == 4 ? .head4 : .head1, headBytes(width))
  }

  /// Loads the kernels of the screened head for `count` outputs.
  func prepareScreen(_ screened: ScreenedHead, _ count: Int) throws(CUDAError) {
    let width = headWidth(count, widest: 4) { screenBytes(screened, $0) }
    _ = try headBlocks(width == 4 ? .screen4 : .screen1, screenBytes(screened, width))
    _ = try headBlocks(.screenRescore, headBytes(1))
  }

  private func headBlocks(_ kernel: Kernel, _ bytes: Int) throws(CUDAError) -> Int {
    min(try library.residentBlocks(kernel, sharedBytes: bytes), (weights.configuration.vocabularySize + 7) / 8)
  }

  /// Chooses the tokens of `count` outputs, whose logits and best keys are there, and sends them to the host.
  func sample(_ count: Int, rows: UInt64, ids: UInt64, positions: UInt64, _ sampling: SamplingArrays) throws(CUDAError)
  {
    try library.launch(
      .sampleRows, CUDAGrid(count), sharedBytes: sampleScratchBytes, .address(space.logits.address),
      .int(Int32(weights.configuration.vocabularySize)), .address(sampling.parameters), .address(space.best),
      .address(rows), .address(ids),
      .address(positions), .value(space.candidates), .value(space.delivery))
  }
}

extension RowSampling {
  package init(_ parameters: SamplingParameters) {
    self.init(
      temperature: parameters.temperature, topP: parameters.topP, topK: Int32(clamping: parameters.topK), unused: 0,
      leastWeight: max(1, UInt64((parameters.minP * 0x1p40).rounded(.up))), seed: parameters.seed)
  }
}
