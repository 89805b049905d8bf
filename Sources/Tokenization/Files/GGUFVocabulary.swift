/// The vocabulary in the metadata of a GGUF file, as the keys `tokenizer.ggml.*` store it.
///
/// The reader of the file fills it in without interpreting it: `Tokenizer.init(_:)` checks every count and id. A key
/// that the file lacks is nil or an empty array.
package struct GGUFVocabulary: Equatable, Sendable {
  /// The kinds of tokens, the values of `token_type`.
  package enum TokenType: Int32, Sendable {
    case normal = 1
    case unknown, control, userDefined, unused, byte
  }

  /// `model`: "llama" for SentencePiece BPE, "gpt2" for byte-level BPE; others are refused.
  package var model: String
  /// `pre`: the name of the pre-tokenizer of byte-level BPE, such as "llama-bpe" or "qwen2".
  package var pre: String?
  /// `tokens`: the UTF-8 of each token, by id.
  package var tokens: [[UInt8]]
  /// `scores`: of each token. Of two possible merges the one with the higher score comes first.
  package var scores: [Float] = []
  /// `token_type`: of each token, a ``TokenType``. All tokens are normal if the file has none.
  package var types: [Int32] = []
  /// `merges`: two tokens with one space in between, in the order in which they merge.
  package var merges: [[UInt8]] = []
  /// `bos_token_id`
  package var beginToken: Int?
  /// `eos_token_id`
  package var endToken: Int?
  /// `unknown_token_id`
  package var unknownToken: Int?
  /// `add_bos_token`: whether a text begins with ``beginToken``.
  package var addsBeginToken: Bool?
  /// `add_eos_token`: whether ``endToken`` follows a text.
  package var addsEndToken: Bool?
  /// `add_space_prefix`: whether a text is encoded as if a space preceded it.
  package var addsSpacePrefix: Bool?
  /// `remove_extra_whitespaces`: whether spaces at the ends are dropped and runs of spaces become one.
  package var removesExtraSpaces: Bool?
  /// `precompiled_charsmap`: SentencePiece's normalization table; only an empty one is supported.
  package var charsMap: [UInt8] = []

  package init(model: String, tokens: [[UInt8]]) {
    self.model = model
    self.tokens = tokens
  }
}
