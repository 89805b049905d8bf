import BitNetInference
import BitNetServing
import BitNetTokenization

/// A conversation with a model. The cache keeps the earlier turns, so each answer costs only the new tokens.
///
/// A session answers one question at a time. A new question ends the previous answer; what it had said so far stays in
/// the conversation. A question joins the conversation with the first token of its answer: if the generation fails or
/// is never iterated, the question is not added.
public actor ChatSession {
  private let model: LanguageModel
  private let template: ChatTemplate
  private nonisolated let options: GenerationOptions

  /// The conversation so far, the system message first if there is one.
  public private(set) var messages: [ChatMessage] = []
  /// How many of the oldest messages were forgotten because the conversation had outgrown the context.
  public private(set) var forgottenMessageCount = 0
  /// Counts answers, so that an answer that was left behind cannot write on.
  private var turn = 0
  /// The tokens of the current answer, which end with it.
  private weak var stream: TokenStream?
  /// A question that has no answer yet, and the messages that its prompt holds before it.
  private var asked: (question: ChatMessage, history: [ChatMessage])?

  init(model: LanguageModel, template: ChatTemplate, system: String?, options: GenerationOptions) {
    self.model = model
    self.template = template
    self.options = options
    if let system { messages = [ChatMessage(role: .system, content: system)] }
  }

  /// Asks a question and waits for the whole answer.
  ///
  /// - Parameters:
  ///   - text: the user's message.
  ///   - options: how to generate this answer; nil takes the session's options.
  /// - Throws: what iterating ``streamResponse(to:options:)`` throws.
  public func respond(to text: String, options: GenerationOptions? = nil) async throws -> Response {
    try await streamResponse(to: text, options: options).response()
  }

  /// Asks a question; the answer arrives piece by piece as the result is iterated.
  ///
  /// When the conversation outgrows the context, its oldest turns are forgotten (the system message stays), down to half
  /// of the room where that leaves anything: the turn after that is computed anew, and the ones that follow are cached
  /// again. Half of the context, or the maximum number of tokens if that is less, stays free for the answer.
  ///
  /// Iterating throws ``BitNetError`` with ``BitNetError/Code/contextExceeded`` when even the last message alone does
  /// not fit, and `CancellationError` when another question, or ``reset(system:)``, comes before the answer's end.
  ///
  /// - Parameters:
  ///   - text: the user's message.
  ///   - options: how to generate this answer; nil takes the session's options.
  public nonisolated func streamResponse(to text: String, options: GenerationOptions? = nil) -> Generation {
    Generation(model: model, source: .chat(self, question: text), options: options ?? self.options)
  }

  /// Forgets the conversation, except for its system message, and starts a new one.
  public func reset() {
    reset(system: messages.first.flatMap { $0.role == .system ? $0.content : nil })
  }

  /// Forgets the conversation and starts a new one.
  ///
  /// - Parameter system: the new conversation's system message; nil for none.
  public func reset(system: String?) {
    messages = system.map { [ChatMessage(role: .system, content: $0)] } ?? []
    (asked, forgottenMessageCount) = (nil, 0)
    endAnswer()
  }

  /// An answer under way.
  struct Answer: Sendable {
    fileprivate let session: ChatSession
    fileprivate let turn: Int
    let prompt: [TokenID]
    let stopTokens: Set<TokenID>

    /// Lets the session end the stream when another answer, or a reset, comes after this one.
    func attach(_ stream: TokenStream) async { await session.attach(stream, turn: turn) }

    /// - Parameter endsWithToken: whether the piece's token ended the answer and is not part of its text.
    /// - Throws: `CancellationError` when another answer, or a reset, has come after this one.
    func append(_ piece: GeneratedPiece, endsWithToken: Bool) async throws {
      try await session.append(piece, endsWithToken: endsWithToken, turn: turn)
    }
  }

  /// Ends the previous answer and makes the prompt of the next one; nothing else changes before its first token.
  func begin(_ text: String, maximumTokens: Int?) throws -> Answer {
    let question = ChatMessage(role: .user, content: text)
    let room = min(maximumTokens ?? .max, model.contextLength / 2)
    let (history, prompt) = try fit(question, reserving: room)
    endAnswer()
    asked = (question, history)
    return Answer(session: self, turn: turn, prompt: prompt, stopTokens: template.stopTokens(of: model.tokenizer))
  }

  private func endAnswer() {
    turn += 1
    stream?.cancel()
    stream = nil
  }

  private func attach(_ stream: TokenStream, turn: Int) {
    if turn == self.turn { self.stream = stream } else { stream.cancel() }
  }

  private func append(_ piece: GeneratedPiece, endsWithToken: Bool, turn: Int) throws {
    guard turn == self.turn else { throw CancellationError() }
    if let (question, history) = asked {
      forgottenMessageCount += messages.count - history.count
      messages = history + [question, ChatMessage(reply: "", tokens: [])]
      asked = nil
    }
    let reply = messages.removeLast()
    let content = reply.content + piece.text
    if piece.finish == .stop, !endsWithToken {
      // A stop text cut the answer somewhere in its tokens.
      messages.append(ChatMessage(role: .assistant, content: content))
    } else {
      // The template writes the end of the turn itself.
      let tokens = (reply.tokens ?? []) + (endsWithToken ? [] : [piece.token.token])
      messages.append(ChatMessage(reply: content, tokens: tokens))
    }
  }

  /// The conversation with a question as tokens, without the oldest turns if it is too long, and the messages kept.
  private func fit(_ question: ChatMessage, reserving room: Int) throws -> ([ChatMessage], [TokenID]) {
    let limit = model.contextLength - room
    var history = messages
    let first = history.first?.role == .system ? 1 : 0
    var prompt = try template.encode(history + [question], with: model.tokenizer)
    if prompt.count <= limit { return (history, prompt) }
    // Every message that goes changes the prompt's beginning, and with it all that the cache holds: so many go at once.
    var longest: ([ChatMessage], [TokenID])?
    while prompt.count > limit / 2, history.count > first {
      history.remove(at: first)
      // A conversation begins with a question, not with an answer to one that is gone.
      while history.count > first, history[first].role == .assistant { history.remove(at: first) }
      prompt = try template.encode(history + [question], with: model.tokenizer)
      if longest == nil, prompt.count <= limit, history.count > first { longest = (history, prompt) }
    }
    if history.count == first, let longest { return longest }
    guard prompt.count < model.contextLength else {
      throw EngineError.contextFull(length: 0, adding: prompt.count, limit: model.contextLength)
    }
    return (history, prompt)
  }
}
