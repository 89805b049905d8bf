package import BitNetConstraints
import BitNetJSON

/// How models write calls of functions.
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
  /// A model whose template has no tools: an object with name and arguments as the whole answer, or several.
  /// ``ToolPrompt`` asks for it.
  case object

  /// The style that a chat template shows; nil for a template that writes no tools, or writes calls in another way.
  ///
  /// - Parameter jinja: the template's text.
  package init?(template jinja: String) {
    func has(_ part: String) -> Bool { jinja.contains(part) }
    if has("[TOOL_CALLS]") {
      // Later models of Mistral write the name before the brackets.
      guard !has("[ARGS]") else { return nil }
      self = .mistral
    } else if has("<tool_call>") {
      // GLM, Qwen3-Coder and Qwen 3.5 have tags inside instead of JSON.
      guard !has("<arg_key>"), !has("<function=") else { return nil }
      self = has("<tool_call>\\n[") || has("<tool_call>\n[") ? .falcon : .hermes
    } else if has("<|start_header_id|>"), has("tools"), has("\"parameters\"") {
      self = .llama3
    } else {
      return nil
    }
  }

  /// Texts of the calls' form that may be special tokens, whose text must not be left out of an answer.
  package var markers: [String] {
    switch self {
    case .hermes, .falcon: ["<tool_call>", "</tool_call>"]
    case .mistral: ["[TOOL_CALLS]"]
    case .llama3: ["<|python_tag|>"]
    case .object: []
    }
  }

  /// What begins a call inside a text; nil where a call is the whole answer.
  var opening: [UInt8]? {
    switch self {
    case .hermes, .falcon: Array("<tool_call>".utf8)
    case .mistral: Array("[TOOL_CALLS]".utf8)
    case .llama3, .object: nil
    }
  }

  /// What ends a call; nil if nothing does.
  var closing: [UInt8]? {
    switch self {
    case .hermes, .falcon: Array("</tool_call>".utf8)
    case .llama3: Array(";".utf8)
    case .mistral, .object: nil
    }
  }

  /// The text before and after the arguments in a call.
  private func frame(_ name: String) -> (before: String, after: String) {
    let quoted = String(decoding: (try? JSONTree.string(name).serialized()) ?? [], as: UTF8.self)
    return switch self {
    case .hermes: ("<tool_call>\n{\"name\": \(quoted), \"arguments\": ", "}\n</tool_call>")
    case .falcon: ("<tool_call>\n[{\"name\": \(quoted), \"arguments\": ", "}]\n</tool_call>")
    case .llama3: ("{\"name\": \(quoted), \"parameters\": ", "}")
    case .mistral: ("[TOOL_CALLS] [{\"name\": \(quoted), \"arguments\": ", "}]")
    case .object: ("{\"name\": \(quoted), \"arguments\": ", "}")
    }
  }

  /// A text that is one call of one of these functions.
  package func constraint(calling functions: [ToolFunction]) -> TextConstraint {
    TextConstraint(
      alternatives: functions.map { function in
        let (before, after) = frame(function.name)
        return [.text(before), .json(schema: function.parameters), .text(after)]
      })
  }
}
