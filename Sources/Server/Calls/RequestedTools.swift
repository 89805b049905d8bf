import BitNet
import BitNetConstraints
import BitNetJSON
import BitNetTokenization
import BitNetToolCalls

/// The functions of a request, in whichever dialect it came, and what it says about calling them.
struct RequestedTools: Sendable {
  struct Tool: Sendable {
    let name: String
    /// In OpenAI's form, which templates of models read.
    let tree: JSONTree
    /// The schema of the arguments.
    let schema: [UInt8]
    /// The field that has the schema.
    let path: String
  }

  var tools: [Tool] = []
  var choice = ToolChoice.auto
  /// The names that may be called; nil for all.
  var allowed: Set<String>?
  /// Whether an answer may have several calls.
  var isParallel = true

  private var shown: [JSONTree] { choice == .none ? [] : tools.map(\.tree) }

  /// The chat with its functions, as the model's template writes it or, where that has no tools, in texts.
  func chat(_ chat: ChatInput, for served: ServedModel) -> ChatInput {
    guard served.toolStyle != nil else {
      let plain = ToolPrompt.plain(chat, tools: shown)
      guard !shown.isEmpty, let template = try? served.chatTemplate(), (try? template.prompt(for: plain)) == nil else {
        return plain
      }
      return ToolPrompt.plain(chat, tools: shown, inUser: true)
    }
    var chat = chat
    if !shown.isEmpty { chat.tools = shown }
    return chat
  }

  /// Tells an answer which calls it may or must have, and its form.
  ///
  /// - Parameter prefix: the beginning of the calls' identifiers in the dialect.
  /// - Throws: `RequestError` naming the field of a schema that cannot be used.
  func apply(_ format: AnswerFormat?, to answer: inout AnswerRequest, _ served: ServedModel, prefix: String) throws {
    let callable = tools.filter { allowed?.contains($0.name) ?? true }
    let functions = callable.map { ToolFunction(name: $0.name, parameters: $0.schema) }
    guard
      let use = ToolUse(
        functions, choice: choice, shown: served.toolStyle, isParallel: isParallel, format: format?.text)
    else {
      answer.constraint = try format?.constraint(served)
      return
    }
    answer.calls = AnswerCalls(use: use, prefix: prefix)
    if use.isForced {
      // The call leaves no room for the format, but a wrong format is still an error.
      _ = try format?.constraint(served)
      // A call is complete in any case: nothing ends it before.
      answer.stopTexts = []
      answer.ignoresEndTokens = false
    }
    guard let constraint = use.constraint else { return }
    do {
      answer.constraint = try served.model.constraints.constraint(constraint)
    } catch let error as ConstraintError {
      _ = try format?.constraint(served)
      throw fault(error, in: callable)
    }
  }

  /// The error of the schema that is at fault, as long as that is found soon; otherwise of all together.
  private func fault(_ error: ConstraintError, in callable: [Tool]) -> RequestError {
    let deadline = ContinuousClock.now + .milliseconds(200)
    for tool in callable where .now < deadline {
      if case .named(let name) = choice, name != tool.name { continue }
      do {
        try TextConstraint(schema: tool.schema).check()
      } catch {
        return .schema(error, path: tool.path)
      }
    }
    return .schema(error, path: "tools")
  }
}

/// How calls of functions in an answer are read and named.
package struct AnswerCalls: Sendable {
  let use: ToolUse
  /// The beginning of the calls' identifiers.
  let prefix: String
}
