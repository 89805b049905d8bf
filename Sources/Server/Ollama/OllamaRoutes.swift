import BitNet
import BitNetJSON

/// Ollama's interface: chats, texts, and what there is.
package struct OllamaRoutes: Sendable {
  private let core: ServerCore

  package init(_ core: ServerCore) { self.core = core }

  package var routes: [Route] {
    let models = core.catalog.models
    return [
      Route("GET", "/api/version", needsKey: false, errors: .ollama) { _ in
        try .json(["version": .string(packageVersion)])
      },
      Route("GET", "/api/tags", errors: .ollama) { _ in
        try .json(["models": .array(models.map { OllamaModels.tag($0) })])
      },
      Route("GET", "/api/ps", errors: .ollama) { _ in
        try .json(["models": .array(models.map { OllamaModels.running($0) })])
      },
      Route("POST", "/api/show", takesAnyType: true, errors: .ollama) { exchange in
        var fields = try exchange.json().fields()
        // Older clients write `name`.
        let name = try (fields["model"].ifPresent ?? fields["name"].ifPresent ?? fields["model"]).string()
        return try .json(OllamaModels.description(try OllamaRequest.find(name, core.catalog)))
      },
      Route("POST", "/api/chat", takesAnyType: true, errors: .ollama) { try await answer(.chat, $0) },
      Route("POST", "/api/generate", takesAnyType: true, errors: .ollama) { try await answer(.generate, $0) },
    ]
  }

  private func answer(_ kind: OllamaRequest.Kind, _ exchange: Exchange) async throws -> Reply {
    let start = ContinuousClock.now
    let request = try OllamaRequest(kind, exchange.json(), core.catalog)
    let encoder = OllamaEncoder(kind, model: request.modelName, start: start)
    guard let wanted = request.answer else { return try .json(encoder.loaded()) }
    let answer = try await core.start(wanted, on: request.served)
    guard request.isStreamed else {
      let (choices, usage) = try await answer.collect(1)
      return try .json(encoder.whole(choices[0], usage))
    }
    return .lines { sink in
      var encoder = encoder
      do {
        let usage = try await answer.run(pinging: core.settings.pingInterval) { event in
          if let tree = encoder.line(event) { try await sink.sendLine(tree) }
        }
        try await sink.sendLine(encoder.closing(usage))
      } catch {
        if error is CancellationError || Task.isCancelled { throw error }
        try await sink.sendLine(RequestError(error).ollamaTree)
      }
    }
  }
}

extension ErrorForm {
  /// `{"error": "…"}`
  package static let ollama = ErrorForm { error in (try? error.ollamaTree.serialized()) ?? [] }
}

extension RequestError {
  var ollamaTree: JSONTree { ["error": .string(message)] }
}

extension Reply {
  /// JSON, one value a line.
  static func lines(_ body: @escaping @Sendable (any ReplySink) async throws -> Void) -> Reply {
    Reply(
      headers: [.init("Cache-Control", "no-cache"), .init("X-Accel-Buffering", "no")],
      body: .stream(contentType: "application/x-ndjson", body))
  }
}

extension ReplySink {
  func sendLine(_ tree: JSONTree) async throws { try await send(try tree.serialized() + [UInt8(ascii: "\n")]) }
}
