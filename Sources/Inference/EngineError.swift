/// A step an engine refuses, in which case nothing has changed, or one that its device failed at.
package enum EngineError: Error, Equatable, CustomStringConvertible {
  case unknownSequence(SequenceID)
  case repeatedSequence(SequenceID)
  case noTokens(SequenceID)
  /// `.sampled` for a sequence whose last step chose no token.
  case nothingSampled(SequenceID)
  case unknownStep
  case tokenOutOfRange(Int32, vocabulary: Int)
  case contextFull(length: Int, adding: Int, limit: Int)
  /// The cache's budget, in pages of `attentionChunkLength` positions.
  case cacheFull(needed: Int, held: Int, limit: Int)
  case truncation(length: Int, to: Int)
  case parameter(name: String, found: String, expected: String)
  /// The device failed, or has no memory for the cache, in its own words.
  case device(String)

  package var description: String {
    switch self {
    case .unknownSequence(let id): "\(id) does not exist"
    case .repeatedSequence(let id): "\(id) stands more than once in a batch; expected one entry for each sequence"
    case .noTokens(let id): "the batch has no tokens for \(id); expected one or more"
    case .nothingSampled(let id): "the step before chose no token for \(id); expected tokens to append"
    case .unknownStep:
      "the step does not exist, or its results have been taken; expected a ticket of a step that was not waited for"
    case .tokenOutOfRange(let token, let vocabulary):
      "token id \(token) is out of range; expected 0 to \(vocabulary - 1)"
    case .contextFull(let length, let adding, let limit):
      length == 0
        ? "the prompt has \(adding) tokens; the context holds \(limit)"
        : "\(adding) more tokens after \(length) do not fit in the context of \(limit)"
    case .cacheFull(let needed, let held, let limit):
      "the cache has no room for \(needed) more pages of \(attentionChunkLength) positions: sequences hold \(held) of \(limit)"
    case .truncation(let length, let to): "a sequence of \(length) tokens cannot be cut to \(to)"
    case .parameter(let name, let found, let expected): "\(name) is \(found); expected \(expected)"
    case .device(let failure): failure
    }
  }
}
