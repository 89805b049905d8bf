import BitNetInference
import BitNetModelFiles
import ModelFilesSupport
import TestSupport
import Testing

@Suite("Inspecting models")
struct ModelInspectionTests {
  @Test func aPackedFolder() throws {
    let found = try ModelInspection(path: fixture("bitnet-packed-auto-tied"))
    #expect(found.format == .huggingFace)
    #expect(found.parameters.total == found.configuration.parameterCount)
    #expect(found.parameters.ternary == 3 * (256 * 256 * 2 + 2 * 128 * 256 + 3 * 256 * 512))
    #expect(found.bytes.ternary == found.parameters.ternary / 4)
    #expect(found.bitsPerTernaryWeight == 2)
    #expect(found.scales?.count == 21)
    #expect(found.scaleBytes == 42)
    #expect(found.bytes.total + found.scaleBytes + found.otherBytes == found.files.map(\.byteCount).reduce(0, +))
    #expect(found.storage == "packed, 4 weights in a byte")
    #expect(!found.codesVerified)
  }

  @Test func mastersInShards() throws {
    let found = try ModelInspection(path: fixture("bitnet-bf16-online-tied"), verify: true)
    #expect(found.files.count == 2)
    #expect(found.scales == nil)
    #expect(found.bitsPerTernaryWeight == 16)
    #expect(found.codesVerified)
  }

  @Test(arguments: Fixture.all)
  func aConvertedFileSaysTheSame(_ fixture: Fixture) throws {
    let folder = try TemporaryFolder()
    try ModelConverter.convert(from: fixture.path, to: folder("out"), tokenizer: { _ in "tokens" })
    let before = try ModelInspection(path: fixture.path)
    let after = try ModelInspection(path: folder("out"), verify: true)
    #expect(after.format == .converted)
    #expect(after.configuration == before.configuration)
    #expect(after.parameters == before.parameters)
    #expect(after.bytes.total + after.scaleBytes + after.otherBytes == after.files[0].byteCount)
    #expect(after.bitsPerTernaryWeight == 2)
    #expect(after.tokenizer == "embedded")
    #expect(after.scales?.count == 7 * before.configuration.layerCount)
    if let stored = before.scales { #expect(after.scales == stored) }
  }

  @Test func brokenModelsAreRefusedWithTheLoadersSentence() throws {
    let folder = try TemporaryFolder()
    var tiny = TinyModel()
    tiny.file["model.norm.weight"] = nil
    try tiny.write(to: folder)
    expectRefusal("tensor model.norm.weight", "is missing") { _ = try ModelInspection(path: folder.path) }
  }
}
