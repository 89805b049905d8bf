import BitNetHash
import BitNetInference
import BitNetToolCalls

/// Takes the calls of functions out of the text of one choice.
struct CallReader {
  private let calls: AnswerCalls
  private var parser: ToolCallParser
  /// What the choice's tokens follow from.
  private let prompt: [TokenID]
  private let sampling: SamplingParameters
  private let biases: [TokenBias]
  private let index: Int
  private var count = 0
  private var completeCount = 0

  /// - Parameters:
  ///   - sampling: the choice's own.
  ///   - index: the choice's number.
  init(_ calls: AnswerCalls, prompt: [TokenID], sampling: SamplingParameters, _ request: AnswerRequest, index: Int) {
    self.calls = calls
    parser = calls.use.parser
    (self.prompt, self.sampling, biases, self.index) = (prompt, sampling, request.biases, index)
  }

  /// Whether nothing after the last call belongs to the answer.
  var isOver: Bool { calls.use.isSingle && completeCount > 0 }
  /// Whether a call is complete.
  var hasCalls: Bool { completeCount > 0 }

  /// The events of a piece of the choice's text, up to the end of its last call.
  mutating func take(_ text: String, isLast: Bool) -> [AnswerEvent.Kind] {
    var events: [AnswerEvent.Kind] = []
    for event in parser.append(text) + (isLast ? parser.finish() : []) where !isOver {
      switch event {
      case .text(let text):
        // A call that is forced is all of the answer: where it is cut before its name is known, this is its beginning.
        if !calls.use.isForced { events.append(.text(text, [])) }
      case .begin(let name):
        count += 1
        events.append(.call(count - 1, .begin(id: identifier(name), name: name)))
      case .arguments(let text): events.append(.call(count - 1, .arguments(text)))
      case .end:
        completeCount += 1
        events.append(.call(count - 1, .end))
      }
    }
    return events
  }

  /// Equal requests have calls of equal identifiers, because some templates write them into the next prompt; calls in
  /// other answers have others.
  private func identifier(_ name: String) -> String {
    var sampling = sampling
    // The seed means nothing to greedy sampling, and is a random one where the request has none.
    if sampling.temperature == 0 { sampling.seed = 0 }
    let digits = SHA256().digits(of: "\(prompt) \(sampling) \(biases) \(index) \(count) \(name)")
    // Templates of Mistral's models refuse other lengths.
    return calls.use.style == .mistral ? String(digits.prefix(9)) : calls.prefix + digits.prefix(24)
  }
}
