import BitNetRandomModels
package import BitNetInference
import BitNetModelFiles
import BitNetTernary
import TestSupport

/// A model of a few hundred weights, whose sizes are not multiples of a tile, in every form of a checkpoint.
package struct TinyModel {
  package enum Form: CaseIterable {
    case packed, codesInI8, codesInU8, codesInFloat, masterInBF16, masterInF16, masterInF32
  }

  package static let hidden = 24
  package static let feedForward = 40
  package static let heads = 2
  package static let headSize = 6
  package static let vocabulary = 21
  package static let layers = 2
  package static let scale: Float = 0.75

  /// config.json's members, their values as JSON.
  package var config: [String: String]
  package var file = TensorFileBuilder()
  /// The codes of every projection by its weight's name.
  package private(set) var codes: [String: [Int8]] = [:]

  package init(_ form: Form = .packed, prefix: String = "model.") {
    config = [
      "architectures": "[\"BitNetForCausalLM\"]", "model_type": "\"bitnet\"", "vocab_size": "\(Self.vocabulary)",
      "hidden_size": "\(Self.hidden)", "intermediate_size": "\(Self.feedForward)",
      "num_hidden_layers": "\(Self.layers)",
      "num_attention_heads": "\(Self.heads)", "num_key_value_heads": "1", "head_dim": "\(Self.headSize)",
      "max_position_embeddings": "64", "rms_norm_eps": "1e-5", "rope_theta": "10000.0", "hidden_act": "\"relu2\"",
      "tie_word_embeddings": "true", "bos_token_id": "1", "eos_token_id": "2",
      "quantization_config": "{\"quant_method\":\"bitnet\",\"linear_class\":\"autobitlinear\"}",
    ]
    var random = SeededGenerator(seed: 7)
    file.add(
      prefix + "embed_tokens.weight",
      bfloat16: (0..<Self.vocabulary * Self.hidden).map { _ in Float.random(in: -0.5..<0.5, using: &random) },
      shape: [Self.vocabulary, Self.hidden])
    func norm(_ name: String, _ count: Int) {
      file.add(name, bfloat16: (0..<count).map { _ in 1 + Float.random(in: -0.5..<0.5, using: &random) })
    }
    let query = Self.heads * Self.headSize
    for layer in 0..<Self.layers {
      let layerPrefix = "\(prefix)layers.\(layer)."
      norm(layerPrefix + "input_layernorm.weight", Self.hidden)
      norm(layerPrefix + "post_attention_layernorm.weight", Self.hidden)
      norm(layerPrefix + "self_attn.attn_sub_norm.weight", query)
      norm(layerPrefix + "mlp.ffn_sub_norm.weight", Self.feedForward)
      let projections = [
        ("self_attn.q_proj", query, Self.hidden), ("self_attn.k_proj", Self.headSize, Self.hidden),
        ("self_attn.v_proj", Self.headSize, Self.hidden), ("self_attn.o_proj", Self.hidden, query),
        ("mlp.gate_proj", Self.feedForward, Self.hidden), ("mlp.up_proj", Self.feedForward, Self.hidden),
        ("mlp.down_proj", Self.hidden, Self.feedForward),
      ]
      for (name, rows, columns) in projections {
        // Every third weight is zero in each row, so that a master's mean is the same multiple of the scale everywhere.
        let codes = (0..<rows * columns).map { $0 % 3 == 0 ? 0 : random.next() & 1 == 0 ? Int8(1) : -1 }
        add(layerPrefix + name + ".weight", codes: codes, rows: rows, columns: columns, as: form)
      }
    }
    norm(prefix + "norm.weight", Self.hidden)
  }

  private mutating func add(_ name: String, codes: [Int8], rows: Int, columns: Int, as form: Form) {
    self.codes[name] = codes
    let shape = [rows, columns]
    let floats = codes.map { Float($0) }
    switch form {
    case .packed:
      let quarter = (rows + 3) / 4
      var bytes = [UInt8](repeating: 0, count: quarter * columns)
      for (index, code) in codes.enumerated() {
        let (row, column) = (index / columns, index % columns)
        bytes[row % quarter * columns + column] |= UInt8(code + 1) << (2 * (row / quarter))
      }
      file.add(name, .u8, [quarter, columns], bytes)
    case .codesInI8: file.add(name, .i8, shape, codes.map { UInt8(bitPattern: $0) })
    case .codesInU8: file.add(name, .u8, shape, codes.map { UInt8(bitPattern: $0) })
    case .codesInFloat: file.add(name, bfloat16: floats, shape: shape)
    case .masterInBF16: file.add(name, bfloat16: floats, shape: shape)
    case .masterInF16:
      file.add(name, .f16, shape, codes.flatMap { littleEndian($0 == 0 ? UInt16(0) : $0 > 0 ? 0x3C00 : 0xBC00) })
    case .masterInF32: file.add(name, float32: floats, shape: shape)
    }
    switch form {
    case .masterInBF16, .masterInF16, .masterInF32: break
    default: file.add(name + "_scale", bfloat16: [Self.scale])
    }
  }

  package var configJSON: String { Self.object(config) }

  package static func object(_ members: [String: String]) -> String {
    "{" + members.sorted { $0.key < $1.key }.map { "\(quoted($0)):\($1)" }.joined(separator: ",") + "}"
  }

  /// Loads the model from memory.
  package func load(lengthModulo: Int = 0) throws -> ModelWeights {
    let file = try SafetensorsFile(bytes: shared(file.file(lengthModulo: lengthModulo)), name: "model.safetensors")
    return try ModelLoader.load(
      config: shared(configJSON), tensors: SafetensorsFolder(name: "tiny", single: file), name: "config.json")
  }
}
