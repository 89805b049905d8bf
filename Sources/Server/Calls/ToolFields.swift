import BitNetJSON
import BitNetTokenization
import BitNetToolCalls

/// Reads functions and choices among them, which each dialect writes in its own form.
enum ToolFields {
  private static let mostTools = 512
  private static let longestName = 256
  /// A function without parameters.
  private static let noParameters = #"{"type":"object","properties":{},"additionalProperties":false}"#

  // MARK: OpenAI

  /// `tools`, `tool_choice` and `parallel_tool_calls` of chats, and the older `functions` and `function_call`.
  ///
  /// - Throws: `JSONError` or `RequestError` naming the field.
  static func chat(_ fields: inout JSONFields) throws -> RequestedTools {
    var requested = RequestedTools()
    requested.tools = try list(fields["tools"]) { tool in
      let function = try checkedFunction(tool)
      return try read(function, parameters: "parameters")
    }
    if let parallel = fields["parallel_tool_calls"].ifPresent { requested.isParallel = try parallel.bool() }
    let choice = fields["tool_choice"]
    try openAIChoice(choice, into: &requested) { option in try option["function"]["name"] }
    let older = try list(fields["functions"]) { try read($0, parameters: "parameters") }
    guard !older.isEmpty else { return requested }
    guard requested.tools.isEmpty else {
      throw RequestError.invalid("functions is given beside tools; expected tools alone", parameter: "functions")
    }
    requested = RequestedTools()
    requested.tools = older
    requested.isParallel = false
    let call = fields["function_call"]
    if call.ifPresent?.kind == .object {
      let name = try call["name"]
      requested.choice = try .named(known(name, requested))
    } else if let mode = try call.ifPresent?.string() {
      switch mode {
      case "none": requested.choice = .none
      case "auto": break
      default: throw RequestError.unsupported(call, expected: "\"none\", \"auto\" or an object with a name")
      }
    }
    return requested
  }

  /// Whether functions come in the older fields, in which case calls must as well.
  static func isOlder(_ fields: inout JSONFields) -> Bool {
    guard let list = fields["functions"].ifPresent, var elements = try? list.elements() else { return false }
    return elements.next() != nil
  }

  /// `tools`, `tool_choice` and `parallel_tool_calls` of responses.
  static func responses(_ fields: inout JSONFields) throws -> RequestedTools {
    var requested = RequestedTools()
    requested.tools = try list(fields["tools"]) { tool in
      try checkType(tool, expected: "function")
      return try read(tool, parameters: "parameters")
    }
    if let parallel = fields["parallel_tool_calls"].ifPresent { requested.isParallel = try parallel.bool() }
    try openAIChoice(fields["tool_choice"], into: &requested) { option in try option["name"] }
    return requested
  }

  /// - Parameter name: the name in an object of the type `function`.
  private static func openAIChoice(
    _ field: JSONValue, into requested: inout RequestedTools, name: (JSONValue) throws -> JSONValue
  ) throws {
    guard let field = field.ifPresent else { return }
    if field.kind == .string {
      requested.choice = try choice(field, mode: field)
    } else {
      let type = try field["type"]
      switch try type.string() {
      case "function": requested.choice = try .named(known(name(field), requested))
      case "allowed_tools":
        // Chats nest the list, responses do not.
        let list = try field["allowed_tools"].ifPresent ?? field
        requested.choice = try choice(field, mode: list["mode"])
        var allowed: Set<String> = []
        for option in try list["tools"].elements() {
          try checkType(option, expected: "function")
          allowed.insert(try known(name(option), requested))
        }
        requested.allowed = allowed
      default: throw RequestError.unsupported(type, expected: "\"function\" or \"allowed_tools\"")
      }
    }
    try requireTools(requested, field)
  }

  private static func choice(_ field: JSONValue, mode: JSONValue) throws -> ToolChoice {
    switch try mode.string() {
    case "none" where field.kind == .string: .none
    case "auto": .auto
    case "required": .required
    default:
      throw RequestError.unsupported(
        mode, expected: (field.kind == .string ? "\"none\", " : "") + "\"auto\" or \"required\"")
    }
  }

  // MARK: Anthropic

  /// `tools` and `tool_choice` of messages.
  static func anthropic(_ fields: inout JSONFields) throws -> RequestedTools {
    var requested = RequestedTools()
    requested.tools = try list(fields["tools"]) { tool in
      try checkType(tool, expected: "custom")
      return try read(tool, parameters: "input_schema", isRequired: true)
    }
    guard let field = fields["tool_choice"].ifPresent else { return requested }
    let type = try field["type"]
    switch try type.string() {
    case "none": requested.choice = .none
    case "auto": requested.choice = .auto
    case "any": requested.choice = .required
    case "tool": requested.choice = try .named(known(field["name"], requested))
    default: throw RequestError.unsupported(type, expected: "\"auto\", \"any\", \"tool\" or \"none\"")
    }
    if let single = try field["disable_parallel_tool_use"].ifPresent { requested.isParallel = try !single.bool() }
    try requireTools(requested, field)
    return requested
  }

