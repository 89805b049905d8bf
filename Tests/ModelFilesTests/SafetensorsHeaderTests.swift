import BitNetModelFiles
import ModelFilesSupport
import Testing

@Suite("Safetensors headers")
struct SafetensorsHeaderTests {
  func parse(_ bytes: [UInt8]) throws -> SafetensorsHeader {
    try bytes.withUnsafeBytes { try SafetensorsHeader(parsing: $0, fileSize: bytes.count, file: "a.safetensors") }
  }

  func parse(header: String, data: Int = 8) throws -> SafetensorsHeader {
    try parse(TensorFileBuilder.file(header: header, data: [UInt8](repeating: 0, count: data)))
  }

  func entry(_ name: String = "w", dtype: String = "F32", shape: String = "[2]", offsets: String = "[0,8]") -> String {
    "\"\(name)\":{\"dtype\":\"\(dtype)\",\"shape\":\(shape),\"data_offsets\":\(offsets)}"
  }

  @Test func readsTensorsInOrderOfTheirData() throws {
    var builder = TensorFileBuilder()
    builder.metadata = ["format": "pt", "note": "a \"quoted\" word"]
    builder.add("b", .u8, [3, 1], [1, 2, 3])
    builder.add("empty", .f32, [0, 4], [])
    builder.add("a", .i64, [], littleEndian(Int64(-5)))
    let header = try parse(builder.file())
    #expect(header.metadata == builder.metadata)
    #expect(header.tensors.map(\.name) == ["b", "empty", "a"])
    #expect(header["a"]?.shape == [])
    #expect(header["a"]?.elementCount == 1)
    #expect(header["b"]?.range == header.dataStart..<header.dataStart + 3)
    #expect(header["empty"]?.elementCount == 0)
    #expect(header["c"] == nil)
  }

  @Test func refusesFilesThatAreTooShort() {
    for count in 0..<8 {
      expectRefusal("the file", "has \(count) bytes") { _ = try parse([UInt8](repeating: 0, count: count)) }
    }
  }

  @Test(arguments: [0, 1, 100_000_001, UInt64(1) << 63, UInt64.max])
  func refusesImpossibleHeaderLengths(_ length: UInt64) {
    expectRefusal("the header length", "is \(length)") { _ = try parse(littleEndian(length) + Array("{}      ".utf8)) }
  }

  @Test func refusesAHeaderBeyondTheFile() {
    expectRefusal("the header", "ends at byte 1008", expected: "which has 16 bytes") {
      _ = try parse(littleEndian(UInt64(1000)) + Array("{}      ".utf8))
    }
  }

  @Test func refusesWhatIsNotAnObject() {
    expectRefusal("the header", "starts with the byte 91") { _ = try parse(header: "[]") }
    expectRefusal("the header at line 1, column 6, in w,", "is the end of the text", expected: "a JSON value") {
      _ = try parse(header: "{\"w\":")
    }
    expectRefusal("the header", "is \"{}\"", expected: "the end") { _ = try parse(header: "{} {}") }
    expectRefusal("the header", "is \"\\0}\"", expected: "a name in quotes") { _ = try parse(header: "{\0}") }
    expectRefusal("the header", "is the byte 0xff", expected: "UTF-8") {
      _ = try parse(littleEndian(UInt64(8)) + [0x7B, 0x22, 0xFF, 0x22, 0x3A, 0x31, 0x7D, 0x20])
    }
    expectRefusal("w", "is 1", expected: "an object") { _ = try parse(header: "{\"w\":1}") }
    expectRefusal("__metadata__.format", "is 1", expected: "a string") {
      _ = try parse(header: "{\"__metadata__\":{\"format\":1}}")
    }
  }

  @Test func deepNestingIsAnError() {
    let depth = 100_000
    let arrays = String(repeating: "[", count: depth) + String(repeating: "]", count: depth)
    let objects = String(repeating: "{\"a\":", count: depth) + "1" + String(repeating: "}", count: depth)
    expectRefusal("the header", "nested more than 64 deep") { _ = try parse(header: "{\"w\":\(arrays)}") }
    expectRefusal("the header", "nested more than 64 deep") { _ = try parse(header: objects) }
    expectRefusal("the header", "nested more than 64 deep") { _ = try parse(header: String(objects.prefix(depth))) }
  }

