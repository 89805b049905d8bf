package import BitNetModelFiles
import BitNetRandomModels
import BitNetTernary
import TestSupport

/// A GGUF model of a few thousand weights, and its parts for comparisons.
package struct TinyGGUF {
  /// The storage of the projections.
  package enum Storage: CaseIterable {
    case i2s, i2sARM, tq2
  }

  package static let vocabulary = 9
  package static let scale: Float = 0.75

  package let hidden: Int
  package let headSize: Int
  package let feedForward: Int
  package var builder = GGUFBuilder()
  /// The codes of every projection by its weight's name, in the order of the file.
  package private(set) var codes: [String: [Int8]] = [:]
  package private(set) var shapes: [String: (rows: Int, columns: Int)] = [:]

  package init(_ storage: Storage = .i2s, architecture: String = "bitnet-b1.58") {
    // Rows of TQ2_0 are whole blocks.
    hidden = storage == .tq2 ? 256 : 32
    headSize = hidden / 2
    feedForward = 2 * hidden
    let subNorms = architecture != "llama"
    builder.metadata = [
      ("general.architecture", .string(architecture)),
      ("\(architecture).embedding_length", .u32(UInt32(hidden))),
      ("\(architecture).block_count", .u32(1)), ("\(architecture).context_length", .u32(64)),
      ("\(architecture).feed_forward_length", .u32(UInt32(feedForward))),
      ("\(architecture).attention.head_count", .u32(2)), ("\(architecture).attention.head_count_kv", .u32(1)),
      ("\(architecture).attention.layer_norm_rms_epsilon", .f32(1e-5)),
      ("\(architecture).rope.freq_base", .f32(1_000_042)),
      ("tokenizer.ggml.bos_token_id", .u32(1)), ("tokenizer.ggml.eos_token_id", .u32(2)),
      ("tokenizer.ggml.eot_token_id", .u32(3)),
    ]
    var random = SeededGenerator(seed: 5)
    func floats(_ count: Int) -> [UInt8] {
      (0..<count).flatMap { _ in littleEndian(Float.random(in: 0.5..<1.5, using: &random).bitPattern) }
    }
    func norm(_ name: String, _ count: Int) {
      builder.tensors.append(.init(name, [UInt64(count)], type: 0, bytes: floats(count)))
    }
    builder.tensors.append(
      .init(
        "token_embd.weight", [UInt64(hidden), UInt64(Self.vocabulary)], type: 0,
        bytes: floats(hidden * Self.vocabulary)))
    norm("output_norm.weight", hidden)
    norm("blk.0.attn_norm.weight", hidden)
    norm("blk.0.ffn_norm.weight", hidden)
    if subNorms {
      norm("blk.0.attn_sub_norm.weight", hidden)
      norm("blk.0.ffn_sub_norm.weight", feedForward)
    }
    let projections = [
      ("attn_q", hidden, hidden), ("attn_k", headSize, hidden), ("attn_v", headSize, hidden),
      ("attn_output", hidden, hidden), ("ffn_gate", feedForward, hidden), ("ffn_up", feedForward, hidden),
      ("ffn_down", hidden, feedForward),
    ]
    for (name, rows, columns) in projections {
      let weight = "blk.0.\(name).weight"
      let codes = (0..<rows * columns).map { _ in Int8(Int(random.next() % 3) - 1) }
      self.codes[weight] = codes
      shapes[weight] = (rows, columns)
      builder.tensors.append(
        .init(
          weight, [UInt64(columns), UInt64(rows)], type: storage == .tq2 ? 35 : 36,
          bytes: Self.pack(codes, storage)))
    }
  }

  /// One element at a time, as the formats are described.
  private static func pack(_ codes: [Int8], _ storage: Storage) -> [UInt8] {
    let block = storage == .i2s ? 128 : storage == .i2sARM ? 64 : 256
    var bytes = [UInt8](repeating: 0, count: codes.count / 4)
    for (index, code) in codes.enumerated() {
      let within = index % block
      switch storage {
      case .i2s, .i2sARM:
        let lane = within / (block / 4)
        bytes[index / block * (block / 4) + within % (block / 4)] |= UInt8(code + 1) << UInt8(6 - 2 * lane)
      case .tq2:
        bytes[index / 128 * 32 + index % 32] |= UInt8(code + 1) << UInt8(within % 128 / 32 * 2)
      }
    }
    if storage == .tq2 {
      let half = littleEndian(scale.halfBits)
      return (0..<codes.count / 256).flatMap { bytes[64 * $0..<64 * $0 + 64] + half }
    }
    // What follows the scale is padding of any content.
    return bytes + littleEndian(scale.bitPattern) + [UInt8](repeating: 0xA5, count: 28)
  }

  /// Loads the model from memory.
  package func load(options: LoadOptions = LoadOptions()) throws -> LoadedModel {
    try ModelLoader.load(gguf: GGUFFile(bytes: shared(builder.file()), name: "tiny.gguf"), options: options)
  }
}
