import BitNetInference
package import BitNetTokenization

/// A conversation with a model. Its cache keeps the earlier turns, so each answer costs only the new words.
///
/// One answer at a time: asking again ends the answer before, of which the conversation keeps what had been said.
public actor ChatSession {
  private let model: LanguageModel
  private let template: ChatTemplate
  private let options: GenerationOptions

  /// The conversation so far, the system message first if there is one.
  public private(set) var messages: [ChatMessage] = []
  /// Counts answers, so that one that was left behind cannot write on.
  private var turn = 0
  /// The messages of the conversation that were forgotten because it had outgrown the context.
  public private(set) var forgottenMessageCount = 0

  init(model: LanguageModel, template: ChatTemplate, system: String?, options: GenerationOptions) {
    self.model = model
    self.template = template
    self.options = options
    if let system { messages = [ChatMessage(role: .system, content: system)] }
  }

  /// Asks; the answer's text arrives as it is generated.
  ///
  /// When the conversation outgrows the context, its oldest turns are forgotten (the system message stays); half of the
  /// context, or the maximum number of tokens if that is less, is kept free for the answer.
  /// - Throws: `EngineError.contextFull` when even the last message alone does not fit.
  public func respond(to text: String, options: GenerationOptions? = nil) async throws -> Generation {
    let options = options ?? self.options
    let previous = messages
    let question = ChatMessage(role: .user, content: text)
    messages.append(question)
    do {
      let room = min(options.maximumTokens ?? .max, model.contextLength / 2)
      let prompt = try fit(reserving: room)
      var turnOptions = options
      turnOptions.stopTokens.formUnion(template.stopTokens(of: model.tokenizer))
      turn += 1
      return Generation(
        model: model, prompt: prompt, options: turnOptions, chat: .init(session: self, turn: turn))
    } catch {
      messages = previous
      throw error
    }
  }

  /// Forgets the conversation and starts with another system message, or none.
  public func reset(system: String? = nil) {
    messages = system.map { [ChatMessage(role: .system, content: $0)] } ?? []
    forgottenMessageCount = 0
    turn += 1
  }

  /// Adds a piece to the answer of `turn`.
  /// - Throws: `CancellationError` when another answer, or a reset, has come after it.
  func append(_ piece: GeneratedPiece, turn: Int) throws {
    guard turn == self.turn else { throw CancellationError() }
    var tokens = piece.tokens.map(\.token)
    // The template writes the end of the turn itself.
    let ends = template.stopTokens(of: model.tokenizer).union(model.endTokens)
    if piece.finish == .stop, let last = tokens.last, ends.contains(last) { tokens.removeLast() }
    var reply = ChatMessage(reply: "", tokens: [])
    if messages.last?.role == .assistant { reply = messages.removeLast() }
    messages.append(ChatMessage(reply: reply.content + piece.text, tokens: (reply.tokens ?? []) + tokens))
  }

  /// The conversation as tokens, without its oldest turns if it is too long.
  private func fit(reserving room: Int) throws -> [Int32] {
    let count = messages.count
    while true {
      let prompt = try template.encode(messages, with: model.tokenizer)
      let first = messages.first?.role == .system ? 1 : 0
      let isLast = messages.count - first <= 1
      if prompt.count + room <= model.contextLength || (isLast && prompt.count < model.contextLength) {
        forgottenMessageCount += count - messages.count
        return prompt
      }
      if isLast { throw EngineError.contextFull(length: 0, adding: prompt.count, limit: model.contextLength) }
      messages.remove(at: first)
      // A conversation begins with a question, not with an answer to one that is gone.
      while messages.count - first > 1, messages[first].role == .assistant { messages.remove(at: first) }
    }
  }
}
