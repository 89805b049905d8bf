import BitNetJSON

/// Finds the calls in a model's answer, which arrives in pieces. Text that may be the beginning of a call is held back
/// until that is known; text that only looked like a call comes out unchanged. Arguments come out as they arrive, and
/// what has come out is the beginning of a valid JSON object at any time.
package struct ToolCallParser: Sendable {
  package enum Event: Sendable, Equatable {
    case text(String)
    /// A call of a function begins.
    case begin(name: String)
    /// A piece of the JSON object that is the call's arguments.
    case arguments(String)
    /// The call is complete. Missing for a call that is cut or goes wrong.
    case end
  }

  private enum Stage {
    case text
    /// At the beginning of what may be a call or an array of calls.
    case value
    /// At the beginning of a call's object.
    case call
    /// In a call's object that must be read as a whole.
    case whole
    case arguments
    /// After the arguments, in a call's object.
    case rest
    /// After a call in an array.
    case next
    /// After all calls of a value.
    case closing
    /// No call can follow.
    case plain
  }

  private let style: ToolCallStyle
  private let functions: Set<String>
  private var stage: Stage
  private var held: [UInt8] = []
  /// What has been read of a value before its first call is certain; it becomes text if there is none.
  private var undone: [UInt8] = []
  private var scan = ValueScan()
  private var prefix = JSONPrefix()
  private var isArray = false
  /// Whether the end of the last value has been read.
  private var isClosed = false
  /// Whether anything but white space has come out. White space before a call is no text.
  private var hasText = false

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
    case .call: return readCall(&events, isLast: isLast)
    case .whole: return readWhole(&events, isLast: isLast)
    case .arguments: return readArguments(&events)
    case .rest: return readRest(&events, isLast: isLast)
    case .next: return readNext()
    case .closing: return readClosing(isLast: isLast)
    case .plain:
      release(held.count, &events)
      return false
    }
  }

  /// Releases the first bytes that are held as text.
  private mutating func release(_ count: Int, _ events: inout [Event]) {
    guard count > 0 else { return }
    hasText = hasText || held.prefix(count).contains { !$0.isJSONSpace }
    events.append(.text(String(decoding: held.prefix(count), as: UTF8.self)))
    held.removeFirst(count)
  }

  private mutating func readText(_ events: inout [Event], isLast: Bool) -> Bool {
    let opening = style.opening!
    if let start = held.firstRange(of: opening)?.lowerBound {
      if !hasText, held[..<start].allSatisfy(\.isJSONSpace) {
        held.removeFirst(start)
      } else {
        release(start, &events)
      }
      held.removeFirst(opening.count)
      (undone, stage) = (opening, .value)
      return true
    }
    // The end may be the beginning of a marker.
    let kept = isLast ? 0 : (1..<opening.count).last { held.suffix($0).elementsEqual(opening.prefix($0)) } ?? 0
    if isLast || hasText || !held.dropLast(kept).allSatisfy(\.isJSONSpace) { release(held.count - kept, &events) }
    return false
  }

  /// Moves white space to what can be undone.
  private mutating func passSpace() {
    let spaces = held.prefix(while: \.isJSONSpace)
    undone += spaces
    held.removeFirst(spaces.count)
  }

  private mutating func readValue(_ events: inout [Event], isLast: Bool) -> Bool {
    isArray = false
    passSpace()
    if style == .llama3 {
      // The tag may come before the first call.
      let tag = Array("<|python_tag|>".utf8)
      if !isLast, held.count < tag.count, tag.starts(with: held) { return false }
      if held.starts(with: tag) {
        held.removeFirst(tag.count)
        undone += tag
        passSpace()
      }
    }
    switch held.first {
    case UInt8(ascii: "{"): stage = .call
    case UInt8(ascii: "["):
      undone.append(held.removeFirst())
      (isArray, stage) = (true, .call)
    case nil where !isLast: return false
    default: giveUp(&events)
    }
    return true
  }

  /// Turns what looked like a call into text.
  private mutating func giveUp(_ events: inout [Event]) {
    held = undone + held
    let count = undone.count
    undone = []
    guard style.opening != nil else {
      stage = .plain
      return
    }
    stage = .text
    release(count, &events)
  }

  private mutating func readCall(_ events: inout [Event], isLast: Bool) -> Bool {
    switch CallHead(held) {
    case .open where !isLast: return false
    case .found(let name, let count) where functions.contains(name):
      held.removeFirst(count)
      undone = []
      (prefix, stage) = (JSONPrefix(), .arguments)
      events.append(.begin(name: name))
    case .open, .other, .found: (scan, stage) = (ValueScan(), .whole)
    }
    return true
  }

  private mutating func readWhole(_ events: inout [Event], isLast: Bool) -> Bool {
    switch scan.end(in: held) {
    case .open where !isLast && held.count <= Self.longest: return false
    case .complete(let end):
      guard let (name, arguments) = call(Array(held[..<end])) else {
        giveUp(&events)
        return true
      }
      held.removeFirst(end)
      undone = []
      events += [.begin(name: name), .arguments(arguments), .end]
      endCall()
    case .open, .none: giveUp(&events)
    }
    return true
  }

  private mutating func endCall() { (stage, isClosed) = (isArray ? .next : .closing, style.closing == nil) }

  private mutating func readArguments(_ events: inout [Event]) -> Bool {
    var read = 0
    var result = JSONPrefix.Result.inside
    var piece: [UInt8] = []
    while read < held.count, result == .inside || result == .control {
      let byte = held[read]
      result = prefix.take(byte)
      switch result {
      case .inside, .complete: piece.append(byte)
      // Some models write line breaks in strings as they are.
      case .control: piece += JSONPrefix.escape(of: byte).utf8
      case .invalid: continue
      }
      read += 1
    }
    held.removeFirst(read)
    if !piece.isEmpty { events.append(.arguments(String(decoding: piece, as: UTF8.self))) }
    switch result {
    case .inside, .control: return false
    case .complete: (scan, stage) = (ValueScan(depth: 1), .rest)
    case .invalid: stage = style.opening == nil ? .plain : .text
    }
    return true
  }

  private mutating func readRest(_ events: inout [Event], isLast: Bool) -> Bool {
    let rest = held.drop(while: \.isJSONSpace)
    switch rest.first {
    case nil where !isLast: return false
    case UInt8(ascii: "}"): held = Array(rest.dropFirst())
    case UInt8(ascii: ","):
      // Further members mean nothing.
      switch scan.end(in: held) {
      case .open where !isLast && held.count <= Self.longest: return false
      case .complete(let end): held.removeFirst(end)
      case .open, .none: held = []
      }
    // The object's end is missing, and the call complete all the same.
    default: break
    }
    events.append(.end)
    endCall()
    return true
  }

  private mutating func readNext() -> Bool {
    let rest = held.drop(while: \.isJSONSpace)
    guard let first = rest.first else { return false }
    switch first {
    case UInt8(ascii: ","): (held, stage) = (Array(rest.dropFirst()), .call)
    case UInt8(ascii: "]"): (held, stage) = (Array(rest.dropFirst()), .closing)
    default: stage = .closing
    }
    return true
  }

  /// Reads past the end of a value.
  private mutating func readClosing(isLast: Bool) -> Bool {
    let rest = held.drop(while: \.isJSONSpace)
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
    stage = style.opening == nil ? .value : .text
    return true
  }

  /// The call that a JSON object describes; nil if it describes none.
  private func call(_ bytes: [UInt8]) -> (name: String, arguments: String)? {
    guard let root = try? JSONDocument(bytes, limits: JSONLimits(byteCount: Self.longest)).root,
      root.kind == .object
    else { return nil }
    // Falcon3's template shows the model its earlier calls in OpenAI's form.
    let value = (try? root["function"].ifPresent) ?? root
    guard let name = try? value["name"].string(), functions.contains(name) else { return nil }
    for field in ["arguments", "parameters"] {
      guard let arguments = try? value[field] else { continue }
      switch arguments.kind {
      case .object: return (name, String(decoding: arguments.text, as: UTF8.self))
      case .string:
        // Some models write the object as a string.
        guard let text = try? arguments.string(), (try? JSONDocument(Array(text.utf8)).root.kind) == .object else {
          return nil
        }
        return (name, text)
      default: continue
      }
    }
    return nil
  }
}

