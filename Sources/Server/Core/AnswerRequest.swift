package import BitNet
package import BitNetInference
package import BitNetServing

/// What a request wants of a model, in whichever dialect it came.
package struct AnswerRequest: Sendable {
  /// One prompt, or several of `/v1/completions`. Each has its own choices.
  package var prompts: [[TokenID]]
  /// Answers for each prompt.
  package var choiceCount = 1
  /// The first choice takes the seed, each further one the next.
  package var sampling = SamplingParameters()
  /// Whether the client chose the seed: each prompt then starts from it, and equal prompts have equal choices.
  /// Otherwise each takes the seeds after those of the prompts before it.
  package var hasSeed = true
  /// The most tokens of a choice; nil for as many as the context holds, 0 to score the prompt alone.
  package var maximumTokens: Int?
  package var stopTexts: [String] = []
  package var stopTokens: Set<TokenID> = []
  package var ignoresEndTokens = false
  /// Whether special tokens add text to the answer.
  package var showsSpecialTokens = false
  /// How many of the most likely alternatives to report log probabilities for; nil reports none.
  package var logProbabilities: Int?
  /// Whether a choice begins with the log probabilities of its prompt.
  package var scoresPrompt = false
  /// Numbers that are added to logits; in ascending order of their tokens.
  package var biases: [TokenBias] = []
  /// Restricts the tokens of each choice; nil for any text.
  package var constraint: (any TokenConstraint)?
  /// Whether each choice has a receipt.
  package var wantsReceipt = false
  /// Signs receipts; nil for receipts without a signature. The server's own, set when the answer starts.
  package var receiptKey: ReceiptKey?
  /// How to find calls of functions in the answer; nil if there can be none.
  package var calls: AnswerCalls?
  /// When to give up; nil if never.
  package var deadline: ContinuousClock.Instant?

  package init(prompts: [[TokenID]]) { self.prompts = prompts }
}
