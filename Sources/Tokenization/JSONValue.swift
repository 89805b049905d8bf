/// A value of a ``JSONDocument`` that knows its path, for errors.
struct JSONValue {
  let document: JSONDocument
  let index: Int
  /// Such as `model.merges[7]`.
  let path: String

  init(document: JSONDocument, index: Int = 0, path: String = "the file") {
    self.document = document
    self.index = index
    self.path = path
  }

  var kind: JSONDocument.Kind { document.nodes[index].kind }

  /// The value as it is written, for messages.
  var written: String {
    let node = document.nodes[index]
    let source = String(decoding: document.bytes[node.start..<min(node.end, node.start + 200)], as: UTF8.self)
    switch node.kind {
    case .string: return quoted(source)
    case .array: return "an array"
    case .object: return "an object"
    case .null, .bool, .number: return String(source.prefix(40))
    }
  }

  func error(expected: String) -> TokenizerError { TokenizerError(place: path, found: written, expected: expected) }

  private func check(_ expected: JSONDocument.Kind, _ name: String) throws(TokenizerError) {
    if kind != expected { throw error(expected: name) }
  }

  /// The indices of the nodes of an object's keys; the value follows each.
  func keys() throws(TokenizerError) -> [Int] {
    try check(.object, "an object")
    var keys: [Int] = []
    var node = index + 1
    while node < document.nodes[index].next {
      keys.append(node)
      node = document.nodes[node + 1].next
    }
    return keys
  }

  /// An object's value under a key; nil if there is none or if it is null.
  func optional(_ key: String) throws(TokenizerError) -> JSONValue? {
    for node in try keys() where document.string(node) == key {
      let path = index == 0 ? key : "\(path).\(key)"
      let value = JSONValue(document: document, index: node + 1, path: path)
      return value.kind == .null ? nil : value
    }
    return nil
  }

  subscript(key: String) -> JSONValue {
    get throws(TokenizerError) {
      if let value = try optional(key) { return value }
      throw TokenizerError(place: path, found: "no field \(quoted(key))", expected: "one")
    }
  }

  /// The indices of the nodes of an array's elements.
  func elementNodes() throws(TokenizerError) -> [Int] {
    try check(.array, "an array")
    var elements: [Int] = []
    var node = index + 1
    while node < document.nodes[index].next {
      elements.append(node)
      node = document.nodes[node].next
    }
    return elements
  }

  func elements() throws(TokenizerError) -> [JSONValue] {
    try elementNodes().enumerated().map { position, node in
      JSONValue(document: document, index: node, path: "\(path)[\(position)]")
    }
  }

  func string() throws(TokenizerError) -> String {
    try check(.string, "a string")
    return document.string(index)
  }

  func bool() throws(TokenizerError) -> Bool {
    try check(.bool, "true or false")
    return document.bytes[document.nodes[index].start] == UInt8(ascii: "t")
  }

  func integer() throws(TokenizerError) -> Int {
    guard let number = document.integer(index) else { throw error(expected: "an integer") }
    return number
  }
}

extension JSONDocument {
  func string(_ index: Int) -> String {
    var text: [UInt8] = []
    appendString(index, to: &text)
    return String(decoding: text, as: UTF8.self)
  }

  /// The number at a node; nil if it is not an integer that fits.
  func integer(_ index: Int) -> Int? {
    let node = nodes[index]
    guard node.kind == .number else { return nil }
    let text = bytes
    let isNegative = text[node.start] == UInt8(ascii: "-")
    let magnitude = decimal(text.span, isNegative ? node.start + 1 : node.start, node.end)
    return magnitude.map { isNegative ? -$0 : $0 }
  }
}
