import BitNetCUDADriver
import BitNetInference
import CBitNetCUDAKernels

/// Changes to an output's logits before the device chooses its token.
struct DeviceAdjustment {
  /// The mask and the biases.
  let row: RowAdjustment
  /// The repetition penalty; 1 changes nothing.
  let penalty: Float
  /// The distinct tokens that it applies to.
  let penalized: [Int32]
}

extension StepPlan {
  /// The changes to an output's logits before a token is chosen; nil for none.
  func deviceAdjustment(_ output: Output, vocabulary: Int) -> DeviceAdjustment? {
    guard case .token(let parameters, _, let row) = output.want else { return nil }
    guard parameters.repetitionPenalty != 1 else {
      return row.map { DeviceAdjustment(row: $0, penalty: 1, penalized: []) }
    }
    let history = entries[output.entry].history.prefix(output.position)
    return DeviceAdjustment(
      row: row ?? RowAdjustment(), penalty: parameters.repetitionPenalty,
      penalized: Set(history).filter { 0..<vocabulary ~= Int($0) })
  }
}

/// Sends adjustments to the device and changes the computed logits of a group of outputs by them.
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
  ///   - sampling: `[outputs]` of RowSampling.
  mutating func adjust(
    _ adjustments: [DeviceAdjustment?], logits: UInt64, best: UInt64, sampling: UInt64
  ) throws(CUDAError) {
    guard adjustments.contains(where: { $0 != nil }) else { return }
    // Records first, then what they refer to, 16 bytes apart.
    let records = MemoryLayout<OutputAdjustment>.stride * Int(screenGroup)
    var bytes = [UInt8](repeating: 0, count: records)
    var places: [(mask: Int?, biases: Int, penalized: Int)] = []
    func add<Element: BitwiseCopyable>(_ values: [Element]) -> Int {
      bytes += [UInt8](repeating: 0, count: (16 - bytes.count % 16) % 16)
      defer { values.withUnsafeBytes { bytes.append(contentsOf: $0) } }
      return bytes.count
    }
    for adjustment in adjustments {
      places.append(
        (
          mask: adjustment?.row.mask.map { add($0.words) },
          biases: add((adjustment?.row.biases ?? []).map { Bias(token: $0.token, value: $0.value) }),
          penalized: add(adjustment?.penalized ?? [])
        ))
    }
    if bytes.count > device.byteCount { device = try CUDABuffer(library.context, byteCount: 2 * bytes.count) }
    for (output, adjustment) in adjustments.enumerated() {
      guard let adjustment else { continue }
      let record = OutputAdjustment(
        mask: places[output].mask.map { device.address + UInt64($0) } ?? 0,
        biases: device.address + UInt64(places[output].biases),
        penalized: device.address + UInt64(places[output].penalized), biasCount: Int32(adjustment.row.biases.count),
        penalizedCount: Int32(adjustment.penalized.count), penalty: adjustment.penalty, isAdjusted: 1)
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
        logits: logits, best: best, adjustments: device.address, sampling: sampling,
        vocabulary: Int32(vocabulary)))
  }
}
