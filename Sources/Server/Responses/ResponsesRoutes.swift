import BitNetJSON

/// OpenAI's responses, without memory: each request brings the whole conversation.
package struct ResponsesRoutes: Sendable {
  private let core: ServerCore

  package init(_ core: ServerCore) { self.core = core }

  package var routes: [Route] { [Route("POST", "/v1/responses") { try await response($0) }] }

  private func response(_ exchange: Exchange) async throws -> Reply {
    let request = try ResponsesRequest(exchange.json(), core.catalog)
    let answer = try await core.start(request.answer, on: request.served)
    let encoder = ResponsesEncoder(
      id: exchange.id, created: secondsSince1970(), model: request.modelName, echoed: request.echoed)
    guard request.isStreamed else {
      let (choices, usage) = try await answer.collect(1)
      var encoder = encoder
      return try .json(encoder.whole(choices[0], usage))
    }
    return .events { sink in
      var encoder = encoder
      do {
        for event in encoder.opening() { try await sink.sendTyped(event) }
        let usage = try await answer.run(pinging: core.settings.pingInterval) { event in
          if case .idle = event.kind { try await sink.sendComment() }
          for tree in encoder.events(event) { try await sink.sendTyped(tree) }
        }
        try await sink.sendTyped(encoder.closing(usage))
      } catch {
        if error is CancellationError || Task.isCancelled { throw error }
        try await sink.sendTyped(encoder.failure(RequestError(error)))
      }
    }
  }
}
