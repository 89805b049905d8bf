import BitNetJSON

/// The fields at the head of OpenAI's objects.
struct OpenAIHead: Sendable {
  let id: String
  let created: Int
  let model: String
  let fingerprint: String

  func tree(object: String, _ rest: KeyValuePairs<String, JSONTree?>) -> JSONTree {
    var members: [JSONTree.Member] = [
      .init("id", .string(id)), .init("object", .string(object)), .init("created", .integer(created)),
      .init("model", .string(model)), .init("system_fingerprint", .string(fingerprint)),
    ]
    for case (let name, let value?) in rest { members.append(.init(name, value)) }
    return .object(members)
  }
}

extension AnswerFinish {
  /// OpenAI's name.
  var openAIName: String {
    switch self {
    case .stop: "stop"
    case .calls: "tool_calls"
    case .length: "length"
    }
  }
}

extension AnswerUsage {
  /// OpenAI's object `usage`.
  var openAITree: JSONTree {
    [
      "prompt_tokens": .integer(promptTokens), "completion_tokens": .integer(generatedTokens),
      "total_tokens": .integer(promptTokens + generatedTokens),
      "prompt_tokens_details": ["cached_tokens": .integer(cachedTokens)],
      "completion_tokens_details": ["reasoning_tokens": 0],
    ]
  }

  /// llama-server's object `timings`.
  var timingsTree: JSONTree {
    func rounded(_ value: Double) -> JSONTree {
      .number(value.isFinite ? (value * 1000).rounded() / 1000 : 0)
    }
    let computed = promptTokens - cachedTokens
    let later = max(0, generatedTokens - 1)
    return .object([
      "cache_n": .integer(cachedTokens), "prompt_n": .integer(computed), "prompt_ms": rounded(promptSeconds * 1000),
      "prompt_per_token_ms": rounded(promptSeconds * 1000 / Double(max(1, computed))),
      "prompt_per_second": rounded(promptSeconds > 0 ? Double(computed) / promptSeconds : 0),
      "predicted_n": .integer(generatedTokens), "predicted_ms": rounded(decodeSeconds * 1000),
      "predicted_per_token_ms": rounded(decodeSeconds * 1000 / Double(max(1, later))),
      "predicted_per_second": rounded(decodeSeconds > 0 ? Double(later) / decodeSeconds : 0),
      "draft_n": draftedTokens > 0 ? .integer(draftedTokens) : nil,
      "draft_n_accepted": draftedTokens > 0 ? .integer(acceptedTokens) : nil,
    ])
  }
}

/// The current time in seconds since 1970.
func secondsSince1970() -> Int { Int(WallClock.seconds) }
