extension JinjaInterpreter {
  func applySequence(
    _ filter: JinjaFilter, to value: JinjaValue, _ arguments: JinjaGivenArguments
  ) throws(JinjaError) -> JinjaValue {
    switch filter {
    case .items, .unique, .batch, .slice, .map, .select, .reject, .selectattr, .rejectattr:
      // As in Python, what they cannot do fails when the first item is asked for.
      do throws(JinjaError) {
        return try applyLazily(filter, to: value, arguments)
      } catch {
        if error.kind != .runtime { throw error }
        return .iterator(JinjaIterator(failing: error))
      }
    default: return try applyEagerly(filter, to: value, arguments)
    }
  }

  private func applyLazily(
    _ filter: JinjaFilter, to value: JinjaValue, _ arguments: JinjaGivenArguments
  ) throws(JinjaError) -> JinjaValue {
    switch filter {
    case .items:
      _ = try bind(arguments, [], of: "items")
      if value.isUndefined { return .iterator(JinjaIterator([])) }
      guard case .dictionary(let dictionary) = value else {
        throw error("the value of items is \(value.noun); expected a dictionary")
      }
      try spend(items: dictionary.entries.count)
      return .iterator(JinjaIterator(JinjaView(dictionary, .items).items))
    case .unique: return try unique(value, arguments)
    case .batch: return try batches(value, arguments)
    case .slice: return try slices(value, arguments)
    case .map: return try mapped(value, arguments)
    default: return try selected(filter, value, arguments)
    }
  }

  private func applyEagerly(
    _ filter: JinjaFilter, to value: JinjaValue, _ arguments: JinjaGivenArguments
  ) throws(JinjaError) -> JinjaValue {
    switch filter {
    case .length, .count:
      _ = try bind(arguments, [], of: filter.rawValue)
      if case .loop(let loop) = value { return try loop.attribute("length", self) ?? .none }
      guard let count = knownCount(of: value) else { throw error("\(value.noun) has no length") }
      return .integer(count)
    case .first: return try iterator(over: value).next(self) ?? .undefined(JinjaUndefined("the list is empty"))
    case .last:
      guard knownCount(of: value) != nil else { throw error("\(value.noun) has no last item; expected a list") }
      return try items(of: value).last ?? .undefined(JinjaUndefined("the list is empty"))
    case .list: return try list(items(of: value))
    case .join:
      let values = try bind(arguments, ["d", "attribute"], of: "join")
      let getter = try Getter(values[1], self)
      var items: [JinjaValue] = []
      for item in try self.items(of: value) { items.append(try getter.value(of: item, self)) }
      let separator = try values[0].map { (value) throws(JinjaError) in try string(value) } ?? JinjaText()
      return try joined(items, with: JinjaText(units: separator.units), convertingAll: true)
    case .reverse:
      if case .text(let text) = value { return try self.text(text.units.reversed(), isSafe: text.isSafe) }
      let isList = knownCount(of: value) == nil
      let items = Array(try items(of: value).reversed())
      return isList ? try list(items) : .iterator(JinjaIterator(items))
    case .dictsort: return try sortedDictionary(value, arguments)
    case .sort:
      let values = try bind(arguments, ["reverse", "case_sensitive", "attribute"], of: "sort")
      let getters = try Getter.several(values[2], self, ignoresCase: !(values[1]?.isTrue ?? false))
      var keyed: [(key: JinjaValue, item: JinjaValue)] = []
      for item in try items(of: value) {
        var keys: [JinjaValue] = []
        for getter in getters { keys.append(try getter.value(of: item, self)) }
        // A list even of one key: as in Python, equal keys need no order.
        keyed.append((.tuple(JinjaList(keys)), item))
      }
      return try list(sorted(keyed, descending: values[0]?.isTrue ?? false).map(\.item))
    case .min, .max: return try extreme(value, arguments, isLargest: filter == .max)
    case .sum: return try sum(value, arguments)
    case .groupby: return try grouped(value, arguments)
    default:
      let items = try items(of: value)
      return items.randomElement() ?? .undefined(JinjaUndefined("the list is empty"))
    }
  }

