import BitNetJSON
import Testing

#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

@Suite("JSON texts")
struct JSONTests {
  func parse(_ text: String, limits: JSONLimits = JSONLimits()) throws -> JSONValue {
    try JSONDocument(Array(text.utf8), limits: limits).root
  }

  func expectError(
    _ parts: String..., sourceLocation: SourceLocation = #_sourceLocation, _ body: () throws -> Void
  ) {
    let error = #expect(throws: JSONError.self, sourceLocation: sourceLocation) { try body() }
    for part in parts {
      #expect(error?.description.contains(part) == true, "\(String(describing: error))", sourceLocation: sourceLocation)
    }
  }

  @Test("give values by name and position")
  func values() throws {
    let root = try parse(#" {"a": [1, -2.5e1, true, null, "x\n\u00e9\ud83d\ude00é"], "b": {"c": {}}} "#)
    let elements = Array(try root["a"].elements())
    #expect(elements.count == 5)
    #expect(try elements[0].integer() == 1 && elements[1].number() == -25 && elements[2].bool())
    #expect(elements[3].ifPresent == nil)
    #expect(try elements[4].string() == "x\né\u{1F600}é")
    #expect(elements[4].path == "a[4]")
    #expect(try root["b"]["c"].members().map { try $0.name.string() } == [])
    var fields = try root.fields()
    _ = fields["a"]
    #expect(fields["d"].ifPresent == nil && fields.unread == ["b"])
  }

  @Test("give 64-bit integers exactly")
  func integers() throws {
    #expect(try parse("18446744073709551615").integer(as: UInt64.self) == .max)
    #expect(try parse("-9223372036854775808").integer() == .min)
    #expect(try parse("9007199254740993").integer() == 9_007_199_254_740_993)
    for whole in ["24.0", "2.4e1", "240E-1", "0.0024e4"] { #expect(try parse(whole).integer() == 24, "\(whole)") }
    #expect(try parse("-0.0").integer() == 0)
    let broken = [
      "9223372036854775808", "1.5", "1e-1", "1e400", "1e99999999999999999999", "1" + String(repeating: "0", count: 400),
    ]
    for text in broken {
      expectError("expected an integer") { _ = try parse(text).integer() }
    }
    expectError("n is 9; expected an integer from 1 to 8") { _ = try parse(#"{"n":9}"#)["n"].integer(in: 1...8) }
    expectError("n is missing; expected a string") { _ = try parse("{}")["n"].string() }
    #expect(try parse("0.1").number() == 0.1 && parse("1e-400").number() == 0)
    expectError("is 1e400; expected a number that a Double can hold") { _ = try parse("1e400").number() }
  }

  @Test(
    "are refused when they are not RFC 8259",
    arguments: [
      "", " ", "{", "[", "[1", "[1,", "[1,]", #"{"a":1,}"#, #"{"a"}"#, #"{"a":}"#, "{a:1}", "{1:1}", "[1 2]", "{} {}",
      "nul", "NaN", "Infinity", "-Infinity", "-", "01", "+1", "1.", ".5", "1e", "1e+", "0x1", "\"", "\"\\", #""\x""#,
      #""\u12G4""#, "\"\n\"", #""\ud800""#, #""\ud800\u0041""#, #""\udc00""#, "'a'", "// a\n1", "\u{FEFF}1", "\0",
      "[1\0]", "]", "truefalse",
    ])
  func notJSON(_ text: String) {
    expectError("at line", "expected") { _ = try parse(text) }
  }

  @Test(
    "are refused when they are not UTF-8",
    arguments: [
      [0x80], [0xC0, 0x80], [0xC3], [0xED, 0xA0, 0x80], [0xF0, 0x80, 0x80, 0x80], [0xF4, 0x90, 0x80, 0x80], [0xFF],
    ])
  func notUTF8(_ bytes: [UInt8]) {
    expectError("the byte 0x", "UTF-8") { _ = try JSONDocument([0x22] + bytes + [0x22]) }
  }

  @Test("name the line, the column and the path of an error")
  func places() {
    expectError("line 2, column 13", "rope.factor") { _ = try parse("{\"rope\": {\n  \"factor\": ?}}") }
    expectError(#"vocab["a b"] is 1"#) { _ = try parse(#"{"vocab":{"a b":1}}"#)["vocab"]["a b"].string() }
    let error = #expect(throws: JSONError.self) { try parse("{\"a\": [1,\n {\"é\": x}]}") }
    #expect(error?.line == 2 && error?.column == 8 && error?.path == #"a[1]["é"]"#)
  }

  @Test("are refused when a name is given twice")
  func names() throws {
    expectError("b.a is given twice") { _ = try parse(#"{"b":{"a":1,"\u0061":2}}"#) }
    let many = (0..<1000).map { "\"\($0)\":0" }.joined(separator: ",")
    #expect(try parse("{\(many)}").members().reduce(0) { count, _ in count + 1 } == 1000)
    expectError("777 is given twice") { _ = try parse("{\(many),\"\\u003777\":0}") }
  }

  @Test("are bounded in size and depth")
  func limits() throws {
    func nested(_ depth: Int) -> String { String(repeating: "[", count: depth) + String(repeating: "]", count: depth) }
    #expect(throws: Never.self) { try parse(nested(64)) }
    expectError("nested more than 64 deep at line 1, column 65") { _ = try parse(nested(65)) }
    expectError("nested") { _ = try parse(String(repeating: "{\"a\":", count: 100_000)) }
    #expect(throws: Never.self) { try parse(nested(100_000), limits: JSONLimits(depth: 100_000)) }
    expectError("is 5 bytes long; expected at most 4") { _ = try parse("12345", limits: JSONLimits(byteCount: 4)) }
  }

  @Test("are errors at every truncation")
  func truncations() {
    let text = Array(#"{"a":[1.5e3,"\ud83d\ude00é",true],"b":{"c":null}}"#.utf8)
    for count in 0..<text.count {
      #expect(throws: JSONError.self) { try JSONDocument(Array(text.prefix(count))) }
    }
  }

  @Test("are written as JSONEncoder writes them")
  func writing() throws {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    let controls = String(String.UnicodeScalarView((0...0x80).map { Unicode.Scalar($0)! })) + "é\u{1F600}/"
    #expect(try JSONTree.string(controls).serialized() == Array(encoder.encode(controls)))
    for value: Double in [0, 1e-5, 500_000, 0.1, 1e16, 1e300, .leastNonzeroMagnitude, -2.5, 1.0 / 3] {
      #expect(try JSONTree.number(value).serialized() == Array(encoder.encode(value)), "\(value)")
    }
    let names = ["b": 1, "a.10": 2, "a.2": 3, "B": 4]
    let tree = JSONTree.object(names.map { .init($0.key, .integer($0.value)) })
    #expect(try tree.serialized(sortingNames: true) == Array(encoder.encode(names)))
    expectError("is nan; expected a finite number") { _ = try JSONTree.number(.nan).serialized() }
  }
}
