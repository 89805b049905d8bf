import BitNetConstraints
package import BitNetInference
import BitNetServing
import BitNetTokenization

/// Why a receipt is not what this model gives: one sentence.
package struct AuditError: Error, Equatable, CustomStringConvertible {
  package let description: String
  /// The index of the first generated token that differs; nil for another fault.
  package let position: Int?
  /// The token that the model chooses there.
  package let expected: TokenID?
  /// The token in the receipt.
  package let found: TokenID?

  package init(_ description: String, position: Int? = nil, expected: TokenID? = nil, found: TokenID? = nil) {
    self.description = description
    self.position = position
    self.expected = expected
    self.found = found
  }
}

extension LanguageModel {
  /// Checks a receipt against this model: recomputes every choice of a token, all from the receipt's own tokens before
  /// it, so that they go through the model as fast as a prompt does.
  ///
  /// If all choices agree, a generation from the prompt gives exactly the receipt's tokens: each choice depends only on
  /// the tokens before it, which agree too.
  ///
  /// - Throws: `AuditError` with the first difference; ``BitNetError`` when the model fails; `CancellationError`.
  package func audit(_ receipt: Receipt) async throws {
    try check(receipt)
    do {
      try await withSequence { try await recompute(receipt, in: $0) }
    } catch {
      throw error is AuditError || error is CancellationError ? error : BitNetError(error)
    }
  }

  /// Checks everything that needs no forward pass.
  private func check(_ receipt: Receipt) throws(AuditError) {
    let found = receipt.fingerprint
    guard found.arithmetic == modelFingerprint.arithmetic else {
      throw AuditError(
        "the receipt's version of the arithmetic is \(found.arithmetic); expected \(modelFingerprint.arithmetic), that "
          + "of this build: audit it with a build of its version")
    }
    guard found.digest == modelFingerprint.digest else {
      throw AuditError(
        "the receipt's model is \(found.digest); expected \(modelFingerprint.digest), the model that is loaded: name "
          + "the receipt's with --model")
    }
    do throws(EngineError) { try receipt.sampling.validate() } catch { throw AuditError("\(error)") }
    let vocabulary = configuration.vocabularySize
    for tokens in [receipt.prompt, receipt.output, receipt.stopTokens] {
      if let token = tokens.first(where: { $0 >= vocabulary }) {
        throw AuditError("a token of the receipt is \(token); expected ids below the vocabulary's size, \(vocabulary)")
      }
    }
    guard !receipt.prompt.isEmpty, !receipt.output.isEmpty else {
      throw AuditError("the receipt has no tokens of a prompt or of an output; expected at least one of each")
    }
    guard receipt.output.count <= receipt.limit else {
      throw AuditError(
        "the receipt's output has \(receipt.output.count) tokens; expected at most \(receipt.limit), its max_tokens")
    }
    guard receipt.prompt.count + receipt.output.count <= contextLength else {
      throw AuditError(
        "the receipt has \(receipt.prompt.count + receipt.output.count) tokens; expected at most \(contextLength), the "
          + "context length: choose another with --context")
    }
    // Each of them is looked for after each token.
    guard receipt.stopTexts.count <= 1024, receipt.stopTexts.allSatisfy({ $0.utf8.count <= 4096 }) else {
      throw AuditError(
        "the receipt has \(receipt.stopTexts.count) stop texts or long ones; expected at most 1024 of 4096 bytes each")
    }
    let (stops, digests) = (receipt.stopTokens, receipt.tokenDigests)
    guard zip(stops, stops.dropFirst()).allSatisfy({ $0 < $1 }) else {
      throw AuditError("the receipt's stop tokens are out of order; expected ascending ids")
    }
    guard digests == nil || digests?.count == receipt.output.count else {
      throw AuditError(
        "the receipt has \(digests?.count ?? 0) digests of tokens; expected \(receipt.output.count), one for each")
    }
    do throws(EngineError) {
      try TokenAdjustment(biases: receipt.biases).validate(rows: 1, vocabulary: vocabulary)
    } catch {
      throw AuditError("\(error)")
    }
    guard receipt.format == nil || !stops.isEmpty else {
      throw AuditError("the receipt has no stop tokens; expected one or more with a response_format")
    }
    try checkEnd(receipt)
  }

  /// The constraint of a receipt's format; nil for any text.
  private func constraint(of receipt: Receipt) throws(AuditError) -> (any TokenConstraint)? {
    guard let format = receipt.format else { return nil }
    let size = format.alternatives.joined().reduce(0) { size, part in
      switch part {
      case .text(let text): size + text.utf8.count
      case .json(let schema): size + schema.count
      }
    }
    guard size <= 1 << 20 else {
      throw AuditError("the receipt's response_format has \(size) bytes; expected at most \(1 << 20)")
    }
    guard format.alternatives.count <= 1024, format.alternatives.allSatisfy({ $0.count <= 1024 }) else {
      throw AuditError(
        "the receipt's response_format has \(format.alternatives.count) alternatives or long ones; expected at most "
          + "1024 of 1024 parts each")
    }
    do {
      return try constraints.constraint(format)
    } catch {
      throw AuditError("the receipt's response_format cannot be used: \(error)")
    }
  }