extension UInt8 {
  var isJSONSpace: Bool { self == 0x20 || self == 0x0A || self == 0x0D || self == 0x09 }
}

/// The beginning of a call's object in its usual form: the name, then the beginning of the arguments' object.
private enum CallHead {
  case open, other
  /// - Parameter count: bytes before the arguments.
  case found(name: String, count: Int)

  /// The longest one that is looked for; the beginning is read again with every piece.
  private static let longest = 1024

  init(_ bytes: [UInt8]) {
    var at = 0
    /// - Returns: whether the next byte is there and is this one; nil if it is not there.
    func pass(_ byte: UInt8) -> Bool? {
      while at < bytes.count, bytes[at].isJSONSpace { at += 1 }
      guard at < bytes.count else { return nil }
      guard bytes[at] == byte else { return false }
      at += 1
      return true
    }
    /// - Returns: nil if the string's end is not there.
    func string() -> [UInt8]? {
      let start = at
      while at < bytes.count, bytes[at] != UInt8(ascii: "\"") { at += bytes[at] == UInt8(ascii: "\\") ? 2 : 1 }
      guard at < bytes.count else { return nil }
      at += 1
      return Array(bytes[start..<at - 1])
    }
    let unknown: CallHead = bytes.count > Self.longest ? .other : .open
    var name = ""
    for expected in ["{", "name", ":", "NAME", ",", "arguments", ":"] {
      if expected.utf8.count == 1 {
        guard let isThere = pass(expected.utf8.first!) else {
          self = unknown
          return
        }
        guard isThere else {
          self = .other
          return
        }
        continue
      }
      let isThere = pass(UInt8(ascii: "\""))
      guard isThere != false else {
        self = .other
        return
      }
      guard isThere == true, let text = string() else {
        self = unknown
        return
      }
      if expected == "NAME" {
        guard let value = try? JSONDocument([UInt8(ascii: "\"")] + text + [UInt8(ascii: "\"")]).root.string() else {
          self = .other
          return
        }
        name = value
      } else if !text.elementsEqual(expected.utf8) {
        guard expected == "arguments", text.elementsEqual("parameters".utf8) else {
          self = .other
          return
        }
      }
    }
    guard let isObject = pass(UInt8(ascii: "{")) else {
      self = unknown
      return
    }
    self = isObject ? .found(name: name, count: at - 1) : .other
  }
}

/// Finds the end of a JSON object or array that arrives in pieces.
private struct ValueScan: Sendable {
  enum Result { case none, open, complete(Int) }

  private var at = 0
  private var depth: Int
  private var isString = false
  private var isEscaped = false

  /// - Parameter depth: how many objects and arrays are open at the beginning.
  init(depth: Int = 0) { self.depth = depth }

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
      default: if depth == 0, !byte.isJSONSpace { return .none }
      }
    }
    return .open
  }
}
