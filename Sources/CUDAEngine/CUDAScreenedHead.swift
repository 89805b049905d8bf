import BitNetCUDADriver
import BitNetInference
import CBitNetCUDAKernels

/// The int8 copy of the head that bounds logits, so that only rows that can matter are read in full.
final class CUDAScreenedHead {
  let screen: Screen
  private let codes: CUDABuffer
  private let rows: CUDABuffer
  /// What screen_tokens makes of up to `screenGroup` outputs.
  let tokenFacts: CUDABuffer
  let tokenCodes: CUDABuffer
  /// The most that the logits of up to `screenGroup` outputs can be.
  let upper: CUDABuffer
  private let cutBuffer: CUDABuffer
  /// The arrays of screen_cuts, and of the second attempts that its cuts may lead to.
  let blockFloors: UInt64
  let below: UInt64
  let above: UInt64
  let cuts: UInt64
  let cutArrivals: UInt64
  let retries: UInt64
  var byteCount: Int {
    [codes, rows, tokenFacts, tokenCodes, upper, cutBuffer].reduce(0) { $0 + $1.byteCount }
  }

  /// Tables below this many values fit in the second-level cache, where screening gains nothing.
  private static let worthwhile = 64 << 20

  /// Makes the copy on the device.
  ///
  /// - Parameter wanted: nil to make it where it saves time and the memory suffices.
  static func make(
    _ library: KernelLibrary, _ weights: DeviceWeights, wanted: Bool?
  ) throws(CUDAError) -> CUDAScreenedHead? {
    if let wanted { return wanted ? try CUDAScreenedHead(library, weights) : nil }
    let size = weights.configuration.vocabularySize * weights.configuration.hiddenSize
    // Half as much again must stay free, for the cache of a long conversation.
    guard size >= worthwhile, try library.context.memory().free > size + size / 2 else { return nil }
    return try CUDAScreenedHead(library, weights)
  }

  private init(_ library: KernelLibrary, _ weights: DeviceWeights) throws(CUDAError) {
    let vocabulary = weights.configuration.vocabularySize
    let stride = (weights.configuration.hiddenSize + 15) / 16 * 16
    codes = try CUDABuffer(library.context, byteCount: vocabulary * stride)
    rows = try CUDABuffer(library.context, byteCount: 16 * vocabulary)
    tokenFacts = try CUDABuffer(library.context, byteCount: 16 * screenGroup)
    tokenCodes = try CUDABuffer(library.context, byteCount: 2 * screenGroup * stride)
    let group = Int(screenGroup)
    upper = try CUDABuffer(library.context, byteCount: 4 * group * vocabulary)
    let tried = 4 * group * Int(cutBlocks) * Int(triedCuts)
    let sizes = [
      8 * group * Int(mostScreenBlocks), tried, tried, MemoryLayout<ScreenCut>.stride * group, 4 * group, 4 * group,
    ]
    cutBuffer = try CUDABuffer(library.context, byteCount: sizes.reduce(0, +))
    try cutBuffer.fill(byte: 0)
    var next = cutBuffer.address
    func take(_ part: Int) -> UInt64 {
      defer { next += UInt64(sizes[part]) }
      return next
    }
    (blockFloors, below, above) = (take(0), take(1), take(2))
    (cuts, cutArrivals, retries) = (take(3), take(4), take(5))
    screen = Screen(codes: codes.address, rows: rows.address, stride: Int32(stride), unused: 0)
    try library.launch(
      .screenBuild, CUDAGrid(min((vocabulary + 7) / 8, 4096)),
      ScreenBuildParameters(
        head: weights.outputHead, codes: codes.address, rows: rows.address, stride: Int32(stride)))
    try library.stream.synchronize()
  }
}
