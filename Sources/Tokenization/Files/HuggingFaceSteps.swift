import BitNetJSON

/// The components of a tokenizer.json that describe steps. A component or a setting that is not supported is refused by
/// its name, so that no text is silently encoded otherwise than its file says.
enum HuggingFaceSteps {
  // MARK: - Normalizers

  /// - Parameter marksSpaces: whether replacing spaces by a character makes them marks, as in vocabularies of
  ///   characters.
  static func normalizer(of component: JSONValue, marksSpaces: Bool) throws(JSONError) -> [NormalizerStep] {
    var steps: [NormalizerStep] = []
    for part in try flattened(component, list: "normalizers") {
      var fields = try part.fields()
      let type = fields["type"]
      switch try type.string() {
      case "NFC": steps.append(.nfc)
      case "Prepend": steps.append(.prepend(try fields["prepend"].string()))
      case "Replace":
        let content = try fields["content"].string()
        let pattern = try pattern(of: fields["pattern"])
        if marksSpaces, pattern == .literal(" "), content.unicodeScalars.count == 1,
          let mark = content.unicodeScalars.first, mark != " "
        {
          if steps.contains(where: { if case .markSpaces = $0 { true } else { false } }) {
            throw part.error(found: "a second step that replaces spaces", expected: "one")
          }
          steps.append(.markSpaces(mark))
        } else {
          steps.append(.replace(pattern, with: content))
        }
      default: throw type.error(expected: "NFC, Replace, Prepend or a Sequence of them")
      }
      try checkAllRead(fields, of: part)
    }
    return steps
  }

  /// The components of a Sequence, of Sequences in it, or the component itself.
  private static func flattened(_ component: JSONValue, list name: String) throws(JSONError) -> [JSONValue] {
    guard try component["type"].hasText("Sequence") else { return [component] }
    var fields = try component.fields()
    _ = fields["type"]
    var parts: [JSONValue] = []
    for part in try fields[name].elements() { parts += try flattened(part, list: name) }
    try checkAllRead(fields, of: component)
    return parts
  }

  private static func pattern(of value: JSONValue) throws(JSONError) -> Pattern {
    var fields = try value.fields()
    let literal = fields["String"]
    let expression = fields["Regex"]
    try checkAllRead(fields, of: value)
    if let literal = literal.ifPresent, expression.ifPresent == nil { return .literal(try literal.string()) }
    let text = try expression.string()
    do {
      _ = try PieceFinder(.expression(text), .utf8)
    } catch {
      throw expression.error(found: "\(quoted(text)), \(error.found)", expected: error.expected)
    }
    return .expression(text)
  }

  // MARK: - Pre-tokenizers

  static func preTokenizer(of component: JSONValue) throws(JSONError) -> [PreTokenizerStep] {
    var steps: [PreTokenizerStep] = []
    for part in try flattened(component, list: "pretokenizers") {
      var fields = try part.fields()
      let type = fields["type"]
      switch try type.string() {
      case "Split":
        let pattern = try pattern(of: fields["pattern"])
        let behavior = try behavior(of: fields["behavior"])
        steps.append(.split(pattern, behavior, isInverted: try fields["invert"].ifPresent?.bool() ?? false))
      case "Digits":
        steps.append(.digits(isIndividual: try fields["individual_digits"].ifPresent?.bool() ?? false))
      case "Punctuation":
        let given = fields["behavior"]
        steps.append(.punctuation(given.ifPresent == nil ? .isolated : try behavior(of: given)))
      case "ByteLevel":
        _ = fields["trim_offsets"]  // which counts for offsets only
        if case .byteLevel? = steps.last(where: isReading) {
          throw part.error(found: "a second ByteLevel", expected: "one")
        }
        steps.append(
          .byteLevel(
            addsSpace: try fields["add_prefix_space"].ifPresent?.bool() ?? true,
            usesPattern: try fields["use_regex"].ifPresent?.bool() ?? true))
      case "Metaspace": steps.append(try metaspace(&fields))
      default: throw type.error(expected: "Split, Digits, Punctuation, ByteLevel, Metaspace or a Sequence of them")
      }
      try checkAllRead(fields, of: part)
    }
    let readings = steps.filter(isReading)
    if readings.count > 1 {
      throw component.error(
        found: "\(readings.count) steps that rewrite all text", expected: "one ByteLevel or Metaspace")
    }
    return steps
  }

  private static func isReading(_ step: PreTokenizerStep) -> Bool {
    switch step {
    case .byteLevel, .metaspace: true
    default: false
    }
  }

  private static func behavior(of value: JSONValue) throws(JSONError) -> SplitBehavior {
    guard let behavior = SplitBehavior(rawValue: try value.string()) else {
      throw value.error(expected: "one of \(SplitBehavior.allCases.map(\.rawValue).joined(separator: ", "))")
    }
    return behavior
  }

  private static func metaspace(_ fields: inout JSONFields) throws(JSONError) -> PreTokenizerStep {
    let mark = try mark(&fields)
    let scheme = fields["prepend_scheme"]
    var prefix = MetaspacePrefix.always
    if let scheme = scheme.ifPresent {
      guard let known = MetaspacePrefix(rawValue: try scheme.string()) else {
        throw scheme.error(expected: "always, first or never")
      }
      prefix = known
    }
    // Files of older versions have this in place of the scheme.
    let adds = fields["add_prefix_space"]
    if let flag = try adds.ifPresent?.bool(), !flag {
      if scheme.ifPresent != nil, prefix != .never { throw adds.error(expected: "true, or prepend_scheme never") }
      prefix = .never
    }
    return .metaspace(mark: mark, prefix, splits: try fields["split"].ifPresent?.bool() ?? true)
  }

