import BitNetCUDADriver
import BitNetInference
import CBitNetCUDAKernels

/// Sends masks and biases to the device and changes the computed logits of a group of outputs by them.
struct OutputAdjuster {
  private let library: KernelLibrary
  private let vocabulary: Int
  private var device: CUDABuffer

  init(_ library: KernelLibrary, vocabulary: Int) throws(CUDAError) {
    (self.library, self.vocabulary) = (library, vocabulary)
    device = try CUDABuffer(library.context, byteCount: 4096)
  }

  /// Changes logits in place, and the best keys with them. Nothing is launched where nothing changes.
  ///
  /// - Parameters:
  ///   - adjustments: one for each output of the group, at most `screenGroup`.
  ///   - logits: `[outputs][vocabulary]`
  ///   - best: `[outputs]`, as the head has raised them.
  mutating func adjust(_ adjustments: [RowAdjustment?], logits: UInt64, best: UInt64) throws(CUDAError) {
    guard adjustments.contains(where: { $0 != nil }) else { return }
    // Records first, then what they refer to, 16 bytes apart.
    let records = MemoryLayout<OutputAdjustment>.stride * Int(screenGroup)
    var bytes = [UInt8](repeating: 0, count: records)
    var places: [(mask: Int?, biases: Int)] = []
    func add<Element: BitwiseCopyable>(_ values: [Element]) -> Int {
      bytes += [UInt8](repeating: 0, count: (16 - bytes.count % 16) % 16)
      defer { values.withUnsafeBytes { bytes.append(contentsOf: $0) } }
      return bytes.count
    }
    for adjustment in adjustments {
      places.append(
        (
          mask: adjustment?.mask.map { add($0.words) },
          biases: add((adjustment?.biases ?? []).map { Bias(token: $0.token, value: $0.value) })
        ))
    }
    if bytes.count > device.byteCount { device = try CUDABuffer(library.context, byteCount: 2 * bytes.count) }
    for (output, adjustment) in adjustments.enumerated() {
      guard let adjustment else { continue }
      let record = OutputAdjustment(
        mask: places[output].mask.map { device.address + UInt64($0) } ?? 0,
        biases: device.address + UInt64(places[output].biases), biasCount: Int32(adjustment.biases.count), isAdjusted: 1
      )
      bytes.withUnsafeMutableBytes {
        $0.storeBytes(
          of: record, toByteOffset: MemoryLayout<OutputAdjustment>.stride * output, as: OutputAdjustment.self)
      }
    }
    // In stream order: earlier launches have read what they need. Ordinary memory is copied aside before the call
    // returns.
    try bytes.withUnsafeBufferPointer { (bytes) throws(CUDAError) in
      try library.stream.copy(from: UnsafeRawBufferPointer(bytes), to: device.address)
    }
    try library.launch(
      .adjustRows, CUDAGrid(adjustments.count), sharedBytes: Int(sampleScratchBytes),
      AdjustParameters(
        logits: logits, best: best, adjustments: device.address, vocabulary: Int32(vocabulary)))
  }
}