  /// Checks that the generation ends with its last token, and for the reason that the receipt gives.
  private func checkEnd(_ receipt: Receipt) throws(AuditError) {
    var assembly = TextAssembly(
      tokenizer, stopTokens: Set(receipt.stopTokens), stopTexts: receipt.stopTexts, limit: receipt.limit)
    for (index, token) in receipt.output.enumerated() {
      let finish = assembly.append(token).finish
      let isLast = index == receipt.output.count - 1
      if let finish, !isLast {
        throw AuditError("the receipt's output goes on after token \(index + 1); expected its end there: \(finish)")
      }
      if isLast, receipt.finish != finish?.description ?? Receipt.interrupted {
        throw AuditError(
          "the receipt's finish_reason is \(quoted(receipt.finish)); expected "
            + quoted(finish?.description ?? Receipt.interrupted))
      }
    }
  }

  private func quoted(_ text: String) -> String { "\"\(text.prefix(40))\"" }

  /// Tokens of a step: enough for the speed of prompts, few enough that others get their turns.
  private static let stepTokens = 256

  private func recompute(_ receipt: Receipt, in sequence: SequenceID) async throws {
    let tokens = receipt.prompt + receipt.output.dropLast()
    var choices = try ReceiptChoices(receipt, constraint: constraint(of: receipt))
    var start = 0
    while start < tokens.count {
      try Task.checkCancellation()
      // The last token of the prompt is the first after which one was chosen.
      let first = receipt.prompt.count - 1
      var end = min(start + Self.stepTokens, start < first ? first : tokens.count)
      var want = Batch.Want.logits
      if start >= first {
        // Where the output breaks its format, the last row chooses another token than the receipt's.
        (want, end) = try choices.want(start - first..<end - first, first: first)
      }
      let entry = Batch.Entry(
        sequence: sequence, tokens: Array(tokens[start..<end]), rows: start < first ? .none : .all, want: want)
      let results = try await scheduler.perform { try $0.step(Batch([entry]))[0].tokens }
      for (row, result) in results.enumerated() {
        let index = start + row - first
        let found = receipt.output[index]
        guard result.token == found else {
          throw AuditError(
            "token \(index + 1) of the receipt's output is \(found); expected \(result.token), which the model chooses "
              + "after the tokens before it", position: index, expected: result.token, found: found)
        }
        if let digests = receipt.tokenDigests, let logProbability = result.logProbability {
          let expected = Receipt.digest(logProbability)
          guard digests[index] == expected else {
            throw AuditError(
              "the digest of token \(index + 1) is \(quoted(digests[index])); expected \"\(expected)\"",
              position: index, expected: found, found: found)
          }
        }
      }
      start = end
    }
  }
}

/// How the tokens of a receipt's output are chosen, one after another.
private struct ReceiptChoices {
  private let receipt: Receipt
  private var constraint: (any TokenConstraintState)?
  private var penalties: TokenPenalties?

  init(_ receipt: Receipt, constraint: (any TokenConstraint)?) {
    self.receipt = receipt
    self.constraint = constraint?.begin(ends: Set(receipt.stopTokens))
    penalties = TokenPenalties(receipt.sampling, biases: receipt.biases)
  }

  /// The wanted choices of some tokens of the output, those that follow the last ones asked for.
  ///
  /// - Parameters:
  ///   - range: indices of the output.
  ///   - first: the place of the output's first choice among all rows.
  /// - Returns: the choices, and where they end among all rows: after the first token that the constraint does not
  ///   allow.
  mutating func want(_ range: Range<Int>, first: Int) throws(AuditError) -> (want: Batch.Want, end: Int) {
    var masks: [TokenMask] = []
    var rows: [[TokenBias]] = []
    var end = range.lowerBound
    while end < range.upperBound {
      let token = receipt.output[end]
      end += 1
      if let penalties { rows.append(penalties.biases) }
      penalties?.append(token)
      guard let mask = constraint?.mask else { continue }
      guard mask.count > 0 else {
        throw AuditError(
          "the receipt's response_format allows no token after \(end - 1) of them; expected the output's end before",
          position: end - 1, found: token)
      }
      masks.append(mask)
      guard mask[Int(token)] else { break }
      if end < receipt.output.count { constraint?.append(token) }
    }
    let biases = penalties == nil ? receipt.biases : []
    let isChanged = !masks.isEmpty || !rows.isEmpty || !biases.isEmpty
    let want = Batch.Want.token(
      receipt.sampling.ofStep, logProbabilities: receipt.tokenDigests == nil ? nil : 0,
      adjustment: isChanged ? TokenAdjustment(masks: masks, biases: biases, rowBiases: rows) : nil)
    return (want, first + end)
  }
}