  private static func mark(_ fields: inout JSONFields) throws(JSONError) -> Unicode.Scalar {
    let replacement = fields["replacement"]
    _ = fields["str_rep"]  // the same, in files of older versions
    let text = try replacement.string()
    guard text.unicodeScalars.count == 1, let mark = text.unicodeScalars.first, mark != " " else {
      throw replacement.error(expected: "one character that is no space")
    }
    return mark
  }

  // MARK: - Decoders

  /// The steps of a decoder; nil for ByteLevel, which joins bytes.
  static func decoder(of component: JSONValue) throws(JSONError) -> [DecoderStep]? {
    var steps: [DecoderStep] = []
    let parts = try flattened(component, list: "decoders")
    for part in parts {
      var fields = try part.fields()
      let type = fields["type"]
      let isFused = steps.contains(.fuse)
      switch try type.string() {
      case "ByteLevel":
        for name in ["add_prefix_space", "trim_offsets", "use_regex"] { _ = fields[name] }  // which only encoding uses
        guard parts.count == 1 else {
          throw type.error(found: "ByteLevel, one of several,", expected: "ByteLevel alone")
        }
        try checkAllRead(fields, of: part)
        return nil
      case "Replace":
        guard case .literal(let old) = try pattern(of: fields["pattern"]) else {
          throw try part["pattern"].error(found: "an expression", expected: "a String, as a decoder")
        }
        if isFused, old.unicodeScalars.count != 1 {
          throw part.error(found: "Replace after Fuse", expected: "it before")
        }
        steps.append(.replace(old, with: try fields["content"].string()))
      case "ByteFallback":
        if isFused { throw type.error(found: "ByteFallback after Fuse", expected: "it before") }
        steps.append(.byteFallback(keepsCharacters: false))
      case "Fuse": steps.append(.fuse)
      case "Strip":
        let content = fields["content"]
        guard let character = try content.string().unicodeScalars.first, try content.string().unicodeScalars.count == 1
        else { throw content.error(expected: "one character") }
        let count = 0...1024
        steps.append(
          .strip(
            character, start: try fields["start"].integer(in: count), stop: try fields["stop"].integer(in: count)))
      case "Metaspace":
        guard case .metaspace(let mark, let prefix, _) = try metaspace(&fields) else { continue }
        if isFused { throw type.error(found: "Metaspace after Fuse", expected: "it before") }
        steps.append(.metaspace(mark, dropsFirst: prefix != .never))
      default:
        throw type.error(
          expected: "ByteLevel, Replace, ByteFallback, Fuse, Strip, Metaspace or a Sequence of them")
      }
      try checkAllRead(fields, of: part)
    }
    return steps
  }

  // MARK: - Post-processors

  /// The tokens that a post-processor puts around a text.
  static func ends(of processor: JSONValue) throws(JSONError) -> (begin: Int32?, end: Int32?) {
    var begin: Int32?
    var end: Int32?
    for part in try flattened(processor, list: "processors") {
      let type = try part["type"]
      switch try type.string() {
      case "ByteLevel": break  // which only trims offsets
      case "TemplateProcessing":
        let (first, last) = try template(part)
        // Each template is put around the result of the one before.
        if begin != nil && first != nil || end != nil && last != nil {
          throw part.error(found: "a second template that adds a token", expected: "at most one at each end")
        }
        begin = first ?? begin
        end = last ?? end
      default: throw type.error(expected: "ByteLevel, TemplateProcessing or a Sequence of them")
      }
    }
    return (begin, end)
  }

  private static func template(_ component: JSONValue) throws(JSONError) -> (begin: Int32?, end: Int32?) {
    var fields = try component.fields()
    for name in ["type", "pair"] { _ = fields[name] }  // pairs of texts are not encoded
    let single = fields["single"]
    let tokens = fields["special_tokens"]
    try checkAllRead(fields, of: component)
    var begin: Int32?
    var end: Int32?
    var hasText = false
    for piece in try single.elements() {
      if let special = try piece["SpecialToken"].ifPresent {
        let id = try id(of: special["id"].string(), in: tokens)
        if hasText ? end != nil : begin != nil {
          throw piece.error(found: "a second token on this side of the text", expected: "at most one")
        }
        if hasText { end = id } else { begin = id }
      } else {
        let sequence = try piece["Sequence"]
        guard try sequence["id"].hasText("A"), !hasText else {
          throw sequence.error(expected: "the text \"A\" once")
        }
        hasText = true
      }
    }
    if !hasText { throw single.error(found: "without the text \"A\"", expected: "it once") }
    return (begin, end)
  }

  private static func id(of name: String, in tokens: JSONValue) throws(JSONError) -> Int32 {
    let list = try tokens[name]["ids"]
    let listed = Array(try list.elements())
    let id = try listed.first?.integer(in: Tokenizer.ids)
    guard let id, listed.count == 1 else {
      throw list.error(found: "an array of \(listed.count) ids", expected: "the id of \(quoted(name))")
    }
    return Int32(id)
  }

  static func checkAllRead(_ fields: JSONFields, of component: JSONValue) throws(JSONError) {
    if let name = fields.unread.first {
      throw component.error(found: "given \(quoted(name))", expected: "only settings that are known")
    }
  }
}

extension JSONValue {
  /// Whether this is a string of that text.
  fileprivate func hasText(_ text: String) throws(JSONError) -> Bool { try string() == text }
}
