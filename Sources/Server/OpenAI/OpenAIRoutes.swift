import BitNet
import BitNetInference
import BitNetJSON
import BitNetTokenization

/// OpenAI's interface: chats, completions and models.
package struct OpenAIRoutes: Sendable {
  private let core: ServerCore

  package init(_ core: ServerCore) { self.core = core }

  package var routes: [Route] {
    [
      Route("POST", "/v1/chat/completions") { try await chat($0) },
      Route("POST", "/v1/completions") { try await completion($0) },
      Route("GET", "/v1/models") { _ in try .json(models) },
      Route("GET", "/v1/models/{model...}") { exchange in
        let name = exchange.parameters["model"]
        if let served = try? core.catalog.findEmbedder(name) { return try .json(Self.tree(served)) }
        return try .json(Self.tree(try core.catalog.find(name)))
      },
    ]
  }

  private func chat(_ exchange: Exchange) async throws -> Reply {
    let request = try ChatCompletionRequest(exchange.json(), core.catalog)
    let answer = try await core.start(request.answer, on: request.served)
    let encoder = ChatCompletionEncoder(
      head: head("chatcmpl-", exchange, request.served, request.modelName), choiceCount: request.answer.choiceCount,
      hasLogProbabilities: request.answer.logProbabilities != nil, stream: request.stream, calls: request.callForm)
    guard request.stream != nil else {
      let (choices, usage) = try await answer.collect(request.answer.choiceCount)
      return try .json(encoder.whole(choices, usage))
    }
    return .events { sink in
      for chunk in encoder.opening() { try await sink.sendEvent(chunk) }
      try await stream(answer, to: sink, encoder.chunk, encoder.closing)
    }
  }

  private func completion(_ exchange: Exchange) async throws -> Reply {
    let request = try CompletionRequest(exchange.json(), core.catalog)
    let answer = try await core.start(request.answer, on: request.served)
    let count = request.answer.prompts.count * request.answer.choiceCount
    let encoder = CompletionEncoder(
      head: head("cmpl-", exchange, request.served, request.modelName), choiceCount: count,
      echoes: request.echoes.map { $0.flatMap { [String](repeating: $0, count: request.answer.choiceCount) } },
      alternatives: request.answer.logProbabilities, stream: request.stream)
    guard request.stream != nil else {
      let (choices, usage) = try await answer.collect(count)
      var encoder = encoder
      return try .json(encoder.whole(choices, usage))
    }
    return .events { sink in
      var encoder = encoder
      for chunk in encoder.opening() { try await sink.sendEvent(chunk) }
      try await stream(answer, to: sink, { encoder.chunk($0) }, encoder.closing)
    }
  }

  /// Sends the events of an answer, its usage and the end. An error becomes the last event.
  private func stream(
    _ answer: Answer, to sink: any ReplySink, _ chunk: (AnswerEvent) -> JSONTree?,
    _ closing: (AnswerUsage) -> JSONTree?
  ) async throws {
    do {
      let usage = try await answer.run(pinging: core.settings.pingInterval) { event in
        if case .idle = event.kind { return try await sink.sendComment() }
        if let tree = chunk(event) { try await sink.sendEvent(tree) }
      }
      if let tree = closing(usage) { try await sink.sendEvent(tree) }
      try await sink.send(Array("data: [DONE]\n\n".utf8))
    } catch  where !(error is CancellationError || Task.isCancelled) {
      try await sink.sendEvent(RequestError.openAITree(RequestError(error)))
    }
  }

  private func head(
    _ prefix: String, _ exchange: Exchange, _ served: ServedModel, _ name: String
  ) -> OpenAIHead {
    OpenAIHead(
      id: prefix + exchange.id, created: secondsSince1970(), model: name, fingerprint: served.fingerprint)
  }

  private var models: JSONTree {
    let all = core.catalog.models.map { Self.tree($0) } + core.catalog.embedders.map { Self.tree($0) }
    return ["object": "list", "data": .array(all)]
  }

  private static func tree(_ served: ServedModel) -> JSONTree {
    [
      "id": .string(served.name), "object": "model", "created": .integer(served.created), "owned_by": "swift-bitnet",
      "root": .string(served.name), "parent": .null, "max_model_len": .integer(served.model.contextLength),
      "aliases": .array(served.aliases.map { .string($0) }),
      "meta": [
        "architecture": .string(served.model.architecture), "n_ctx_train": .integer(served.model.contextLength),
        "n_vocab": .integer(served.model.configuration.vocabularySize),
        "n_params": .integer(served.model.parameterCount),
      ],
    ]
  }

  private static func tree(_ served: ServedEmbedder) -> JSONTree {
    let embedder = served.embedder
    return [
      "id": .string(served.name), "object": "model", "created": .integer(served.created), "owned_by": "swift-bitnet",
      "root": .string(served.name), "parent": .null, "max_model_len": .integer(embedder.contextLength),
      "aliases": .array(served.aliases.map { .string($0) }),
      "meta": [
        "architecture": .string(embedder.configuration.architecture),
        "n_ctx_train": .integer(embedder.contextLength), "n_vocab": .integer(embedder.configuration.vocabularySize),
        "n_params": .integer(embedder.configuration.parameterCount), "n_embd": .integer(embedder.dimension),
      ],
    ]
  }
}
