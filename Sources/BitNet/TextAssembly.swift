import BitNetTokenization

/// Turns generated tokens into text and finds the generation's end. A generation and its audit use it alike.
struct TextAssembly {
  private let stopTokens: Set<TokenID>
  private let limit: Int
  private var decoder: StreamingDecoder
  private var matcher: StopMatcher
  private var count = 0

  init(_ tokenizer: Tokenizer, stopTokens: Set<TokenID>, stopTexts: [String], limit: Int) {
    self.stopTokens = stopTokens
    self.limit = limit
    decoder = StreamingDecoder(tokenizer)
    matcher = StopMatcher(stopTexts)
  }

  /// - Returns: the text that the token completes, and why the generation ends with it; nil if it goes on.
  mutating func append(_ token: TokenID) -> (text: String, finish: FinishReason?) {
    count += 1
    var text = ""
    var finish: FinishReason?
    if stopTokens.contains(token) {
      finish = .stop
    } else {
      let (appended, stopped) = matcher.append(decoder.append(token))
      text = appended
      if stopped { finish = .stop } else if count >= limit { finish = .length }
    }
    if finish != nil {
      // What decoder and matcher still held back.
      let (rest, stopped) = matcher.append(decoder.finish())
      text += rest + matcher.finish()
      if stopped { finish = .stop }
    }
    return (text, finish)
  }
}
