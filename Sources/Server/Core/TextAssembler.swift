import BitNet
import BitNetInference
import BitNetTokenization

/// Turns tokens into text that is final: never half a character, never a part of a stop text. Holds the rest back, with
/// its tokens.
struct TextAssembler {
  struct Piece {
    var text = ""
    var tokens: [SampledToken] = []
    var hasStopped = false
  }

  private var decoder: StreamingDecoder
  private var matcher: StopMatcher
  /// Tokens whose text is held back, with its ends in the whole text's bytes.
  private var held: [(token: SampledToken, start: Int, end: Int)] = []
  private var decodedBytes = 0
  private var releasedBytes = 0

  /// - Parameter shown: special tokens that add text in any case.
  init(_ tokenizer: Tokenizer, stops: [String], showsSpecialTokens: Bool, shown: Set<TokenID> = []) {
    decoder = StreamingDecoder(tokenizer, skippingSpecialTokens: !showsSpecialTokens, except: shown)
    matcher = StopMatcher(stops)
  }

  /// The stop text that was found.
  var stopText: String? { matcher.match }

  mutating func append(_ token: SampledToken) -> Piece {
    let decoded = decoder.append(token.token)
    held.append((token, decodedBytes, decodedBytes + decoded.utf8.count))
    return take(decoded, isLast: false)
  }

  /// What was held back.
  mutating func finish() -> Piece { take(decoder.finish(), isLast: true) }

  private mutating func take(_ decoded: String, isLast: Bool) -> Piece {
    decodedBytes += decoded.utf8.count
    let (surely, hasStopped) = matcher.append(decoded)
    let text = isLast ? surely + matcher.finish() : surely
    releasedBytes += text.utf8.count
    var piece = Piece(text: text, hasStopped: hasStopped)
    if hasStopped {
      piece.tokens = held.filter { $0.start < releasedBytes }.map(\.token)
      held = []
    } else {
      let count = isLast ? held.count : held.prefix { $0.end <= releasedBytes }.count
      piece.tokens = held.prefix(count).map(\.token)
      held.removeFirst(count)
    }
    return piece
  }
}
