import BitNetCUDADriver
import BitNetCUDAEngine
import BitNetInference
package import BitNetRandomModels
import CBitNetCUDAKernels

/// What log probabilities are computed from, for several outputs.
package struct DescriptionCheck: KernelCheck {
  private let vocabulary: Int
  private let logits: [[Float]]
  private let alternatives: Int
  /// The row of the batch of each output, and the tokens chosen there.
  private let rows: [Int]
  private let tokens: [Int32]

  package init(_ generator: inout SplitMix64) {
    self.init(&generator, vocabulary: generator.int(1...(generator.chance(30) ? 5000 : 200)))
  }

  package init(_ generator: inout SplitMix64, vocabulary: Int) {
    self.vocabulary = vocabulary
    let rowCount = generator.int(1...6)
    rows = Array((0..<rowCount).shuffled(using: &generator).prefix(generator.int(1...rowCount)))
    tokens = (0..<rowCount).map { _ in Int32(generator.int(0...vocabulary - 1)) }
    logits = rows.map { _ in SamplerCheck.logits(vocabulary, &generator) }
    alternatives = generator.int(0...Int(mostAlternatives))
  }

  package var shape: String { "vocabulary \(vocabulary), rows \(rows), \(alternatives) alternatives" }

  package func comparison(on device: KernelCheckDevice) throws -> KernelComparison {
    let size = MemoryLayout<TokenDescription>.stride
    let host = try CUDAHostBuffer(device.library.context, byteCount: size * rows.count)
    host.bytes.initializeMemory(as: UInt8.self, repeating: 0xCD)
    try device.run(
      .describeRows, CUDAGrid(rows.count), sharedBytes: Int(sampleScratchBytes),
      DescribeParameters(
        logits: device.address(logits.flatMap { $0 }), rows: device.address(rows.map(Int32.init)),
        tokens: device.address(tokens), descriptions: host.deviceAddress, vocabulary: Int32(vocabulary),
        alternatives: Int32(alternatives)))
    let found = Array(host.bytes.bindMemory(to: TokenDescription.self))
    let expected = zip(logits, rows).map { logits, row in
      let order = logits.indices.filter { !logits[$0].isNaN }.sorted { (logits[$1], $0) < (logits[$0], $1) }
      let top = order.prefix(max(1, alternatives)).map { ScalarArithmetic.key(logits[$0], $0) }
      let total = logits.withUnsafeBufferPointer {
        SamplerKernels.scalar.weights($0, order.first.map { logits[$0] } ?? -.infinity, nil)
      }
      return (total: total, top: top, logit: logits[Int(tokens[row])])
    }
    var comparison = KernelComparison()
    comparison.compare(found.map(\.total), expected.map(\.total), "totals")
    comparison.compare(found.map(\.logit), expected.map(\.logit), "logits")
    let places = Int(mostAlternatives)
    let top = expected.flatMap { $0.top + Array(repeating: 0, count: places - $0.top.count) }
    comparison.compare(found.flatMap(\.topKeys), top, "most likely", width: places)
    withExtendedLifetime(host) {}
    return comparison
  }
}