  // MARK: - Attributes

  /// Reads `a.b.0` of values.
  struct Getter {
    private var path: [JinjaValue] = []
    private var standard: JinjaValue?
    private var ignoresCase = false

    /// - Parameter attribute: names and numbers with dots between them; nil or none for the value itself.
    init(
      _ attribute: JinjaValue?, _ interpreter: JinjaInterpreter, standard: JinjaValue? = nil, ignoresCase: Bool = false
    ) throws(JinjaError) {
      self.standard = standard
      self.ignoresCase = ignoresCase
      switch attribute {
      case nil, .some(.none): break
      case .text(let text)?:
        try interpreter.spend(2 * text.count)
        path = Self.path(text)
      case let number?: path = [.integer(try interpreter.integer(number, "attribute"))]
      }
    }

    /// The getters of a list of attributes with commas between them.
    static func several(
      _ attribute: JinjaValue?, _ interpreter: JinjaInterpreter, ignoresCase: Bool
    ) throws(JinjaError) -> [Getter] {
      guard case .text(let text)? = attribute else {
        return [try Getter(attribute, interpreter, ignoresCase: ignoresCase)]
      }
      var getters: [Getter] = []
      for part in text.units.split(separator: 0x2C, omittingEmptySubsequences: false) {
        getters.append(
          try Getter(.text(JinjaText(units: Array(part))), interpreter, ignoresCase: ignoresCase))
      }
      return getters
    }

    private static func path(_ text: JinjaText) -> [JinjaValue] {
      text.units.split(separator: 0x2E, omittingEmptySubsequences: false).map { part in
        let string = JinjaText.string(part)
        let isNumber = !string.isEmpty && string.utf8.allSatisfy { 0x30...0x39 ~= $0 }
        return isNumber ? Int(string).map { .integer($0) } ?? .none : .text(JinjaText(units: Array(part)))
      }
    }

    func value(of item: JinjaValue, _ interpreter: JinjaInterpreter) throws(JinjaError) -> JinjaValue {
      var value = item
      for name in path {
        try interpreter.spend(1)
        value = try interpreter.item(name, of: value)
        if let standard, value.isUndefined { value = standard }
      }
      if ignoresCase, case .text(let text) = value { return try interpreter.text(text.converted(to: .lower)) }
      return value
    }
  }

  // MARK: - Order

  /// Sorts by keys; items with equal keys stay in order.
  private func sorted(
    _ items: [(key: JinjaValue, item: JinjaValue)], descending: Bool
  ) throws(JinjaError) -> [(key: JinjaValue, item: JinjaValue)] {
    var items = items
    var width = 1
    while width < items.count {
      var merged: [(key: JinjaValue, item: JinjaValue)] = []
      merged.reserveCapacity(items.count)
      for start in stride(from: 0, to: items.count, by: 2 * width) {
        var left = start
        var right = min(start + width, items.count)
        let (middle, end) = (right, min(start + 2 * width, items.count))
        while left < middle || right < end {
          var takesRight = left == middle
          if left < middle, right < end {
            try spend(1)
            takesRight =
              try descending
              ? precedes(items[left].key, items[right].key) : precedes(items[right].key, items[left].key)
          }
          merged.append(items[takesRight ? right : left])
          if takesRight { right += 1 } else { left += 1 }
        }
      }
      items = merged
      width *= 2
    }
    return items
  }

