import BitNetHash
package import BitNetInference
import BitNetTernary
import Dispatch
import Synchronization

/// A SHA-256 of everything in a model that determines its tokens, whatever files it came from.
///
/// It is the hash of a text, the manifest: the fields of the configuration that the arithmetic reads, and for each
/// matrix, norm and table its role, its shape and the hash of its contents in the layout of the engines (tiles,
/// float32, bfloat16), then the hash of the tokenizer. The names of the architecture and of tensors, the order of
/// tensors in files, the context length, the end tokens and the suggested sampling are not part of it: they only set
/// defaults.
package struct ModelDigest: Sendable, Equatable, CustomStringConvertible {
  /// 64 hexadecimal digits in lower case.
  package let description: String

  /// - Returns: nil for anything but 64 hexadecimal digits in lower case.
  package init?(_ text: String) {
    guard text.utf8.count == Self.length, text.utf8.allSatisfy(Self.isDigit) else { return nil }
    description = text
  }

  /// Reads all weights, on all cores: 0.3 s for each gigabyte and core with SHA instructions is a typical time.
  ///
  /// - Parameter tokenizer: the text of `Tokenizer.serialized()`; nil if the model has none.
  package init(_ weights: ModelWeights, tokenizer: String?) {
    let manifest = Self.manifest(weights, tokenizer: tokenizer)
    description = SHA256().digits(of: manifest)
  }

  static let length = 64

  private static func isDigit(_ byte: UInt8) -> Bool {
    UInt8(ascii: "0")...UInt8(ascii: "9") ~= byte || UInt8(ascii: "a")...UInt8(ascii: "f") ~= byte
  }

  /// The text whose hash is the digest.
  static func manifest(_ weights: ModelWeights, tokenizer: String?) -> String {
    let c = weights.configuration
    var contents = HashedContents()
    var lines = ["swift-bitnet model 1"]
    lines += configuration(c)
    for (index, layer) in weights.layers.enumerated() {
      for role in MatrixRole.allCases {
        let matrix = layer[role]
        let rows = matrix.parts.map { "\($0.rows)" }.joined(separator: "+")
        let scales = matrix.parts.map { hexadecimal($0.scale.bitPattern) }.joined(separator: " ")
        lines.append("\(index) \(role.digestName) \(rows)x\(matrix.columns) \(scales) \(contents.add(matrix.tiles))")
      }
      for (role, width) in c.norms {
        lines.append("\(index) norm \(role.rawValue) \(width) \(contents.add(layer[role] ?? []))")
      }
    }
    lines.append("norm final \(c.hiddenSize) \(contents.add(weights.finalNorm))")
    lines.append("embedding \(c.vocabularySize)x\(c.hiddenSize) \(contents.add(weights.embedding.bytes))")
    if !c.tiedEmbedding {
      lines.append("head \(c.vocabularySize)x\(c.hiddenSize) \(contents.add(weights.head.bytes))")
    }
    lines.append("tokenizer \(tokenizer.map { SHA256().digits(of: $0) } ?? "none")")
    let hashes = contents.hashes()
    return lines.map { line in
      let words = line.split(separator: " ", omittingEmptySubsequences: false)
      guard let place = words.last, place.first == "#", let index = Int(place.dropFirst()) else { return line }
      return (words.dropLast().map(String.init) + [hashes[index]]).joined(separator: " ")
    }.joined(separator: "\n") + "\n"
  }

  private static func configuration(_ c: ModelConfiguration) -> [String] {
    func bits(_ value: Double) -> String { hexadecimal(value.bitPattern) }
    var lines = [
      "vocabulary \(c.vocabularySize)", "hidden \(c.hiddenSize)", "feed-forward \(c.feedForwardSize)",
      "layers \(c.layerCount)", "heads \(c.headCount) \(c.keyValueHeadCount) \(c.headSize)",
      "norm-epsilon \(bits(c.normEpsilon))", "rope-theta \(bits(c.ropeTheta))",
    ]
    if let scaling = c.ropeScaling {
      let factors = [scaling.factor, scaling.lowFrequencyFactor, scaling.highFrequencyFactor].map(bits)
      lines.append("rope-scaling \(factors.joined(separator: " ")) \(scaling.originalContextLength)")
    }
    if let epsilon = c.projectionNormEpsilon { lines.append("projection-norm-epsilon \(bits(epsilon))") }
    if let yarn = c.yarnScaling {
      let numbers = [yarn.factor, yarn.attentionFactor, yarn.fastRotations, yarn.slowRotations].map(bits)
      lines.append("yarn \(numbers.joined(separator: " ")) \(yarn.originalContextLength) \(yarn.truncates)")
    }
    lines.append("activation \(c.activation.rawValue)")
    // Layers share entries in a cycle; each layer's own entry says the same of every way to write the cycle.
    for layer in 0..<c.layerCount {
      let entry = c.attention(ofLayer: layer)
      guard entry != .causal else { continue }
      let window = entry.window.map { "\($0)" } ?? "all"
      let theta = entry.ropeTheta.map(bits) ?? "common"
      lines.append("\(layer) attention \(window) \(entry.isBidirectional ? "bidirectional" : "causal") \(theta)")
    }
    let factors = [c.embeddingScale, c.residualScale, c.outputScale].map(bits)
    let scales = [c.attentionScale.map(bits) ?? "default"] + factors
    lines.append("scales \(scales.joined(separator: " "))")
    lines.append("tied \(c.tiedEmbedding)")
    return lines
  }
}

extension MatrixRole {
  fileprivate var digestName: String {
    switch self {
    case .queryKeyValue: "qkv"
    case .attentionOutput: "o"
    case .gateUp: "gate-up"
    case .down: "down"
    }
  }
}

/// Contents to hash, all at once on all cores. The hash of contents is the SHA-256 of the hexadecimal SHA-256 of each
/// block of 4 MiB, so that one large table is work for several cores.
private struct HashedContents {
  private static let block = 4 << 20
  private var parts: [SharedBytes] = []

  /// - Returns: `#N` in place of the hash.
  mutating func add(_ bytes: SharedBytes) -> String {
    parts.append(bytes)
    return "#\(parts.count - 1)"
  }

  mutating func add(_ values: [Float]) -> String {
    let buffer = AlignedBuffer(count: 4 * values.count)
    for (index, value) in values.enumerated() {
      buffer.bytes.storeBytes(of: value.bitPattern.littleEndian, toByteOffset: 4 * index, as: UInt32.self)
    }
    return add(buffer.shared)
  }

  func hashes() -> [String] {
    let blocks = parts.enumerated().flatMap { index, part in
      stride(from: 0, to: part.count, by: Self.block).map { (part: index, start: $0) }
    }
    let found = Mutex([String](repeating: "", count: blocks.count))
    let parts = parts
    DispatchQueue.concurrentPerform(iterations: blocks.count) { index in
      let (part, start) = blocks[index]
      var hash = SHA256()
      parts[part].withUnsafeBytes { hash.update(UnsafeRawBufferPointer(rebasing: $0[start...].prefix(Self.block))) }
      let digits = hash.digits()
      found.withLock { $0[index] = digits }
    }
    var texts = [String](repeating: "", count: parts.count)
    for (block, digits) in zip(blocks, found.withLock { $0 }) { texts[block.part] += digits }
    return texts.map { SHA256().digits(of: $0) }
  }
}

private func hexadecimal(_ value: UInt64) -> String {
  let digits = String(value, radix: 16)
  return String(repeating: "0", count: 16 - digits.count) + digits
}
