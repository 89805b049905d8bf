import BitNet
import BitNetInference
import BitNetJSON
import BitNetTokenization

/// Text to tokens and back, as vLLM and llama-server offer it.
package struct TokenRoutes: Sendable {
  private let core: ServerCore

  package init(_ core: ServerCore) { self.core = core }

  package var routes: [Route] {
    [
      Route("POST", "/tokenize") { try tokenize($0) },
      Route("POST", "/detokenize") { try detokenize($0) },
      Route("POST", "/apply-template") { try applyTemplate($0) },
      Route("GET", "/tokenizer_info") { try information($0) },
    ]
  }

  /// vLLM's `prompt` or `messages`, which get the begin token unless `add_special_tokens` is false; or llama-server's
  /// `content`, which gets it if `add_special` is true.
  private func tokenize(_ exchange: Exchange) throws -> Reply {
    var fields = try exchange.json().fields()
    let served = try core.catalog.find(try fields["model"].ifPresent?.string())
    let tokens: [TokenID]
    let isLlama = fields["content"].ifPresent != nil
    if isLlama {
      let parses = try fields["parse_special"].ifPresent?.bool() ?? true
      let adds = try fields["add_special"].ifPresent?.bool() ?? false
      tokens = served.tokenizer.encode(
        try fields["content"].string(), addingBeginToken: adds, parsingSpecialTokens: parses)
    } else if fields["messages"].ifPresent != nil {
      let generating = try fields["add_generation_prompt"].ifPresent?.bool() ?? true
      let chat = try ToolFields.chat(&fields).chat(ChatFields.read(&fields), for: served)
      tokens = try served.chatTemplate().encode(chat, with: served.tokenizer, generating: generating)
    } else {
      let adds = try fields["add_special_tokens"].ifPresent?.bool() ?? true
      tokens = served.tokenizer.encode(
        try fields["prompt"].string(), addingBeginToken: adds, parsingSpecialTokens: true)
    }
    func text(_ token: TokenID) -> JSONTree {
      .string(String(decoding: served.tokenizer.bytes(of: token) ?? [], as: UTF8.self))
    }
    let ids = tokens.map { JSONTree.integer(Int($0)) }
    if isLlama {
      let hasPieces = try fields["with_pieces"].ifPresent?.bool() ?? false
      let list = hasPieces ? tokens.map { ["id": .integer(Int($0)), "piece": text($0)] } : ids
      return try .json(["tokens": .array(list)])
    }
    let hasTexts = try fields["return_token_strs"].ifPresent?.bool() ?? false
    return try .json([
      "count": .integer(tokens.count), "max_model_len": .integer(served.model.contextLength), "tokens": .array(ids),
      "token_strs": hasTexts ? .array(tokens.map(text)) : .null,
    ])
  }

  private func detokenize(_ exchange: Exchange) throws -> Reply {
    var fields = try exchange.json().fields()
    let served = try core.catalog.find(try fields["model"].ifPresent?.string())
    let text = served.tokenizer.decode(try TokenFields.tokens(fields["tokens"], served))
    // The first name is vLLM's, the second llama-server's.
    return try .json(["prompt": .string(text), "content": .string(text)])
  }

  private func applyTemplate(_ exchange: Exchange) throws -> Reply {
    var fields = try exchange.json().fields()
    let served = try core.catalog.find(try fields["model"].ifPresent?.string())
    let generating = try fields["add_generation_prompt"].ifPresent?.bool() ?? true
    let chat = try ToolFields.chat(&fields).chat(ChatFields.read(&fields), for: served)
    let prompt = try served.chatTemplate().prompt(for: chat, generating: generating)
    let text = prompt.parts.map { part in
      switch part {
      case .markup(let text), .content(let text): text
      case .tokens(let tokens): served.tokenizer.decode(tokens)
      }
    }
    return try .json(["prompt": .string(text.joined())])
  }

  /// What lm-evaluation-harness asks of a tokenizer.
  private func information(_ exchange: Exchange) throws -> Reply {
    let served = try core.catalog.find(exchange.query["model"])
    func text(_ token: TokenID?) -> JSONTree {
      token.flatMap { served.tokenizer.bytes(of: $0) }.map { .string(String(decoding: $0, as: UTF8.self)) } ?? .null
    }
    let end = served.model.configuration.endTokens.first ?? served.model.endTokens.min()
    return try .json([
      "tokenizer_class": "PreTrainedTokenizerFast", "vocab_size": .integer(served.tokenizer.vocabularySize),
      "model_max_length": .integer(served.model.contextLength), "bos_token": text(served.tokenizer.beginToken),
      "eos_token": text(end), "pad_token": text(end), "add_bos_token": .bool(served.tokenizer.beginToken != nil),
    ])
  }
}
