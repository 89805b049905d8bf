package import BitNetConstraints
import BitNetJSON

/// A function that a model may call.
package struct ToolFunction: Sendable, Equatable {
  package var name: String
  /// The JSON schema of the arguments; nil for any object.
  package var parameters: [UInt8]?

  package init(name: String, parameters: [UInt8]? = nil) { (self.name, self.parameters) = (name, parameters) }
}

/// A call that a model made.
package struct ToolCall: Sendable, Equatable {
  package var name: String
  /// A JSON object, as the model wrote it.
  package var arguments: String

  package init(name: String, arguments: String) { (self.name, self.arguments) = (name, arguments) }
}

/// Whether and what a model must call.
package enum ToolChoice: Sendable, Equatable {
  case none, auto, required
  case named(String)
}

/// How models write calls.
package enum ToolCallStyle: Sendable, Equatable {
  /// Hermes, Qwen: `<tool_call>`, an object with name and arguments, `</tool_call>`; one for each call.
  case hermes
  /// Falcon3: `<tool_call>`, an array of such objects, `</tool_call>`.
  case falcon
  /// Llama 3: an object with name and parameters as the whole answer, sometimes after `<|python_tag|>`; calls are
  /// separated by semicolons.
  case llama3
  /// Mistral: `[TOOL_CALLS]` and an array of objects with name and arguments.
  case mistral
  /// A model that knows no tools: an object with name and arguments as the whole answer.
  case object
  /// The same where only one function may be called: its arguments as the whole answer.
  case arguments(of: String)

  /// The style that a chat template shows; nil for a template that writes no tools.
  ///
  /// - Parameter jinja: the template's text.
  package init?(template jinja: String) {
    func has(_ part: String) -> Bool { jinja.contains(part) }
    if has("[TOOL_CALLS]") {
      self = .mistral
    } else if has("<tool_call>") {
      self = has("<tool_call>\\n[") || has("<tool_call>\n[") ? .falcon : .hermes
    } else if has("<|start_header_id|>") && has("tools") {
      self = .llama3
    } else {
      return nil
    }
  }

  /// What comes before and after the arguments in a call.
  private func frame(_ name: String) -> (before: String, after: String) {
    let quoted = String(decoding: (try? JSONTree.string(name).serialized()) ?? [], as: UTF8.self)
    return switch self {
    case .hermes: ("<tool_call>\n{\"name\": \(quoted), \"arguments\": ", "}\n</tool_call>")
    case .falcon: ("<tool_call>\n[{\"name\": \(quoted), \"arguments\": ", "}]\n</tool_call>")
    case .llama3: ("{\"name\": \(quoted), \"parameters\": ", "}")
    case .mistral: ("[TOOL_CALLS] [{\"name\": \(quoted), \"arguments\": ", "}]")
    case .object: ("{\"name\": \(quoted), \"arguments\": ", "}")
    case .arguments: ("", "")
    }
  }

  /// A text that is one call of one of these functions.
  package func constraint(calling functions: [ToolFunction]) -> TextConstraint {
    TextConstraint(
      alternatives: functions.map { function in
        let (before, after) = frame(function.name)
        let arguments = TextConstraint.Part.json(schema: function.parameters ?? Array(#"{"type":"object"}"#.utf8))
        return [.text(before), arguments, .text(after)]
      })
  }
}

/// What a request's tools mean for its answer.
package struct ToolUse: Sendable {
  /// How calls are written; nil if the answer is a text in any case.
  package let style: ToolCallStyle?
  /// The form that the answer must have; nil where the model decides.
  package let constraint: TextConstraint?
  private let names: Set<String>

  /// - Parameters:
  ///   - template: the text of the model's chat template.
  /// - Returns: nil for a choice of a function that is not among those given, or of one where none are given.
  package init?(_ functions: [ToolFunction], choice: ToolChoice, template: String?) {
    let shown = template.flatMap { ToolCallStyle(template: $0) }
    names = Set(functions.map(\.name))
    switch choice {
    case .none: (style, constraint) = (nil, nil)
    case .auto: (style, constraint) = (functions.isEmpty ? nil : shown, nil)
    case .required:
      guard !functions.isEmpty else { return nil }
      let style = shown ?? (functions.count == 1 ? .arguments(of: functions[0].name) : .object)
      (self.style, constraint) = (style, style.constraint(calling: functions))
    case .named(let name):
      guard let function = functions.first(where: { $0.name == name }) else { return nil }
      let style = shown ?? .arguments(of: name)
      (self.style, constraint) = (style, style.constraint(calling: [function]))
    }
  }

  /// Reads the calls in an answer; nil where it is a text in any case.
  package var parser: ToolCallParser? { style.map { ToolCallParser($0, functions: names) } }
}