  @Test func refusesRepeatedNames() {
    // Both name the same bytes: only the type tells which of them a parser takes.
    let pair = "{\(entry(dtype: "F32")),\(entry(dtype: "I32"))}"
    expectRefusal("w", "is given twice") { _ = try parse(header: pair) }
    let escaped = "{\(entry(dtype: "F32")),\(entry("\\u0077", dtype: "I32"))}"
    expectRefusal("w", "is given twice") { _ = try parse(header: escaped) }
    let within = "{\"w\":{\"dtype\":\"F32\",\"dtype\":\"I32\",\"shape\":[2],\"data_offsets\":[0,8]}}"
    expectRefusal("w.dtype", "is given twice") { _ = try parse(header: within) }
    // Other bytes, but the same string to Swift: in a dictionary, one would take the place of the other.
    let normalised =
      "{\(entry("\u{E9}", shape: "[1]", offsets: "[0,4]")),\(entry("e\u{301}", shape: "[1]", offsets: "[4,8]"))}"
    expectRefusal("tensor e\u{301}", "two Unicode normalisations") { _ = try parse(header: normalised) }
    expectRefusal(#"__metadata__["e\#u{301}"]"#, "two Unicode normalisations") {
      _ = try parse(header: "{\"__metadata__\":{\"\u{E9}\":\"a\",\"e\u{301}\":\"b\"}}", data: 0)
    }
    #expect(throws: Never.self) {
      try parse(header: "{\(entry("a", shape: "[1]", offsets: "[0,4]")),\(entry("b", shape: "[1]", offsets: "[4,8]"))}")
    }
  }

  @Test(arguments: ["F4", "f32", "", "Q8_0"])
  func refusesUnknownTypes(_ dtype: String) {
    expectRefusal("tensor w", "has dtype \(dtype)", expected: "BF16") {
      _ = try parse(header: "{\(entry(dtype: dtype))}")
    }
  }

  @Test func refusesImpossibleShapes() {
    expectRefusal("tensor w", "has shape [-2]") { _ = try parse(header: "{\(entry(shape: "[-2]"))}") }
    expectRefusal("tensor w", "has shape [4294967296, 4294967296]", expected: "below 2^63") {
      _ = try parse(header: "{\(entry(shape: "[4294967296,4294967296]"))}")
    }
    // A product that wraps around to the right size.
    expectRefusal("tensor w", "has shape", expected: "below 2^63") {
      _ = try parse(header: "{\(entry(shape: "[4611686018427387905,2]"))}")
    }
    for number in ["1e308", "9223372036854775808", "1.5", "1" + String(repeating: "0", count: 400)] {
      expectRefusal("w.shape[0]", "is \(number.prefix(3))", expected: "an integer") {
        _ = try parse(header: "{\(entry(shape: "[\(number)]"))}")
      }
    }
    expectRefusal("w.shape", "is 2", expected: "an array") {
      _ = try parse(header: "{\(entry(shape: "2"))}")
    }
  }

  @Test func refusesImpossibleOffsets() {
    for offsets in [
      "[8,0]", "[-8,0]", "[0,9]", "[9223372036854775807,9223372036854775807]", "[0,-9223372036854775808]",
    ] {
      expectRefusal("tensor w", "has data_offsets") { _ = try parse(header: "{\(entry(offsets: offsets))}") }
    }
    expectRefusal("tensor w", "has 1 data_offsets") { _ = try parse(header: "{\(entry(offsets: "[0]"))}") }
    expectRefusal("tensor w", "has 3 data_offsets") { _ = try parse(header: "{\(entry(offsets: "[0,8,8]"))}") }
    expectRefusal("tensor w", "has 4 bytes", expected: "8, for F32 of shape [2]") {
      _ = try parse(header: "{\(entry(offsets: "[0,4]"))}", data: 4)
    }
    expectRefusal("w.data_offsets", "is missing") { _ = try parse(header: "{\"w\":{\"dtype\":\"F32\",\"shape\":[2]}}") }
    expectRefusal("w.dtype", "is missing") { _ = try parse(header: "{\"w\":{\"shape\":[2],\"data_offsets\":[0,8]}}") }
  }

  @Test func refusesOverlapsAndHoles() {
    let overlap = "{\(entry("a", shape: "[2]", offsets: "[0,8]")),\(entry("b", shape: "[2]", offsets: "[4,12]"))}"
    expectRefusal("tensor b", "starts at byte 4", expected: "byte 8") { _ = try parse(header: overlap, data: 12) }
    let hole = "{\(entry("a", shape: "[1]", offsets: "[0,4]")),\(entry("b", shape: "[1]", offsets: "[8,12]"))}"
    expectRefusal("tensor b", "starts at byte 8", expected: "byte 4") { _ = try parse(header: hole, data: 12) }
    expectRefusal("tensor w", "starts at byte 4", expected: "byte 0") {
      _ = try parse(header: "{\(entry(offsets: "[4,12]"))}", data: 12)
    }
    expectRefusal("the data", "has 12 bytes", expected: "8, where the last tensor ends") {
      _ = try parse(header: "{\(entry())}", data: 12)
    }
  }

  @Test func refusesTruncatedFiles() throws {
    var builder = TensorFileBuilder()
    builder.add("first", float32: [1, 2])
    builder.add("last", float32: [3, 4])
    let file = builder.file()
    for count in 0..<file.count {
      #expect(throws: ModelFileError.self) { try parse(Array(file.prefix(count))) }
    }
    expectRefusal("tensor last", "has data_offsets [8, 16]", expected: "which has 15 bytes") {
      _ = try parse(Array(file.dropLast()))
    }
  }
}
