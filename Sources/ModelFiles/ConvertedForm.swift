import BitNetInference
import BitNetTernary

/// The converted form: one safetensors file whose tensors are what engines use, with everything else in its metadata.
///
/// | tensor | dtype | shape |
/// |---|---|---|
/// | `model.layers.{i}.{stack}.tiles` | U8 | `[padded rows / 16, tiles in a row, 128]` |
/// | `model.layers.{i}.{stack}.scales` | F64 | `[stacked parts]` |
/// | `model.embed_tokens.weight`, and `lm_head.weight` if untied | BF16 | `[vocabulary, hidden]` |
/// | norms under their Hugging Face names | F32 | `[width]` |
/// | `padding.{n}` | U8 | what aligns the next tensor |
///
/// Tiles and tables start at multiples of 64 bytes in the file.
enum ConvertedForm {
  static let format = "swift-bitnet"
  static let version = "1"
  static let alignment = 64

  enum Key {
    static let format = "format"
    static let version = "version"
    static let configuration = "configuration"
    static let tokenizer = "tokenizer"
    static let chatTemplate = "chat_template"
    static let source = "source"
    static let generation = "generation"
  }

  static func layerPrefix(_ index: Int) -> String { "model.layers.\(index)." }
  static let queryKeyValue = "self_attn.qkv_proj"
  static let attentionOutput = "self_attn.o_proj"
  static let gateUp = "mlp.gate_up_proj"
  static let down = "mlp.down_proj"
  static let attentionNorm = "input_layernorm.weight"
  static let attentionSubNorm = "self_attn.attn_sub_norm.weight"
  static let feedForwardNorm = "post_attention_layernorm.weight"
  static let feedForwardSubNorm = "mlp.ffn_sub_norm.weight"
  static let embedding = "model.embed_tokens.weight"
  static let head = "lm_head.weight"
  static let finalNorm = "model.norm.weight"

  /// One of a layer's four stacked matrices.
  struct Stack {
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

  /// A layer's stacks in file order: that in which a forward pass reads them.
  static func stacks(layer: Int, of model: ModelConfiguration) -> [Stack] {
    let prefix = layerPrefix(layer)
    return [
      Stack(
        name: prefix + queryKeyValue, rows: [model.queryWidth, model.keyValueWidth, model.keyValueWidth],
        columns: model.hiddenSize),
      Stack(name: prefix + attentionOutput, rows: [model.hiddenSize], columns: model.queryWidth),
      Stack(name: prefix + gateUp, rows: [model.feedForwardSize, model.feedForwardSize], columns: model.hiddenSize),
      Stack(name: prefix + down, rows: [model.hiddenSize], columns: model.feedForwardSize),
    ]
  }

  /// A layer's norms with their widths.
  static func norms(layer: Int, of model: ModelConfiguration) -> [(name: String, count: Int)] {
    let prefix = layerPrefix(layer)
    let norms = [(prefix + attentionNorm, model.hiddenSize), (prefix + feedForwardNorm, model.hiddenSize)]
    let subNorms = [(prefix + attentionSubNorm, model.queryWidth), (prefix + feedForwardSubNorm, model.feedForwardSize)]
    return model.hasSubNorms ? norms + subNorms : norms
  }
}