  private func sortedDictionary(
    _ value: JinjaValue, _ arguments: JinjaGivenArguments
  ) throws(JinjaError) -> JinjaValue {
    let values = try bind(arguments, ["case_sensitive", "by", "reverse"], of: "dictsort")
    let by = try values[1].map { (value) throws(JinjaError) in try textArgument(value, "dictsort").string } ?? "key"
    guard by == "key" || by == "value" else {
      throw error("the order of dictsort is by \(by.prefix(40)); expected key or value")
    }
    guard case .dictionary(let dictionary) = value else {
      throw undefinedError(value) ?? error("the value of dictsort is \(value.noun); expected a dictionary")
    }
    let getter = try Getter(nil, self, ignoresCase: !(values[0]?.isTrue ?? false))
    var keyed: [(key: JinjaValue, item: JinjaValue)] = []
    for (key, value) in dictionary.entries {
      let order = try getter.value(of: by == "key" ? key : value, self)
      keyed.append((order, .tuple(JinjaList([key, value]))))
    }
    return try list(sorted(keyed, descending: values[2]?.isTrue ?? false).map(\.item))
  }

  private func extreme(
    _ value: JinjaValue, _ arguments: JinjaGivenArguments, isLargest: Bool
  ) throws(JinjaError) -> JinjaValue {
    let values = try bind(arguments, ["case_sensitive", "attribute"], of: isLargest ? "max" : "min")
    let getter = try Getter(values[1], self, ignoresCase: !(values[0]?.isTrue ?? false))
    var best: (key: JinjaValue, item: JinjaValue)?
    for item in try items(of: value) {
      let key = try getter.value(of: item, self)
      if let best, try isLargest ? !precedes(best.key, key) : !precedes(key, best.key) { continue }
      best = (key, item)
    }
    return best?.item ?? .undefined(JinjaUndefined("the list is empty"))
  }

  private func sum(_ value: JinjaValue, _ arguments: JinjaGivenArguments) throws(JinjaError) -> JinjaValue {
    let values = try bind(arguments, ["attribute", "start"], of: "sum")
    let getter = try Getter(values[0], self)
    var total = values[1] ?? .integer(0)
    if case .text = total { throw error("the start of sum is a string; expected a number or list") }
    for item in try items(of: value) { total = try arithmetic(.add, total, getter.value(of: item, self)) }
    return total
  }

  private func unique(_ value: JinjaValue, _ arguments: JinjaGivenArguments) throws(JinjaError) -> JinjaValue {
    let values = try bind(arguments, ["case_sensitive", "attribute"], of: "unique")
    let getter = try Getter(values[1], self, ignoresCase: !(values[0]?.isTrue ?? false))
    var seen: Set<JinjaKey> = []
    return try lazily(value) { (interpreter, item) throws(JinjaError) in
      seen.insert(try interpreter.key(getter.value(of: item, interpreter))).inserted ? item : nil
    }
  }

  private func grouped(_ value: JinjaValue, _ arguments: JinjaGivenArguments) throws(JinjaError) -> JinjaValue {
    let values = try bind(arguments, ["attribute", "default", "case_sensitive"], of: "groupby")
    let attribute = try required(values, 0, "attribute")
    let ignoresCase = !(values[2]?.isTrue ?? false)
    let getter = try Getter(attribute, self, standard: values[1], ignoresCase: ignoresCase)
    let plain = try Getter(attribute, self, standard: values[1])
    var keyed: [(key: JinjaValue, item: JinjaValue)] = []
    for item in try items(of: value) { keyed.append((try getter.value(of: item, self), item)) }
    var groups: [(key: JinjaValue, items: [JinjaValue])] = []
    for (key, item) in try sorted(keyed, descending: false) {
      if let last = groups.last, try areEqual(last.key, key) {
        groups[groups.count - 1].items.append(item)
      } else {
        groups.append((key, [item]))
      }
    }
    var result: [JinjaValue] = []
    for (_, items) in groups {
      let key = try plain.value(of: items[0], self)
      result.append(try checked(.tuple(JinjaList([key, list(items)], isGroup: true))))
    }
    return try list(result)
  }

  // MARK: - Parts

