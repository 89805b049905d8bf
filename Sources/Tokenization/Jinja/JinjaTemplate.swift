package import BitNetJSON

/// A chat template in Jinja, parsed and ready to render.
///
/// The language is that of jinja2 as transformers sets it up for chat templates: `trim_blocks` and `lstrip_blocks`, the
/// immutable sandbox, `break` and `continue`, `{% generation %}`, `tojson` as Python's `json.dumps`, `raise_exception`
/// and `strftime_now`. Rendering is bounded by ``JinjaLimits``; parsing and rendering run on a thread of their own,
/// whose stack holds the deepest nesting that the bounds allow.
package struct JinjaTemplate: Sendable, Equatable {
  /// The template's text.
  package let source: String
  private let body: [JinjaStatement]
  private let names: JinjaNames

  /// The largest template in bytes of UTF-8; the longest published ones have 30,000.
  package static let largestSource = 1 << 17

  /// - Throws: `JinjaError` for what is not Jinja, with the line.
  package init(_ source: String) throws(JinjaError) {
    guard source.utf8.count <= Self.largestSource else {
      throw JinjaError(
        .limit, line: 1, "it is \(source.utf8.count) bytes long; expected at most \(Self.largestSource)")
    }
    self.source = source
    (body, names) = try DeepStack.run { () throws(JinjaError) in try JinjaParser.parse(source) }
  }

  package static func == (a: JinjaTemplate, b: JinjaTemplate) -> Bool { a.source == b.source }

  /// The rendering for values.
  ///
  /// - Parameters:
  ///   - variables: what the template is given. Values of these names hide the functions.
  ///   - time: what `strftime_now` writes.
  /// - Throws: `JinjaError` with the line when the template fails, refuses the chat or meets a bound.
  func render(
    _ variables: [(name: String, value: JinjaValue)], size: JinjaSize, time: JinjaTime, limits: JinjaLimits
  ) throws(JinjaError) -> JinjaText {
    let interpreter = JinjaInterpreter(names: names, variables: variables, size: size, time: time, limits: limits)
    let body = body
    return try DeepStack.run { () throws(JinjaError) in try interpreter.render(body) }
  }

  /// The rendering for the members of a JSON object.
  ///
  /// - Throws: `JinjaError` as above, or `JSONError` if `variables` is no object or has an integer beyond 128 bits.
  package func text(
    _ variables: JSONValue, time: JinjaTime = .now, limits: JinjaLimits = JinjaLimits()
  ) throws -> String {
    var size = JinjaSize()
    var values: [(name: String, value: JinjaValue)] = []
    for (name, value) in try variables.members() { values.append((try name.string(), try size.value(value))) }
    for value in values where value.value.depth > limits.nesting {
      throw JinjaError(
        .limit, line: 1,
        "the variable \(value.name) nests \(value.value.depth) deep; expected at most \(limits.nesting)")
    }
    return try render(values, size: size, time: time, limits: limits).string
  }
}
