/// How large a JSON text may be.
package struct JSONLimits: Sendable {
  /// The largest size in bytes. The parsed document holds the text and at most 8 bytes more for each byte of it: 16 for
  /// each value or name, of which the shortest takes two bytes with its comma.
  package var byteCount: Int
  /// How deep arrays and objects may nest. Parsing does not recurse, but callers may.
  package var depth: Int

  /// - Parameters:
  ///   - byteCount: at most 4 GiB - 1; larger values are reduced to that.
  ///   - depth: a tokenizer.json nests 10 deep.
  package init(byteCount: Int = 16 << 20, depth: Int = 64) {
    self.byteCount = min(byteCount, Int(UInt32.max))
    self.depth = depth
  }
}

/// A JSON text (RFC 8259), checked in full and kept as a flat list of its values.
///
/// Parsing is strict. The text must be UTF-8 without a byte order mark; comments, trailing commas and words such as NaN
/// are errors. So is a name that occurs twice in one object: parsers disagree on which of the two counts, so a
/// reviewer's tool might show another value than the one that is loaded. The `\u` escapes of a surrogate pair give the
/// character that they encode together; a single surrogate is an error, because UTF-8 cannot hold it.
///
/// A tokenizer.json has hundreds of thousands of short strings. The flat list allocates no object for any of them:
/// Llama 3's loads in a third of the time that JSONDecoder takes.
package final class JSONDocument: Sendable {
  package enum Kind: UInt8, Sendable {
    case null, bool, number, string, array, object
  }

  /// A value or a name. The contents of an array or object follow it in the list; an object's are name, value, name,
  /// value and so on.
  struct Node {
    var kind: Kind
    /// Of a string: whether it has escapes. Of a number: whether it has a fraction or an exponent.
    var isMarked = false
    /// The bytes of the value; of a string, those between its quotes.
    var start: UInt32
    var end: UInt32
    /// The node after this one and all inside it; 0 while an array or object is open.
    var next: UInt32

    var range: Range<Int> { Int(start)..<Int(end) }
  }

  let bytes: [UInt8]
  let nodes: [Node]

  /// - Throws: `JSONError` with line, column and path when the text is not JSON or is beyond the limits.
  package init(_ bytes: [UInt8], limits: JSONLimits = JSONLimits()) throws(JSONError) {
    var parser = JSONParser(bytes: bytes, limits: limits)
    try parser.parse()
    self.bytes = bytes
    nodes = parser.nodes
  }

  /// The outermost value.
  package var root: JSONValue { JSONValue(document: self, index: 0) }

  /// The line and column of a node, both from 1 on; columns count Unicode scalars.
  func place(of index: Int) -> (line: Int, column: Int) {
    Self.place(of: Int(nodes[index].start) - (nodes[index].kind == .string ? 1 : 0), in: bytes)
  }

  static func place(of offset: Int, in bytes: [UInt8]) -> (line: Int, column: Int) {
    let before = bytes.prefix(offset)
    let lineStart = before.lastIndex(of: UInt8(ascii: "\n")).map { $0 + 1 } ?? 0
    let line = before.count { $0 == UInt8(ascii: "\n") } + 1
    // Continuation bytes belong to the scalar before them.
    return (line, before[lineStart...].count { $0 & 0xC0 != 0x80 } + 1)
  }

  func path(to target: Int) -> String { Self.path(to: target, in: nodes, bytes) }

  /// The names and positions that lead to a node. They are found by walking down to it, so that no value has to carry
  /// them.
  ///
  /// - Parameter target: a node; the number of nodes for the value that is parsed next.
  static func path(to target: Int, in nodes: [Node], _ bytes: [UInt8]) -> String {
    var path = ""
    var container = 0
    while container < min(target, nodes.count), nodes[container].kind == .array || nodes[container].kind == .object {
      let isObject = nodes[container].kind == .object
      var child = container + 1
      var position = 0
      while true {
        let value = isObject ? child + 1 : child
        // An open container reaches to the end.
        let end = value < nodes.count && nodes[value].next > 0 ? Int(nodes[value].next) : .max
        if target < end {
          if !isObject {
            path += "[\(position)]"
          } else if child < nodes.count {
            let name = string(nodes[child], in: bytes)
            path = path.appendingJSONName(name)
          }
          container = value
          break
        }
        child = end
        position += 1
      }
    }
    return path
  }

  static func string(_ node: Node, in bytes: [UInt8]) -> String {
    if !node.isMarked { return String(decoding: bytes[node.range], as: UTF8.self) }
    var text: [UInt8] = []
    append(node, of: bytes, to: &text)
    return String(decoding: text, as: UTF8.self)
  }

  /// Appends the content of a string that the parser has accepted, with escapes resolved.
  static func append(_ node: Node, of bytes: [UInt8], to text: inout [UInt8]) {
    guard node.isMarked else {
      text.append(contentsOf: bytes[node.range])
      return
    }
    var at = Int(node.start)
    func fourHexDigits() -> UInt32 {
      defer { at += 4 }
      return (at..<at + 4).reduce(0) { $0 << 4 | UInt32(JSONParser.hexDigit(bytes[$1]) ?? 0) }
    }
    while at < node.end {
      let byte = bytes[at]
      at += 1
      guard byte == UInt8(ascii: "\\") else {
        text.append(byte)
        continue
      }
      let escape = bytes[at]
      at += 1
      switch escape {
      case UInt8(ascii: "b"): text.append(0x08)
      case UInt8(ascii: "f"): text.append(0x0C)
      case UInt8(ascii: "n"): text.append(0x0A)
      case UInt8(ascii: "r"): text.append(0x0D)
      case UInt8(ascii: "t"): text.append(0x09)
      case UInt8(ascii: "u"):
        var value = fourHexDigits()
        if 0xD800...0xDBFF ~= value {
          at += 2  // the \u of the other half
          value = 0x10000 + (value - 0xD800) << 10 + (fourHexDigits() - 0xDC00)
        }
        if let scalar = Unicode.Scalar(value) { text.append(contentsOf: UTF8.encode(scalar)!) }
      default: text.append(escape)
      }
    }
  }
}
