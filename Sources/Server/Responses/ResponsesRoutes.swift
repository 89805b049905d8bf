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
      id: exchange.id, created: secondsSince1970(), model: request.modelName, echoed: request.echoed,
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
