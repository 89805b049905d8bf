/// A text for a model, in parts that say who wrote them.
///
/// Special tokens are recognised in markup only, so no message of a chat can end a turn or begin another one, whichever
/// template made the prompt. ``Tokenizer/encode(_:addingBeginToken:parsingSpecialTokens:)-(Prompt,_,_)`` turns a prompt
/// into token ids.
package struct Prompt: Equatable, Sendable {
  package enum Part: Equatable, Sendable {
    /// Text of a template. Special tokens written in it, such as `<|eot_id|>`, become those tokens.
    case markup(String)
    /// Text of a user, a document or a model. Special tokens written in it stay text.
    case content(String)
    /// Tokens that are used as they are, such as a reply that the model itself generated. Text is never merged across
    /// them, even if there are none.
    case tokens([Int32])
  }

  package var parts: [Part]

  package init(_ parts: [Part] = []) { self.parts = parts }
}

extension Tokenizer {
  /// The token ids of a prompt.
  ///
  /// Markup and content between two parts of tokens are one text: they are split and merged as if the template's output
  /// was encoded at once, except that a special token must be in markup from its first to its last byte. An added token
  /// that is not special is recognised in content too, unless the prompt's markup contains it.
  ///
  /// - Parameters:
  ///   - addingBeginToken: whether the ids begin with ``beginToken``, if the tokenizer has one.
  ///   - parsingSpecialTokens: whether special tokens in content become those tokens too. This is unsafe for text from
  ///     users.
  package func encode(
    _ prompt: Prompt, addingBeginToken: Bool = false, parsingSpecialTokens: Bool = false
  ) -> [Int32] {
    var ids: [Int32] = []
    if addingBeginToken, let beginToken { ids.append(beginToken) }
    let reserved = tokens(inMarkupOf: prompt)
    var text: [UInt8] = []
    /// For each byte of `text`, whether it is markup.
    var isMarkup: [Bool] = []
    func append(_ string: String, isMarkup flag: Bool) {
      let start = text.count
      text.append(contentsOf: string.utf8)
      isMarkup.append(contentsOf: repeatElement(flag, count: text.count - start))
    }
    func encodeText() {
      encode(text.span, finder: allAdded, into: &ids) { match, isSpecial in
        let bytes = isMarkup[match.start..<match.end]
        if bytes.allSatisfy({ $0 }) { return true }
        // A token that begins in content must not take markup with it, such as the beginning of an end of turn.
        return !isSpecial && !reserved.contains(match.id) && (bytes.first! || !bytes.contains(true))
      }
      text.removeAll(keepingCapacity: true)
      isMarkup.removeAll(keepingCapacity: true)
    }
    for part in prompt.parts {
      switch part {
      case .markup(let string): append(string, isMarkup: true)
      case .content(let string): append(string, isMarkup: parsingSpecialTokens)
      case .tokens(let tokens):
        encodeText()
        ids += tokens
      }
    }
    encodeText()
    return ids
  }

  /// The added tokens that a prompt's markup contains.
  private func tokens(inMarkupOf prompt: Prompt) -> Set<Int32> {
    var found: Set<Int32> = []
    for case .markup(let string) in prompt.parts {
      let text = Array(string.utf8)
      var at = 0
      while let match = allAdded.firstMatch(in: text.span, from: at) {
        found.insert(match.id)
        at = match.end
      }
    }
    return found
  }
}
