/// An error of an engine: a refused step, which changes nothing, or a failure of the device.
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
  /// The device has no memory for the cache; the text is the driver's.
  case outOfMemory(String)
  /// The device failed; the text is the driver's.
  case device(String)

  package var description: String {
    switch self {
    case .unknownSequence(let id): "\(id) does not exist"
    case .repeatedSequence(let id): "\(id) appears more than once in a batch; expected one entry for each sequence"
    case .noTokens(let id): "the batch has no tokens for \(id); expected one or more"
    case .nothingSampled(let id): "the previous step chose no token for \(id); expected tokens to append"
    case .unknownStep:
      "the step does not exist or its results were already taken; expected the ticket of a step not yet waited for"
    case .tokenOutOfRange(let token, let vocabulary):
      "token id \(token) is out of range; expected 0 to \(vocabulary - 1)"
    case .contextFull(let length, let adding, let limit):
      length == 0
        ? "the prompt has \(adding) tokens; the context holds \(limit)"
        : "\(adding) more tokens after \(length) do not fit in the context of \(limit)"
    case .cacheFull(let needed, let held, let limit):
      "the cache has no room for \(plural(needed, "more page")) of \(attentionChunkLength) positions; "
        + "sequences hold \(held) of its \(limit)"
    case .truncation(let length, let to): "the length to truncate to is \(to); expected 0 to \(length)"
    case .parameter(let name, let found, let expected): "\(name) is \(found); expected \(expected)"
    case .outOfMemory(let failure), .device(let failure): failure
    }
  }
}
