import BitNetModelFiles
import BitNetTernary
import ModelFilesSupport
import TestSupport
import Testing

#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

@Suite("GGUF headers")
struct GGUFHeaderTests {
  func parse(_ bytes: [UInt8]) throws -> GGUFHeader { try GGUFHeader(parsing: shared(bytes), file: "a.gguf") }

  func header(_ change: (inout GGUFBuilder) -> Void) throws -> GGUFHeader {
    var builder = GGUFBuilder()
    change(&builder)
    return try parse(builder.file())
  }

  func bytes(_ path: String) throws -> [UInt8] { [UInt8](try Data(contentsOf: URL(filePath: path))) }

  /// Checks every key against what another reader found.
  func expect(_ header: GGUFHeader, _ contents: GGUFContents, of file: [UInt8]) {
    #expect(header.version == contents.version)
    #expect(header.tensors.count == contents.tensors)
    #expect(header.metadataEnd == contents.metadataEnd)
    #expect(header.metadata.entries.map(\.key) == contents.kv.map(\.key))
    for (entry, key) in zip(header.metadata.entries, contents.kv) {
      #expect(entry.value.type.name == key.type, "\(key.key)")
      let elements = entry.elements(of: file)
      if let value = key.value { #expect(elements == [value], "\(key.key)") }
      guard key.type == "array" else { continue }
      #expect(entry.value.elementType?.name == key.element && entry.value.count == key.count, "\(key.key)")
      #expect(sha256(file[entry.value.range]) == key.sha256, "\(key.key)")
      #expect(Array(elements.prefix(3)) == key.first && Array(elements.suffix(2)) == key.last, "\(key.key)")
    }
  }

  // MARK: - Files of others

  struct Synthetic: Decodable {
    let expect: String
    let contents: GGUFContents?
  }

  @Test func everySyntheticFileIsReadOrRefusedAsOthersDo() throws {
    let folder = fixture("gguf")
    let cases = try GGUFContents.read(Synthetic.self, folder + "/expected.json")
    #expect(cases.count == 41)
    for (name, expected) in cases {
      let path = "\(folder)/\(name).gguf"
      do {
        let file = try GGUFFile(path: path)
        #expect(expected.expect != "error", "\(name) was read")
        if let contents = expected.contents { expect(file.header, contents, of: try bytes(path)) }
      } catch let error as ModelFileError {
        #expect(expected.expect == "error" || expected.expect.hasPrefix("either"), "\(name): \(error)")
        #expect(!error.description.contains("\n"), "one sentence: \(error)")
      }
    }
  }

  /// The published vocabularies are in a folder beside the repository, or where BITNET_JUDGE says; those of llama.cpp's
  /// sources are where BITNET_GGUF_VOCABULARIES says.
  enum Judge {
    static let folder: String? = {
      let environment = ProcessInfo.processInfo.environment
      let folders = [
        environment["BITNET_JUDGE"], Repository.path("../shared/judge"), Repository.path("../../shared/judge"),
      ]
      return folders.compactMap(\.self).first { FileManager.default.fileExists(atPath: $0 + "/gguf/vocabularies.json") }
    }()

    static func path(_ name: String) -> String? {
      let others = ProcessInfo.processInfo.environment["BITNET_GGUF_VOCABULARIES"] ?? ""
      let paths = ["\(folder ?? "")/tokenizers/\(name.dropLast(5))/vocab.gguf", "\(others)/\(name)"]
      return paths.first { FileManager.default.fileExists(atPath: $0) }
    }
  }

  @Test(.enabled(if: Judge.folder != nil, "the judge's folder is not there; set BITNET_JUDGE to it"))
  func publishedVocabulariesAreReadAsOthersDo() throws {
    let folder = try #require(Judge.folder)
    var count = 0
    for (name, contents) in try GGUFContents.read(GGUFContents.self, folder + "/gguf/vocabularies.json") {
      guard let path = Judge.path(name) else { continue }
      expect(try GGUFFile(path: path).header, contents, of: try bytes(path))
      count += 1
    }
    #expect(count >= 5)
  }

  // MARK: - Values

  @Test func readsValuesOfEveryType() throws {
    let metadata = try header {
      $0.metadata = [
        ("u8", .u8(7)), ("i8", .i8(-7)), ("u16", .u16(60_000)), ("i16", .i16(-7)), ("u32", .u32(.max)),
        ("i32", .i32(-7)),
        ("u64", .u64(1 << 40)), ("i64", .i64(-1 << 40)), ("f32", .f32(0.1)), ("f64", .f64(0.1)), ("bool", .bool(true)),
        ("string", .string("ü\n")), ("strings", .strings(["a", "", "ü"])), ("floats", .floats([1, -0.5])),
        ("integers", .integers([-1, 2])), ("doubles", .doubles([0.1])), ("large", .u64(.max)),
      ]
    }.metadata
    let integers = try ["u8", "i8", "u16", "i16", "u32", "i32", "u64", "i64"].map { try metadata.integer($0) }
    #expect(integers == [7, -7, 60_000, -7, Int(UInt32.max), -7, 1 << 40, -1 << 40])
    #expect(try metadata.number("f32") == Double(Float(0.1)))
    #expect(try metadata.number("f64") == 0.1)
    #expect(try metadata.number("u8") == 7)
    #expect(try metadata.bool("bool") == true)
    #expect(try metadata.string("string") == "ü\n")
    #expect(try metadata.strings("strings") == ["a", "", "ü"])
    #expect(try metadata.byteStrings("strings") == [[0x61], [], [0xC3, 0xBC]])
    #expect(try metadata.numbers("floats") == [1, -0.5])
    #expect(try metadata.integers("integers") == [-1, 2])
    #expect(try metadata.numbers("doubles") == [0.1])
    #expect(try metadata.integer("none") == nil && metadata.strings("none") == nil)
    expectRefusal("key large", "is of type u64", expected: "below 2^63") { _ = try metadata.integer("large") }
    expectRefusal("key f32", "is of type f32", expected: "a whole number") { _ = try metadata.integer("f32") }
    expectRefusal("key u8", "is of type u8", expected: "a string") { _ = try metadata.string("u8") }
    expectRefusal("key floats", "is an array of type f32", expected: "strings") { _ = try metadata.strings("floats") }
    expectRefusal("key floats", "is an array", expected: "whole numbers") { _ = try metadata.integers("floats") }
    expectRefusal("key string", "is of type string", expected: "a bool") { _ = try metadata.bool("string") }
    expectRefusal("key none", "is missing") { _ = try metadata.required("none", metadata.integer("none")) }
  }

  @Test func refusesTextThatIsNotUTF8() throws {
    let metadata = try header { $0.metadata = [("s", .raw(8, littleEndian(UInt64(1)) + [0xFF]))] }.metadata
    expectRefusal("key s", "not UTF-8") { _ = try metadata.string("s") }
  }

  @Test func refusesRepeatedKeysAndNestedArrays() {
    expectRefusal("key a", "is given twice") { _ = try header { $0.metadata = [("a", .u8(1)), ("a", .u8(2))] } }
    expectRefusal("key a", "is an array of arrays") {
      _ = try header { $0.metadata = [("a", .raw(9, littleEndian(UInt32(9)) + littleEndian(UInt64(0))))] }
    }
  }

  @Test func namesTheByteOrder() {
    expectRefusal("the version", "is 3 in big-endian order") { _ = try header { $0.version = UInt32(3).byteSwapped } }
  }

  @Test func everyPrefixOfAFileIsRefused() throws {
    var builder = GGUFBuilder()
    builder.metadata = [("a", .strings(["x", "y"])), ("b", .u32(1))]
    builder.tensors = [.init("t", [4, 2], type: 0, bytes: [UInt8](repeating: 1, count: 32))]
    let file = builder.file()
    for count in 0..<file.count {
      #expect(throws: ModelFileError.self, "\(count) bytes") { try parse(Array(file.prefix(count))) }
    }
    #expect(try parse(file).tensors.count == 1)
  }

  // MARK: - Tensors

  @Test(arguments: [1, 8, 32, 64, 4096])
  func placesTensorsAtAnyAlignment(_ alignment: Int) throws {
    let header = try header {
      $0.alignment = alignment
      $0["general.alignment"] = .u32(UInt32(alignment))
      $0.tensors = [
        .init("b", [3, 2], type: 0, bytes: [UInt8](repeating: 1, count: 24)),
        .init("empty", [0], type: 0, bytes: []),
        .init("a", [256], type: 35, bytes: [UInt8](repeating: 2, count: 66)),
      ]
    }
    #expect(header.alignment == alignment)
    #expect(header.tensors.map(\.name) == ["b", "empty", "a"])
    #expect(header["b"]?.shape == [2, 3])
    #expect(header["a"]?.type == .tq2_0)
    #expect(header["a"]?.range.count == 66)
    #expect(header.tensors.allSatisfy { ($0.range.lowerBound - header.dataStart) % alignment == 0 })
  }

  @Test func refusesTensorsThatOverlap() {
    expectRefusal("tensor a", "has 64 bytes", expected: "at most 32, up to tensor b") {
      _ = try header {
        $0.tensors = [
          .init("a", [16], type: 0, bytes: [UInt8](repeating: 1, count: 64)),
          .init("b", [8], type: 0, bytes: [UInt8](repeating: 1, count: 32), offset: 32),
        ]
      }
    }
  }

  /// A tensor of 64 x 256 elements of a type number that two programs use, followed by another.
  func ambiguous(_ number: UInt32, bytes: Int) throws -> TensorType? {
    try header {
      $0.tensors = [
        .init("t", [256, 64], type: number, bytes: [UInt8](repeating: 0, count: bytes)),
        .init("next", [1], type: 0, bytes: [0, 0, 0, 0]),
      ]
    }["t"]?.type
  }

  @Test func sizesDecideBetweenTypesOfOneNumber() throws {
    #expect(try ambiguous(39, bytes: 64 * 256 / 32 * 17) == .mxfp4)
    #expect(try ambiguous(39, bytes: 64 * 256 / 32 * 17 + 32) == .tl2)
    #expect(try ambiguous(39, bytes: 3000) == .tl2)
    #expect(try ambiguous(42, bytes: 64 * 256 / 64 * 18) == .q2_0)
    #expect(try ambiguous(42, bytes: 64 * 256 / 128 * 34) == .q2_0Of128)
    #expect(try ambiguous(40, bytes: 64 * 256 / 64 * 36) == .nvfp4)
    #expect(try ambiguous(36, bytes: 64 * 256 / 4 + 32) == .i2_S)
    expectRefusal("tensor t", "has type number 77") { _ = try ambiguous(77, bytes: 64) }
  }

  // MARK: - Split files

  func part(_ number: UInt16, of count: UInt16, tensor: String) -> GGUFBuilder {
    var builder = GGUFBuilder()
    builder.metadata = [("split.no", .u16(number)), ("split.count", .u16(count)), ("split.tensors.count", .i32(2))]
    builder.tensors = [.init(tensor, [1], type: 0, bytes: [0, 0, 0, 0])]
    return builder
  }

  @Test func openingAnyPartOpensAll() throws {
    let folder = try TemporaryFolder()
    let first = try folder.write("m-00001-of-00002.gguf", part(0, of: 2, tensor: "a").file())
    let second = try folder.write("m-00002-of-00002.gguf", part(1, of: 2, tensor: "b").file())
    for path in [first, second] {
      let parts = try GGUFParts(path: path)
      #expect(parts.name == first)
      #expect(parts.names == ["a", "b"])
    }
    try folder.write("m-00002-of-00002.gguf", part(1, of: 2, tensor: "a").file())
    expectRefusal("tensor a", "is also in") { _ = try GGUFParts(path: first) }
    try folder.write("m-00002-of-00002.gguf", part(0, of: 2, tensor: "b").file())
    expectRefusal("key split.no", "is not 1") { _ = try GGUFParts(path: first) }
    try FileManager.default.removeItem(atPath: second)
    expectRefusal("the file", "cannot be opened") { _ = try GGUFParts(path: first) }
    let renamed = try folder.write("other.gguf", part(0, of: 2, tensor: "a").file())
    expectRefusal("the file", "is part 1 of 2 under another name") { _ = try GGUFParts(path: renamed) }
  }
}
