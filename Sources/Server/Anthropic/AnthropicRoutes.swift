import BitNetJSON

/// Anthropic's interface: messages, without memory and without tools that run here.
package struct AnthropicRoutes: Sendable {
  private let core: ServerCore

  package init(_ core: ServerCore) { self.core = core }

  package var routes: [Route] {
    [
      Route("POST", "/v1/messages", errors: .anthropic) { try await message($0) },
      Route("POST", "/v1/messages/count_tokens", errors: .anthropic) { exchange in
        var fields = try exchange.json().fields()
        let tokens = try AnthropicRequest.Prompt(&fields, core.catalog).tokens
        return try .json(["input_tokens": .integer(tokens.count)])
      },
    ]
  }

  private func message(_ exchange: Exchange) async throws -> Reply {
    let request = try AnthropicRequest(exchange.json(), core.catalog)
    let answer = try await core.start(request.answer, on: request.served)
    let encoder = AnthropicEncoder(
      id: exchange.id, model: request.modelName, promptTokens: request.answer.prompts[0].count,
      mayCall: request.answer.calls != nil)
    guard request.isStreamed else {
      var encoder = encoder
      let usage = try await answer.run { _ = encoder.events($0) }
      return try .json(encoder.finished(usage))
    }
    return .events { sink in
      var encoder = encoder
      do {
        for event in encoder.opening() { try await sink.sendTyped(event) }
        let usage = try await answer.run(pinging: core.settings.pingInterval) { event in
          for tree in encoder.events(event) { try await sink.sendTyped(tree) }
        }
        for event in encoder.closing(usage) { try await sink.sendTyped(event) }
      } catch {
        if error is CancellationError || Task.isCancelled { throw error }
        try await sink.sendTyped(RequestError(error).anthropicTree)
      }
    }
  }
}

extension ReplySink {
  /// Sends an event whose name is its member `type`.
  func sendTyped(_ event: JSONTree) async throws {
    var name: String?
    if case .object(let members) = event, case .string(let type)? = members.first(where: { $0.name == "type" })?.value {
      name = type
    }
    try await sendEvent(event, name: name)
  }
}
