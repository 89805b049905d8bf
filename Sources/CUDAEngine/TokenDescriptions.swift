import BitNetCUDADriver
import BitNetInference
package import CBitNetCUDAKernels

/// Log probabilities of chosen tokens: the device adds up weights and finds the most likely tokens, the host computes
/// the logarithms.
struct TokenDescriptions {
  /// `[TokenMessages.capacity]`
  private let memory: CUDAHostBuffer
  private let library: KernelLibrary
  private let vocabulary: Int
  /// Logits as they were before changes, `[screenGroup][vocabulary]`; nil until they are wanted.
  private var unchanged: CUDABuffer?

  init(_ library: KernelLibrary, vocabulary: Int) throws(CUDAError) {
    (self.library, self.vocabulary) = (library, vocabulary)
    memory = try CUDAHostBuffer(
      library.context, byteCount: TokenMessages.capacity * MemoryLayout<TokenDescription>.stride)
  }

  /// Copies logits of `count` outputs that are going to be changed; returns where the copy is until the next one.
  mutating func keep(_ logits: UInt64, _ count: Int) throws(CUDAError) -> UInt64 {
    if unchanged == nil {
      unchanged = try CUDABuffer(library.context, byteCount: 4 * Int(screenGroup) * vocabulary)
    }
    let copy = unchanged!.address
    try library.stream.copy(device: logits, to: copy, byteCount: 4 * count * vocabulary)
    return copy
  }

  /// Describes the tokens just chosen for `count` outputs, as those of the outputs from `first` on.
  ///
  /// - Parameter logits: `[count][vocabulary]`, unchanged since the head computed them.
  func describe(
    _ count: Int, _ arrays: OutputArrays, from first: Int, logits: UInt64, alternatives: Int
  ) throws(CUDAError) {
    try library.launch(
      .describeRows, CUDAGrid(count), sharedBytes: Int(sampleScratchBytes),
      DescribeParameters(
        logits: logits, rows: arrays.rows, tokens: arrays.tokens,
        descriptions: memory.deviceAddress + UInt64(first * MemoryLayout<TokenDescription>.stride),
        vocabulary: Int32(vocabulary), alternatives: Int32(alternatives)))
  }

  /// The token of an output, after the device has described it.
  func token(_ token: Int32, of output: Int, alternatives: Int) -> SampledToken {
    let found = memory.bytes.bindMemory(to: TokenDescription.self)[output]
    let top = found.topKeys.prefix { $0 != 0 }.map {
      (token: Int32(bitPattern: ~UInt32(truncatingIfNeeded: $0)), logit: logit(ofKey: $0))
    }
    return Sampler.describe(
      token, logit: found.logit, largest: top.first?.logit ?? -.infinity, total: found.total,
      top: top.prefix(alternatives))
  }

  /// The logit of a logitKey.
  private func logit(ofKey key: UInt64) -> Float {
    let ordered = UInt32(key >> 32)
    return Float(bitPattern: ordered >> 31 == 1 ? ordered & 0x7FFF_FFFF : ~ordered)
  }
}

extension TokenDescription {
  /// The keys of the most likely tokens, then zeros.
  package var topKeys: [UInt64] { withUnsafeBytes(of: top) { Array($0.bindMemory(to: UInt64.self)) } }
}
