/// Something that happens while an answer is made. Every dialect writes these events in its own form.
package struct AnswerEvent: Sendable {
  /// The number of the choice, from 0 on, through all prompts.
  package var choice: Int
  package var kind: Kind
  /// Of `finish`: the choice's receipt, if receipts are wanted and the choice has tokens. A line that `bitnet audit`
  /// reads.
  package var receipt: String?

  package enum Kind: Sendable {
    /// The prompt's tokens, if they are to be scored. Comes first.
    case prompt([AnswerToken])
    /// Text that is final, which may be empty, and the tokens that end in it. Without log probabilities there are no
    /// tokens.
    case text(String, [AnswerToken])
    /// A part of a call of a function. Calls have numbers from 0 on, and come one after the other.
    case call(Int, AnswerCallPart)
    /// The choice is complete. Comes last, once.
    case finish(AnswerFinish)
    /// Nothing has happened for a while.
    case idle
  }

  package init(choice: Int, _ kind: Kind) {
    self.choice = choice
    self.kind = kind
  }
}

/// A part of a call of a function.
package enum AnswerCallPart: Sendable, Equatable {
  case begin(id: String, name: String)
  /// A piece of the JSON object that is the call's arguments.
  case arguments(String)
  /// The call is complete. Missing for a call that is cut.
  case end
}

/// Why a choice ended.
package enum AnswerFinish: Equatable, Sendable {
  /// The model ended its text; or a stop text came up, which is given.
  case stop(text: String?)
  /// The same, after one or more calls of functions that are complete.
  case calls
  /// The maximum number of tokens, or the end of the context.
  case length
}

/// A token with its log probabilities.
package struct AnswerToken: Sendable {
  /// The token's bytes, which need not be UTF-8.
  package var bytes: [UInt8]
  /// A natural logarithm; nil for the first token of a prompt.
  package var logProbability: Float?
  /// The most likely tokens in its place, most likely first.
  package var alternatives: [(bytes: [UInt8], logProbability: Float)]
  /// Whether the token ended the text, and has no part in it.
  package var isEnd = false

  /// The bytes as text; nil if they are not UTF-8.
  package var text: String? { String(validating: bytes, as: UTF8.self) }
}

/// How many tokens an answer took, and how long.
package struct AnswerUsage: Sendable {
  package var promptTokens = 0
  package var cachedTokens = 0
  package var generatedTokens = 0
  /// Tokens that were guessed and run along with others, and those of them that came true.
  package var draftedTokens = 0
  package var acceptedTokens = 0
  /// Seconds from the request to the first generated token.
  package var promptSeconds = 0.0
  /// Seconds from the first generated token to the last.
  package var decodeSeconds = 0.0

  package init() {}
}