  private func batches(_ value: JinjaValue, _ arguments: JinjaGivenArguments) throws(JinjaError) -> JinjaValue {
    let values = try bind(arguments, ["linecount", "fill_with"], of: "batch")
    let size = try integer(required(values, 0, "linecount"), "batch")
    let all = try items(of: value)
    if size < 1 { throw error("the size of batch is \(size); expected at least 1") }
    var batches: [JinjaValue] = []
    for start in stride(from: 0, to: all.count, by: size) {
      batches.append(try list(filled(Array(all[start..<min(start + size, all.count)]), values[1], to: size)))
    }
    return .iterator(JinjaIterator(batches))
  }

  private func filled(_ items: [JinjaValue], _ value: JinjaValue?, to count: Int) throws(JinjaError) -> [JinjaValue] {
    guard let value, items.count < count else { return items }
    if case .none = value { return items }
    try spend(items: count)
    return items + Array(repeating: value, count: count - items.count)
  }

  private func slices(_ value: JinjaValue, _ arguments: JinjaGivenArguments) throws(JinjaError) -> JinjaValue {
    let values = try bind(arguments, ["slices", "fill_with"], of: "slice")
    let count = try integer(required(values, 0, "slices"), "slice")
    let all = try items(of: value)
    if count < 1 { throw error("the number of slices is \(count); expected at least 1") }
    try spend(items: count)
    var slices: [JinjaValue] = []
    var start = 0
    for index in 0..<count {
      let hasExtra = index < all.count % count
      let end = start + all.count / count + (hasExtra ? 1 : 0)
      let items = Array(all[start..<end])
      slices.append(try list(hasExtra ? items : filled(items, values[1], to: items.count + 1)))
      start = end
    }
    return .iterator(JinjaIterator(slices))
  }

  // MARK: - Lazy filters

  /// The items of a value, each through `step` when it is asked for.
  private func lazily(_ value: JinjaValue, _ step: @escaping JinjaIterator.Step) throws(JinjaError) -> JinjaValue {
    try checked(.iterator(JinjaIterator(iterator(over: value), step)))
  }

  private func mapped(_ value: JinjaValue, _ arguments: JinjaGivenArguments) throws(JinjaError) -> JinjaValue {
    if !value.isTrue { return .iterator(JinjaIterator([])) }
    var arguments = arguments
    if arguments.positional.isEmpty, let index = arguments.named.firstIndex(where: { $0.name == "attribute" }) {
      let attribute = arguments.named.remove(at: index).value
      var standard = try bind(arguments, ["default"], of: "map")[0]
      if case .some(.none) = standard { standard = nil }
      let getter = try Getter(attribute, self, standard: standard)
      return try lazily(value) { (interpreter, item) throws(JinjaError) in try getter.value(of: item, interpreter) }
    }
    guard !arguments.positional.isEmpty else { throw error("map has no filter; expected its name or attribute=") }
    let name = try textArgument(arguments.positional.removeFirst(), "map").string
    let rest = arguments
    return try lazily(value) { (interpreter, item) throws(JinjaError) in
      try interpreter.nested { () throws(JinjaError) in try interpreter.apply(name, to: item, rest) }
    }
  }

  private func selected(
    _ filter: JinjaFilter, _ value: JinjaValue, _ arguments: JinjaGivenArguments
  ) throws(JinjaError) -> JinjaValue {
    if !value.isTrue { return .iterator(JinjaIterator([])) }
    var arguments = arguments
    let name = filter.rawValue
    let keeps = filter == .select || filter == .selectattr
    var getter = try Getter(nil, self)
    if filter == .selectattr || filter == .rejectattr {
      guard !arguments.positional.isEmpty else { throw error("\(name) has no attribute; expected its name") }
      getter = try Getter(arguments.positional.removeFirst(), self)
    }
    guard !arguments.positional.isEmpty else {
      return try lazily(value) { (interpreter, item) throws(JinjaError) in
        try getter.value(of: item, interpreter).isTrue == keeps ? item : nil
      }
    }
    let test = try textArgument(arguments.positional.removeFirst(), name).string
    let rest = arguments
    return try lazily(value) { (interpreter, item) throws(JinjaError) in
      try interpreter.passes(test, getter.value(of: item, interpreter), rest) == keeps ? item : nil
    }
  }
}
