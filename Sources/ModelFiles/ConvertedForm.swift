import BitNetInference
import BitNetTernary

/// The converted form: one safetensors file whose tensors engines use directly, with everything else in its metadata.
///
/// | tensor | dtype | shape |
/// |---|---|---|
/// | `model.layers.{i}.{stack}.tiles` | U8 | `[padded rows / 16, tiles in a row, 128]` |
/// | `model.layers.{i}.{stack}.scales` | F64 | `[stacked parts]` |
/// | `model.embed_tokens.weight`, and `lm_head.weight` if untied | BF16 | `[vocabulary, hidden]` |
/// | `model.layers.{i}.{norm}`, `model.norm.weight` | F32 | `[width]` |
/// | `padding.{n}` | U8 | the bytes that align the next tensor |
///
/// Tiles and tables start at multiples of 64 bytes in the file.
enum ConvertedForm {
  static let format = "swift-bitnet"
  /// The first version is for models that the first readers can run. Those readers ignore unknown fields of the
  /// configuration, so files of other models have the second version.
  static let versions = ["1", "2"]
  static func version(of model: ModelConfiguration) -> String {
    versions[ModelFeature.allCases.contains(where: model.has) ? 1 : 0]
  }
  static let alignment = 64

  enum Key {
    static let format = "format"
    static let version = "version"
    static let configuration = "configuration"
    static let tokenizer = "tokenizer"
    static let chatTemplate = "chat_template"
    static let toolTemplate = "chat_template.tool_use"
    static let source = "source"
    static let generation = "generation"
    static let digest = "digest"
    static let embedding = "embedding"
  }

  static func layerPrefix(_ index: Int) -> String { "model.layers.\(index)." }
  static let embedding = "model.embed_tokens.weight"
  static let head = "lm_head.weight"
  static let finalNorm = "model.norm.weight"

  /// The name of a matrix in its layer, without a suffix.
  static func name(of role: MatrixRole) -> String {
    switch role {
    case .queryKeyValue: "self_attn.qkv_proj"
    case .attentionOutput: "self_attn.o_proj"
    case .gateUp: "mlp.gate_up_proj"
    case .down: "mlp.down_proj"
    }
  }

  /// The name of a norm in its layer.
  static func name(of role: NormRole) -> String {
    switch role {
    case .attention: "input_layernorm.weight"
    case .queryHead: "self_attn.q_norm.weight"
    case .keyHead: "self_attn.k_norm.weight"
    case .attentionSub: "self_attn.attn_sub_norm.weight"
    case .attentionPost: "self_attn.post_norm.weight"
    case .feedForward: "post_attention_layernorm.weight"
    case .feedForwardSub: "mlp.ffn_sub_norm.weight"
    case .feedForwardPost: "mlp.post_norm.weight"
    case .queryInput: "self_attn.q_proj.norm.weight"
    case .keyInput: "self_attn.k_proj.norm.weight"
    case .valueInput: "self_attn.v_proj.norm.weight"
    case .attentionOutputInput: "self_attn.o_proj.norm.weight"
    case .gateInput: "mlp.gate_proj.norm.weight"
    case .upInput: "mlp.up_proj.norm.weight"
    case .downInput: "mlp.down_proj.norm.weight"
    }
  }

  /// A stacked matrix of a layer.
  struct Stack {
    let role: MatrixRole
    let name: String
    let rows: [Int]
    let columns: Int

    var tilesName: String { name + ".tiles" }
    var scalesName: String { name + ".scales" }
    var tilesShape: [Int] {
      let paddedRows = rows.reduce(0) { $0 + Tile.padded($1, to: Tile.rows) }
      return [paddedRows / Tile.rows, Tile.padded(columns, to: Tile.columns) / Tile.columns, Tile.bytes]
    }
  }

  static func stack(_ role: MatrixRole, layer: Int, of model: ModelConfiguration) -> Stack {
    let (rows, columns) = model.shape(of: role)
    return Stack(role: role, name: layerPrefix(layer) + name(of: role), rows: rows, columns: columns)
  }

  /// The stacks of a layer in file order, which is the order in which a forward pass reads them.
  static func stacks(layer: Int, of model: ModelConfiguration) -> [Stack] {
    MatrixRole.allCases.map { stack($0, layer: layer, of: model) }
  }

  /// The norms of a layer with their widths, in file order: those of all models, then the others.
  static func norms(layer: Int, of model: ModelConfiguration) -> [(name: String, count: Int)] {
    let norms = model.norms.filter { !$0.role.isOptional } + model.norms.filter(\.role.isOptional)
    return norms.map { (layerPrefix(layer) + name(of: $0.role), $0.width) }
  }
}
