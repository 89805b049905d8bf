package import BitNet
import BitNetInference
import BitNetServing

/// What the routes of all dialects share.
package struct ServerCore: Sendable {
  package struct Settings: Sendable {
    /// After how much time without an event a stream gets a comment.
    package var pingInterval = Duration.seconds(15)
    /// The longest time that a request may take; nil for no limit.
    package var timeLimit: Duration?
    /// The most tokens of one choice; nil for the context's length.
    package var tokenLimit: Int?
    /// Signs receipts; nil for receipts without a signature.
    package var receiptKey: ReceiptKey?

    package init() {}
  }

  package let catalog: ModelCatalog
  package let settings: Settings
  package let state = ServerState()
  package let metrics = ServerMetrics()

  package init(_ catalog: ModelCatalog, settings: Settings = .init()) {
    self.catalog = catalog
    self.settings = settings
  }

  /// Starts an answer within the server's limits.
  ///
  /// - Throws: what `RequestError` can be made of.
  package func start(_ request: AnswerRequest, on served: ServedModel) async throws -> Answer {
    var request = request
    request.receiptKey = settings.receiptKey
    let vocabulary = served.model.configuration.vocabularySize
    if let bias = request.biases.last(where: { $0.token >= vocabulary }) {
      throw RequestError.invalid(
        "logit_bias has the token \(bias.token); expected tokens from 0 to \(vocabulary - 1)", parameter: "logit_bias")
    }
    let (count, room) = (request.prompts.count * request.choiceCount, await served.model.scheduler.room)
    guard count <= room else {
      throw RequestError.invalid(
        "the request asks for \(count) texts, prompts times n; expected at most \(room), which this server runs or lets "
          + "wait", parameter: request.choiceCount > 1 ? "n" : "prompt")
    }
    guard request.constraint == nil || !request.ignoresEndTokens || !request.stopTokens.isEmpty else {
      throw RequestError.invalid(
        "ignore_eos is true beside a format of the text; expected false, as the format says where the text ends",
        parameter: "ignore_eos")
    }
    if let limit = settings.tokenLimit { request.maximumTokens = min(request.maximumTokens ?? limit, limit) }
    if let limit = settings.timeLimit { request.deadline = .now + limit }
    served.metrics.choiceCount.observe(Double(request.choiceCount))
    if let most = request.maximumTokens { served.metrics.mostTokens.observe(Double(most)) }
    do {
      return try await Answer(request, on: served)
    } catch let error as SchedulerError {
      if case .queueFull = error { served.metrics.rejections.add() }
      if case .nothingAllowed = error, request.calls != nil {
        throw RequestError.invalid(error.description, parameter: "tools")
      }
      if case .nothingAllowed = error, !request.stopTokens.isEmpty {
        throw RequestError.invalid(error.description, parameter: "stop_token_ids")
      }
      throw error
    }
  }
}
