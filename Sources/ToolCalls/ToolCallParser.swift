import BitNetJSON

/// Finds the calls in a model's answer, which arrives in pieces. Text that may be the beginning of a call is held back
/// until that is known; text that only looked like a call comes out unchanged.
package struct ToolCallParser: Sendable {
  package enum Event: Sendable, Equatable {
    case text(String)
    case call(ToolCall)
  }

  private enum Stage { case text, value, afterValue, plain }

  private let style: ToolCallStyle
  private let functions: Set<String>
  private var stage: Stage
  private var held: [UInt8] = []
  /// What has been read of a value, and how far it is known to be open.
  private var scan = ValueScan()
  /// The marker before the value that is being read.
  private var marker: [UInt8] = []
  /// Whether the end of the last call has been read.
  private var isClosed = false

  /// The longest call that is held back, in bytes.
  private static let longest = 1 << 20

  /// - Parameter functions: the names that may be called; a call of another one is text.
  package init(_ style: ToolCallStyle, functions: Set<String>) {
    (self.style, self.functions) = (style, functions)
    stage = style.opening == nil ? .value : .text
  }

  /// Takes a piece of the answer.
  package mutating func append(_ text: String) -> [Event] {
    held += text.utf8
    return run(isLast: false)
  }

  /// What was held back, when no more comes.
  package mutating func finish() -> [Event] { run(isLast: true) }

  private mutating func run(isLast: Bool) -> [Event] {
    var events: [Event] = []
    while step(&events, isLast: isLast) {}
    return events
  }

  /// - Returns: whether there may be more to do with what is held.
  private mutating func step(_ events: inout [Event], isLast: Bool) -> Bool {
    switch stage {
    case .text: return readText(&events, isLast: isLast)
    case .value: return readValue(&events, isLast: isLast)
    case .afterValue: return readEnd(isLast: isLast)
    case .plain:
      release(held.count, &events)
      return false
    }
  }

  /// Releases the first bytes that are held as text.
  private mutating func release(_ count: Int, _ events: inout [Event]) {
    guard count > 0 else { return }
    let text = String(decoding: held.prefix(count), as: UTF8.self)
    held.removeFirst(count)
    if case .text(let before)? = events.last {
      events[events.count - 1] = .text(before + text)
    } else {
      events.append(.text(text))
    }
  }

  private mutating func readText(_ events: inout [Event], isLast: Bool) -> Bool {
    let opening = style.opening!
    if let start = held.firstRange(of: opening)?.lowerBound {
      release(start, &events)
      held.removeFirst(opening.count)
      (marker, stage, scan) = (opening, .value, ValueScan())
      return true
    }
    // The end may be the beginning of a marker.
    let kept = isLast ? 0 : (1..<opening.count).last { held.suffix($0).elementsEqual(opening.prefix($0)) } ?? 0
    release(held.count - kept, &events)
    return false
  }

  private mutating func readValue(_ events: inout [Event], isLast: Bool) -> Bool {
    if marker.isEmpty, style == .llama3 {
      // The tag may come before the first call.
      let tag = ToolCallStyle.pythonTag
      if !isLast, held.count < tag.count, tag.starts(with: held) { return false }
      if held.starts(with: tag) {
        held.removeFirst(tag.count)
        (marker, scan) = (tag, ValueScan())
      }
    }
    switch scan.end(in: held) {
    case .open where !isLast && held.count <= Self.longest: return false
    case .complete(let end):
      if let calls = calls(held[..<end]) {
        held.removeFirst(end)
        events += calls.map { .call($0) }
        (marker, stage, scan, isClosed) = ([], .afterValue, ValueScan(), style.closing == nil)
        return true
      }
      fallthrough
    case .open, .none:
      // No call: the marker and what follows it are text.
      held = marker + held
      let count = marker.count
      marker = []
      guard style.opening != nil else {
        stage = .plain
        return true
      }
      stage = .text
      release(count, &events)
      return true
    }
  }

  /// Reads past the end of a call.
  private mutating func readEnd(isLast: Bool) -> Bool {
    let spaces = held.prefix { $0 == 0x20 || $0 == 0x0A || $0 == 0x0D || $0 == 0x09 }.count
    let rest = held.dropFirst(spaces)
    if !isClosed, let closing = style.closing {
      if rest.starts(with: closing) {
        (held, isClosed) = (Array(rest.dropFirst(closing.count)), true)
        // White space between calls is no text.
        return true
      }
      if !isLast, closing.starts(with: rest) { return false }
    }
    held = Array(rest)
    guard !held.isEmpty else { return false }
    stage = style.opening == nil ? (style == .llama3 ? .value : .plain) : .text
    return true
  }

  /// The calls that a JSON value describes; nil if it describes none.
  private func calls(_ bytes: ArraySlice<UInt8>) -> [ToolCall]? {
    guard let document = try? JSONDocument(Array(bytes), limits: JSONLimits(byteCount: Self.longest)) else {
      return nil
    }
    let root = document.root
    if case .arguments(let name) = style {
      return root.kind == .object ? [ToolCall(name: name, arguments: String(decoding: root.text, as: UTF8.self))] : nil
    }
    if root.kind == .array, let elements = try? root.elements() {
      let calls = elements.map { call($0) }
      return calls.isEmpty || calls.contains { $0 == nil } ? nil : calls.compactMap { $0 }
    }
    return call(root).map { [$0] }
  }

  private func call(_ value: JSONValue) -> ToolCall? {
    guard value.kind == .object, let name = try? value["name"].string(), functions.contains(name) else { return nil }
    for field in ["arguments", "parameters"] {
      guard let arguments = try? value[field] else { continue }
      switch arguments.kind {
      case .object: return ToolCall(name: name, arguments: String(decoding: arguments.text, as: UTF8.self))
      // Some models write the object as a string.
      case .string: return (try? arguments.string()).map { ToolCall(name: name, arguments: $0) }
      default: continue
      }
    }
    return nil
  }
}

