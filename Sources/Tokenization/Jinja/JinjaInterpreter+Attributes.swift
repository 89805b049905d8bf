extension JinjaInterpreter {
  /// `object.name`: a method or attribute, else an item of that name.
  func attribute(_ name: JinjaText, of object: JinjaValue) throws(JinjaError) -> JinjaValue {
    if case .undefined(let undefined) = object { throw error(undefined.message) }
    try spend(characters: name.count)
    let string = name.string
    if let value = try member(string, of: object) { return value }
    if case .dictionary(let dictionary) = object, let value = dictionary[name] { return value }
    return missing(string, of: object)
  }

  /// `object[index]`: an item, else the attribute of that name.
  func item(_ index: JinjaValue, of object: JinjaValue) throws(JinjaError) -> JinjaValue {
    if case .undefined(let undefined) = object { throw error(undefined.message) }
    switch object {
    case .dictionary(let dictionary):
      if let key = try keyIfHashable(index), let value = dictionary[key] { return value }
    case .list(let list), .tuple(let list):
      if let position = position(index, count: list.items.count) { return list.items[position] }
    case .text(let text):
      if let position = position(index, count: text.count) { return .text(text.slice(position..<position + 1)) }
    case .range(let range):
      if let position = position(index, count: range.count) { return .integer(range[position]) }
    default: break
    }
    if case .text(let name) = index {
      try spend(characters: 4 * name.count)
      return try member(name.string, of: object) ?? missing(name.string, of: object)
    }
    if let number = index.index { return missing("\(number)", of: object) }
    return missing("of \(index.noun)", of: object)
  }

  /// The position of an index, which counts from the end when it is negative.
  private func position(_ index: JinjaValue, count: Int) -> Int? {
    guard let number = index.index, let position = Int(exactly: number) else { return nil }
    let fromStart = position < 0 ? position + count : position
    return 0..<count ~= fromStart ? fromStart : nil
  }

  private func missing(_ name: String, of object: JinjaValue) -> JinjaValue {
    if object.isMutator(name) {
      return .undefined(JinjaUndefined("\(name) would change \(object.noun), which a template must not"))
    }
    let shown = name.unicodeScalars.count > 80 ? String(name.prefix(80)) + "…" : name
    return .undefined(JinjaUndefined("'\(shown)' of \(object.noun) is undefined"))
  }

  /// An attribute or method of a value; nil if it has none of that name.
  private func member(_ name: String, of object: JinjaValue) throws(JinjaError) -> JinjaValue? {
    switch object {
    case .namespace(let namespace): return namespace.values[name]
    case .loop(let loop): return try loop.attribute(name, self)
    case .text: return JinjaMethods.text.contains(name) ? .method(JinjaMethod(object, name)) : nil
    case .tuple(let list) where list.isGroup && (name == "grouper" || name == "list"):
      return list.items[name == "list" ? 1 : 0]
    case .list, .tuple:
      let isCopy = name == "copy" && object.typeName == "list"
      return isCopy || name == "index" || name == "count" ? .method(JinjaMethod(object, name)) : nil
    case .dictionary: return JinjaMethods.dictionary.contains(name) ? .method(JinjaMethod(object, name)) : nil
    case .range(let range):
      switch name {
      case "start": return .integer(range.start)
      case "stop": return .integer(range.stop)
      case "step": return .integer(range.step)
      case "index", "count": return .method(JinjaMethod(object, name))
      default: return nil
      }
    case .cycler(let cycler):
      switch name {
      case "next", "reset": return .method(JinjaMethod(object, name))
      case "current": return cycler.items[cycler.position]
      default: return nil
      }
    case .macro(let macro):
      let definition = macro.definition
      switch name {
      case "name": return definition.name.map { JinjaValue.text($0) } ?? JinjaValue.none
      case "arguments": return try tuple(definition.parameters.map { .text($0.text) })
      case "catch_kwargs": return .bool(definition.takesDictionary)
      case "catch_varargs": return .bool(definition.takesList)
      case "caller": return .bool(definition.takesCaller)
      default: return nil
      }
    case .function(.dict): return name == "fromkeys" ? .method(JinjaMethod(object, name)) : nil
    case .float: return name == "is_integer" ? .method(JinjaMethod(object, name)) : nil
    case .integer: return name == "bit_length" ? .method(JinjaMethod(object, name)) : nil
    default: return nil
    }
  }

  // MARK: - Calls

  func call(_ method: JinjaMethod, _ arguments: JinjaGivenArguments) throws(JinjaError) -> JinjaValue {
    switch method.receiver {
    case .text(let text): return try callText(method.name, text, arguments)
    case .dictionary(let dictionary): return try callDictionary(method.name, dictionary, arguments)
    case .list, .tuple, .range: return try callList(method.name, method.receiver, arguments)
    case .loop(let loop):
      guard arguments.named.isEmpty else { throw error("loop.\(method.name) has a named argument; expected none") }
      if method.name == "changed" { return .bool(try loop.hasChanged(to: arguments.positional, self)) }
      if arguments.positional.isEmpty { throw error("loop.cycle has no items; expected at least one") }
      return arguments.positional[max(0, loop.index) % arguments.positional.count]
    case .cycler(let cycler):
      if method.name == "reset" {
        cycler.position = 0
        return .none
      }
      defer { cycler.position = (cycler.position + 1) % cycler.items.count }
      return cycler.items[cycler.position]
    case .function: return try fromKeys(arguments)
    case .float(let value): return .bool(value.isFinite && value.rounded() == value)
    case .integer(let value): return .integer(128 - value.magnitude.leadingZeroBitCount)
    default: return .none
    }
  }

  private func fromKeys(_ arguments: JinjaGivenArguments) throws(JinjaError) -> JinjaValue {
    let values = try bind(arguments, ["iterable", "value"], of: "fromkeys")
    let dictionary = JinjaDictionary()
    for key in try items(of: required(values, 0, "iterable")) {
      dictionary.set(try self.key(key), values[1] ?? .none, as: key)
    }
    return try checked(.dictionary(dictionary))
  }

  private func callDictionary(
    _ name: String, _ dictionary: JinjaDictionary, _ arguments: JinjaGivenArguments
  ) throws(JinjaError) -> JinjaValue {
    switch name {
    case "get":
      if !arguments.named.isEmpty { throw error("get() has a named argument; expected values without names") }
      let values = try bind(arguments, ["key", "default"], of: "get")
      return dictionary[try key(required(values, 0, "key"))] ?? values[1] ?? .none
    case "fromkeys": return try fromKeys(arguments)
    default: _ = try bind(arguments, [], of: name)
    }
    switch name {
    case "keys": return .view(JinjaView(dictionary, .keys))
    case "values": return .view(JinjaView(dictionary, .values))
    case "items": return .view(JinjaView(dictionary, .items))
    default:
      try spend(items: dictionary.entries.count)
      let copy = JinjaDictionary()
      for (key, value) in dictionary.entries { copy.set(try self.key(key), value, as: key) }
      return .dictionary(copy)
    }
  }

  private func callList(
    _ name: String, _ value: JinjaValue, _ arguments: JinjaGivenArguments
  ) throws(JinjaError) -> JinjaValue {
    let items = try items(of: value)
    switch name {
    case "copy": return value
    case "count":
      let wanted = try required(bind(arguments, ["value"], of: "count"), 0, "value")
      var count = 0
      for item in items where try areEqual(item, wanted) { count += 1 }
      return .integer(count)
    default:
      let values = try bind(arguments, ["value", "start", "stop"], of: "index")
      let wanted = try required(values, 0, "value")
      let range = try bounds(values[1], values[2], count: items.count, "index")
      for (position, item) in items.enumerated() where range.contains(position) {
        if try areEqual(item, wanted) { return .integer(position) }
      }
      throw error("index() does not find its value in the list")
    }
  }

  /// The range between two optional positions, which count from the end when they are negative.
  func bounds(
    _ start: JinjaValue?, _ end: JinjaValue?, count: Int, _ name: String
  ) throws(JinjaError) -> Range<Int> {
    func position(_ value: JinjaValue?, _ standard: Int) throws(JinjaError) -> Int {
      guard let value else { return standard }
      if case .none = value { return standard }
      let number = try integer(value, name)
      return number < 0 ? max(0, number + count) : number
    }
    let first = try position(start, 0)
    let last = min(try position(end, count), count)
    return first <= last ? first..<last : first..<first
  }
}

/// The names of the methods that templates may call.
enum JinjaMethods {
  static let text: Set<String> = [
    "capitalize", "casefold", "center", "count", "endswith", "expandtabs", "find", "format", "format_map", "index",
    "isalnum", "isalpha", "isascii", "isdecimal", "isdigit", "isidentifier", "islower", "isnumeric", "isprintable",
    "isspace", "istitle", "isupper", "join", "ljust", "lower", "lstrip", "partition", "removeprefix", "removesuffix",
    "replace", "rfind", "rindex", "rjust", "rpartition", "rsplit", "rstrip", "split", "splitlines", "startswith",
    "strip", "swapcase", "title", "upper", "zfill",
  ]
  static let dictionary: Set<String> = ["copy", "fromkeys", "get", "items", "keys", "values"]
}

extension JinjaValue {
  /// Whether Python has a method of that name that would change the value.
  fileprivate func isMutator(_ name: String) -> Bool {
    switch self {
    case .list: ["append", "clear", "extend", "insert", "pop", "remove", "reverse", "sort"].contains(name)
    case .dictionary: ["clear", "pop", "popitem", "setdefault", "update"].contains(name)
    default: false
    }
  }
}
