import BitNetConstraints
import Testing

@Suite("A JSON schema's texts")
struct SchemaTests {
  /// A schema, texts that satisfy it, and texts that do not.
  struct Case: CustomTestStringConvertible {
    let schema: String
    let right: [String]
    let wrong: [String]
    var testDescription: String { schema }
  }

  static let cases = [
    Case(schema: #"{"type":"null"}"#, right: ["null"], wrong: ["", "nul", "0", " null"]),
    Case(schema: #"{"type":["boolean","null"]}"#, right: ["true", "false", "null"], wrong: ["1", "True"]),
    Case(
      schema: #"{"type":"integer"}"#, right: ["0", "-1", "999999999999999"],
      wrong: ["-0", "01", "1.0", "1e3", "+1", "", "-", "1000000000000000"]),
    Case(
      schema: #"{"type":"integer","minimum":-12,"exclusiveMaximum":105}"#,
      right: ["-12", "-9", "0", "9", "10", "99", "104"], wrong: ["-13", "105", "110", "-20", "1000", "-100"]),
    Case(
      schema: #"{"type":"integer","minimum":0.5,"maximum":7.9}"#, right: ["1", "7"], wrong: ["0", "8", "0.5"]),
    Case(
      schema: #"{"type":"integer","multipleOf":7,"minimum":-30,"maximum":400}"#,
      right: ["-28", "0", "7", "399"], wrong: ["-35", "8", "406", "-7.0"]),
    Case(
      schema: #"{"type":"number"}"#, right: ["0", "-0.5", "1e9", "1.25E-07", "-0"],
      wrong: [".5", "1.", "1e", "00", "NaN", "1e100"]),
    Case(
      schema: #"{"type":"number","exclusiveMinimum":-0.25,"maximum":10.5}"#,
      right: ["-0.24", "-0.2", "0", "0.0", "10.5", "10.50", "10.4999", "9", "10"],
      wrong: ["-0.25", "-0.250", "-0.3", "10.51", "11", "-1", "-0", "1e0"]),
    Case(
      schema: #"{"type":"number","minimum":3}"#, right: ["3", "3.0", "3.5", "1000000000"], wrong: ["2.99", "2", "-4"]),
    Case(
      schema: #"{"type":"string"}"#, right: [#""""#, #""a\n\u00e9é🙂""#, #""\\\"""#],
      wrong: ["\"a\nb\"", #""\x""#, #""\ud800""#, #""a"#, "'a'"]),
    Case(
      schema: #"{"type":"string","minLength":2,"maxLength":3}"#, right: [#""éé""#, #""🙂a\u0041""#, #""abc""#],
      wrong: [#""a""#, #""abcd""#, #""🙂🙂🙂🙂""#]),
    Case(
      schema: #"{"type":"string","pattern":"^[a-c]+(x|yz)?$","maxLength":4}"#,
      right: [#""a""#, #""abyz""#, #""abcx""#],
      wrong: [#""""#, #""abcyz""#, #""ax ""#, #""ad""#]),
    Case(
      schema: #"{"type":"string","pattern":"[0-9]{2}"}"#, right: [#""12""#, #""a 123 b""#], wrong: [#""1""#, #""1a2""#]),
    Case(
      schema: #"{"type":"string","pattern":"^[^\"]\\\\$"}"#, right: [#""\n\\""#, #""é\\""#], wrong: [#""\"\\""#]),
    Case(
      schema: #"{"type":"string","format":"date"}"#, right: [#""2024-02-29""#, #""2023-12-31""#],
      wrong: [#""2023-02-29""#, #""2023-04-31""#, #""1900-02-29""#, #""2023-1-1""#]),
    Case(schema: #"{"type":"string","format":"made-up"}"#, right: [#""anything""#], wrong: ["1"]),
    Case(
      schema: #"{"enum":["a\"b",1.0,null,{"k":[1, 2]}]}"#, right: [#""a\"b""#, "1", "null", #"{"k":[1,2]}"#],
      wrong: ["\"a\"", "2", #"{"k":[1]}"#]),
    Case(schema: #"{"enum":[1,2,"a","bc"],"type":"string","minLength":2}"#, right: ["\"bc\""], wrong: ["\"a\"", "1"]),
    Case(schema: #"{"const":"é"}"#, right: ["\"é\""], wrong: ["\"e\""]),
    Case(
      schema: #"{"type":"array","items":{"type":"integer","minimum":0,"maximum":9},"minItems":1,"maxItems":3}"#,
      right: ["[1]", "[1,2]", "[ 1, 2,\n  3\n]"], wrong: ["[]", "[1,2,3,4]", "[1,]", "[1  ]", "[10]"]),
    Case(
      schema: #"{"type":"array","prefixItems":[{"type":"null"},{"const":1}],"items":false}"#,
      right: ["[]", "[null]", "[null,1]"], wrong: ["[1]", "[null,1,2]", "[,1]"]),
    Case(schema: #"{"type":"array","maxItems":0}"#, right: ["[]", "[ ]"], wrong: ["[1]"]),
    Case(
      schema:
        #"{"type":"object","properties":{"a":{"type":"null"},"b":{"const":1},"c":{"const":2}},"required":["b"]}"#,
      right: [#"{"b":1}"#, #"{"a":null,"b":1,"c":2}"#, "{\n  \"b\": 1,\n  \"c\": 2\n}"],
      wrong: ["{}", #"{"a":null}"#, #"{"c":2,"b":1}"#, #"{"b":1,}"#, #"{"b":1,"d":1}"#, #"{,"b":1}"#, #"{"b" :1}"#]),
    Case(
      schema: #"{"type":"object","properties":{"ab":{"const":1}},"additionalProperties":{"type":"null"}}"#,
      right: ["{}", #"{"ab":1}"#, #"{"a":null,"abc":null}"#, #"{"ab":1,"é":null}"#],
      wrong: [#"{"ab":null}"#, #"{"ab":1,"ab":null}"#, #"{"x":1}"#, #"{"a\u0062":null}"#]),
    Case(
      schema: #"{"type":"object","additionalProperties":{"const":1},"minProperties":1,"maxProperties":2}"#,
      right: [#"{"a":1}"#, #"{"a":1,"b":1}"#], wrong: ["{}", #"{"a":1,"b":1,"c":1}"#]),
    Case(
      schema: #"{"type":"object","properties":{"a":{"const":1}},"required":["a","z"]}"#, right: [#"{"a":1,"z":[]}"#],
      wrong: [#"{"a":1}"#]),
    Case(
      schema:
        #"{"anyOf":[{"type":"object","properties":{"kind":{"const":1}},"required":["kind"]},{"type":"integer"}]}"#,
      right: ["12", #"{"kind":1}"#], wrong: ["{}", "\"a\""]),
    Case(
      schema: #"{"oneOf":[{"type":"string","maxLength":2},{"type":"integer"}]}"#, right: ["1", "\"ab\""],
      wrong: ["\"abc\"", "null"]),
    Case(
      schema: #"{"type":"object","properties":{"a":{"const":1},"b":{"const":2}},"#
        + #""anyOf":[{"required":["a"]},{"required":["b"]}]}"#,
      right: [#"{"a":1}"#, #"{"b":2}"#, #"{"a":1,"b":2}"#], wrong: ["{}"]),
    Case(
      schema: #"{"allOf":[{"type":"object","properties":{"a":{"type":"integer"}},"required":["a"]},"#
        + #"{"properties":{"a":{"minimum":5,"maximum":6},"b":{"const":1}}}]}"#,
      right: [#"{"a":5}"#, #"{"a":6,"b":1}"#], wrong: [#"{"a":4}"#, "{}"]),
    Case(
      schema: ##"{"$defs":{"n":{"type":["object","null"],"properties":{"x":{"$ref":"#/$defs/n"}},"##
        + ##""required":["x"]}},"$ref":"#/$defs/n"}"##,
      right: ["null", #"{"x":null}"#, #"{"x":{"x":{"x":null}}}"#], wrong: ["{}", #"{"x":1}"#]),
    Case(
      schema: ##"{"type":"object","properties":{"a":{"$ref":"#/definitions/x~1y%20z"}},"##
        + ##""definitions":{"x/y z":{"const":1}}}"##,
      right: ["{}", #"{"a":1}"#], wrong: [#"{"a":2}"#]),
    Case(schema: #"{"type":"integer","nullable":true,"maximum":3,"minimum":3}"#, right: ["3", "null"], wrong: ["4"]),
    Case(
      schema: "{}", right: ["1", "[{\"a\":[true]}]", "\"x\"", "{\"a\":null,\"b\":{}}"], wrong: ["", "{a:1}", "[1 2]"]),
  ]

  @Test("are those that satisfy it", arguments: cases)
  func texts(example: Case) throws {
    let machine = try machine(example.schema)
    for text in example.right { #expect(accepts(machine, text), "\(text)") }
    for text in example.wrong { #expect(!accepts(machine, text), "\(text)") }
  }

  @Test("cannot be had for what is not supported; the sentence names it")
  func refusals() {
    let cases: [(String, String)] = [
      (#"{"not":{}}"#, "not of the schema is not supported; expected a schema without the keyword not"),
      (
        #"{"properties":{"a":{"patternProperties":{}}}}"#,
        "properties.a.patternProperties of the schema is not supported; expected a schema without the keyword "
          + "patternProperties"
      ),
      (
        #"{"type":"array","uniqueItems":true}"#,
        "uniqueItems of the schema is not supported; expected a schema without the keyword uniqueItems"
      ),
      (#"{"pattern":"(?=a)b"}"#, "pattern of the schema is looking ahead; expected a pattern without (?= and (?!"),
      (#"{"pattern":"a^b"}"#, "pattern of the schema is anchored inside; expected ^ at its beginning and $ at its end"),
      (
        #"{"type":"number","multipleOf":0.01}"#,
        "multipleOf of the schema is 0.01; expected an integer from 1 to 1000, the multiples that are supported"
      ),
      (
        #"{"$ref":"other.json"}"#,
        "$ref of the schema is \"other.json\"; expected # or a reference inside the schema such as #/$defs/name"
      ),
      (
        ##"{"$ref":"#/$defs/a"}"##,
        "$ref of the schema is \"#/$defs/a\"; expected a reference to a part that the schema has; \"$defs\" is missing"
      ),
      (
        #"{"type":"text"}"#,
        "type of the schema is \"text\"; expected null, boolean, integer, number, string, array or "
          + "object, or an array of these"
      ),
      (
        ##"{"properties":{"a":{"$ref":"#"}},"required":["a"],"type":"object"}"##,
        "the schema is satisfied by no value; expected a schema that a finite value satisfies"
      ),
      (
        #"{"type":"integer","minimum":3,"maximum":2}"#,
        "the schema is satisfied by no value; expected a schema that a finite value satisfies"
      ),
      (#"[]"#, "the schema is an array; expected a JSON schema: an object, true or false"),
      ("{", "the schema at line 1, column 2 is the end of the text; expected a name in quotes"),
    ]
    for (schema, sentence) in cases { #expect(refusal(schema) == sentence) }
    let overlapping = refusal(#"{"oneOf":[{"type":"integer"},{"type":"number"}]}"#)
    #expect(overlapping?.hasPrefix("oneOf of the schema is a choice between alternatives") == true)
    let deep = String(repeating: #"{"items":"#, count: 100_000) + "{}" + String(repeating: "}", count: 100_000)
    #expect(refusal(deep) != nil)
    #expect(refusal(String(repeating: "[", count: 100_000)) != nil)
  }
}