  // MARK: Ollama

  /// `tools` of Ollama's chats, which have no choice.
  static func ollama(_ fields: inout JSONFields) throws -> RequestedTools {
    var requested = RequestedTools()
    requested.tools = try list(fields["tools"]) { try read(checkedFunction($0), parameters: "parameters") }
    return requested
  }

  // MARK: Parts

  private static func list(
    _ field: JSONValue, _ read: (JSONValue) throws -> RequestedTools.Tool
  ) throws -> [RequestedTools.Tool] {
    guard let field = field.ifPresent else { return [] }
    var tools: [RequestedTools.Tool] = []
    var names: Set<String> = []
    for element in try field.elements() {
      guard tools.count < mostTools else {
        throw RequestError.invalid(
          "\(field.path) has more than \(mostTools) elements; expected at most \(mostTools)", parameter: field.path)
      }
      let tool = try read(element)
      guard names.insert(tool.name).inserted else {
        throw RequestError.invalid(
          "\(element.path) has the name \(quoted(tool.name)) of another function; expected a name of its own",
          parameter: element.path)
      }
      tools.append(tool)
    }
    return tools
  }

  /// The member `function` of a tool.
  private static func checkedFunction(_ tool: JSONValue) throws -> JSONValue {
    try checkType(tool, expected: "function")
    return try tool["function"]
  }

  /// A type may be left out.
  private static func checkType(_ tool: JSONValue, expected: String) throws {
    guard let type = try tool["type"].ifPresent, try type.string() != expected else { return }
    throw RequestError.unsupported(type, expected: quoted(expected))
  }

  private static func read(
    _ function: JSONValue, parameters field: String, isRequired: Bool = false
  ) throws -> RequestedTools.Tool {
    let nameField = try function["name"]
    let name = try nameField.string()
    guard 1...longestName ~= name.utf8.count else {
      throw nameField.error(found: "\(name.utf8.count) bytes long", expected: "1 to \(longestName) bytes")
    }
    var members: [JSONTree.Member] = [.init("name", .string(name))]
    if let description = try function["description"].ifPresent {
      members.append(.init("description", .string(try description.string())))
    }
    let parameters = try function[field]
    if isRequired { _ = try parameters.members() }
    let tree = try parameters.ifPresent.map { try JSONTree($0) } ?? ["type": "object", "properties": [:]]
    members.append(.init("parameters", tree))
    return RequestedTools.Tool(
      name: name, tree: ["type": "function", "function": .object(members)], schema: try schema(parameters),
      path: parameters.path)
  }

  /// The schema of a function's arguments, which are an object in any case.
  private static func schema(_ parameters: JSONValue) throws -> [UInt8] {
    guard let parameters = parameters.ifPresent else { return Array(noParameters.utf8) }
    var members = Array(try parameters.members())
    if let type = members.first(where: { $0.name.hasName("type") })?.value {
      guard type.kind == .string, type.hasName("object") else {
        throw RequestError.unsupported(type, expected: "\"object\"")
      }
      members.removeAll { $0.name.hasName("type") }
    }
    // A function that lists no parameters has none.
    let saysNothing = try members.allSatisfy { name, value in
      switch try name.string() {
      case "properties": value.kind == .object ? try Array(value.members()).isEmpty : false
      case "required": value.kind == .array ? try Array(value.elements()).isEmpty : false
      case "title", "description", "$schema": true
      default: false
      }
    }
    if saysNothing { return Array(noParameters.utf8) }
    let text = members.map { name, value in
      let isString = value.kind == .string
      return "\"\(String(decoding: name.text, as: UTF8.self))\":" + (isString ? "\"" : "")
        + String(decoding: value.text, as: UTF8.self) + (isString ? "\"" : "")
    }
    return Array("{\"type\":\"object\",\(text.joined(separator: ","))}".utf8)
  }

  /// The name in a choice.
  ///
  /// - Throws: `RequestError` if no function has it.
  private static func known(_ field: JSONValue, _ requested: RequestedTools) throws -> String {
    let name = try field.string()
    guard requested.tools.contains(where: { $0.name == name }) else {
      throw RequestError.invalid(
        "\(field.path) is \(quoted(name)); expected the name of one of the request's functions", parameter: field.path)
    }
    return name
  }

  private static func requireTools(_ requested: RequestedTools, _ field: JSONValue) throws {
    switch requested.choice {
    case .required where requested.tools.isEmpty || requested.allowed?.isEmpty == true:
      throw RequestError.invalid(
        "\(field.path) asks for a call where no function may be called; expected tools", parameter: field.path)
    default: break
    }
  }
}