extension ToolCallStyle {
  static let pythonTag = Array("<|python_tag|>".utf8)

  /// What begins a call inside a text; nil where a call is the whole answer.
  fileprivate var opening: [UInt8]? {
    switch self {
    case .hermes, .falcon: Array("<tool_call>".utf8)
    case .mistral: Array("[TOOL_CALLS]".utf8)
    case .llama3, .object, .arguments: nil
    }
  }

  fileprivate var closing: [UInt8]? {
    switch self {
    case .hermes, .falcon: Array("</tool_call>".utf8)
    case .llama3: Array(";".utf8)
    case .mistral, .object, .arguments: nil
    }
  }
}

/// Finds the end of a JSON object or array that arrives in pieces.
private struct ValueScan: Sendable {
  enum Result { case none, open, complete(Int) }

  private var at = 0
  private var depth = 0
  private var isString = false
  private var isEscaped = false

  /// - Parameter bytes: at each call the same bytes and more.
  mutating func end(in bytes: [UInt8]) -> Result {
    while at < bytes.count {
      let byte = bytes[at]
      at += 1
      if isString {
        if isEscaped {
          isEscaped = false
        } else if byte == UInt8(ascii: "\\") {
          isEscaped = true
        } else if byte == UInt8(ascii: "\"") {
          isString = false
        }
        continue
      }
      switch byte {
      case UInt8(ascii: "{"), UInt8(ascii: "["): depth += 1
      case UInt8(ascii: "}"), UInt8(ascii: "]"):
        depth -= 1
        if depth == 0 { return .complete(at) }
        if depth < 0 { return .none }
      case UInt8(ascii: "\"") where depth > 0: isString = true
      case 0x20, 0x0A, 0x0D, 0x09: break
      default: if depth == 0 { return .none }
      }
    }
    return .open
  }
}
