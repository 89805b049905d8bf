import BitNetHub
import BitNetModelFiles
import Testing

@Suite("Files that a pull selects")
struct HubSelectionTests {
  private let model = HubModelName("org/model")!

  private func files(_ paths: [String]) throws -> [HubFile] {
    try paths.map { try HubFile(path: $0, size: 5, sha1: String(repeating: "a", count: 40), sha256: nil, in: model) }
  }

  private func select(_ paths: [String], _ name: String? = nil) throws -> HubSelection {
    try HubSelection(files(paths), name: name, of: model)
  }

  @Test("are what an engine reads")
  func folder() throws {
    let selection = try select([
      ".gitattributes", "README.md", "config.json", "model.safetensors", "model.safetensors.index.json",
      "model-00001-of-00001.safetensors", "pytorch_model.bin", "tokenizer.json", "tokenizer.model", "x.gguf",
    ])
    #expect(selection.files.map(\.path) == ["config.json", "tokenizer.json", "model.safetensors"])
    #expect(selection.index == nil)
    #expect(selection.missing == ["generation_config.json", "tokenizer_config.json", "chat_template.jinja"])
  }

  @Test("have the second tokenizer if the first is missing")
  func tokenizers() throws {
    let selection = try select(["config.json", "model.safetensors", "tokenizer.model"])
    #expect(selection.files.map(\.path) == ["config.json", "tokenizer.model", "model.safetensors"])
    #expect(selection.missing.suffix(1) == ["tokenizer.json"])
    let none = try select(["config.json", "model.safetensors"])
    #expect(none.missing.suffix(2) == ["tokenizer.json", "tokenizer.model"])
  }

  @Test("say how an embedding model's hidden states become vectors")
  func sentences() throws {
    let sentences = ["modules.json", "config_sentence_transformers.json", "1_Pooling/config.json"]
    let selection = try select(
      ["config.json", "tokenizer.json", "model.safetensors", "onnx/config.json", "a/1_Pooling/config.json"] + sentences)
    #expect(
      selection.files.map(\.path) == ["config.json", "tokenizer.json"] + sentences + ["model.safetensors"])
  }

  @Test("follow an index, whose files must exist")
  func index() throws {
    let paths = ["config.json", "model.safetensors.index.json", "a.safetensors"]
    var selection = try select(paths)
    #expect(selection.index?.path == "model.safetensors.index.json")
    try selection.add(shards: ["a.safetensors"], from: files(paths), of: model)
    #expect(selection.files.last?.path == "a.safetensors")
    #expect(throws: HubError.self) { try selection.add(shards: ["b.safetensors"], from: files(paths), of: model) }
  }

  @Test("are the only GGUF file, with all its parts")
  func gguf() throws {
    #expect(try select(["README.md", "a.gguf"]).files.map(\.path) == ["a.gguf"])
    let parts = ["a-00001-of-00002.gguf", "a-00002-of-00002.gguf"]
    #expect(try select(parts).files.map(\.path) == parts)
    #expect(try select(parts + ["b.gguf"], parts[1]).files.map(\.path) == parts)
    #expect(throws: HubError.self) { try select(parts + ["b.gguf"]) }
  }

  @Test(
    "do not exist where there are no weights", arguments: [[], ["README.md"], ["config.json", "pytorch_model.bin"]])
  func none(_ paths: [String]) {
    #expect(throws: HubError.self) { try select(paths) }
  }

  @Test("have safe names, sizes and hashes")
  func files() {
    let sha1 = String(repeating: "a", count: 40)
    for path in ["../x", "/x", "a\\b", "", "a//b", "a/../b", "a\u{0}", "a\u{1B}[31m"] {
      #expect(throws: HubError.self) { try HubFile(path: path, size: 1, sha1: sha1, sha256: nil, in: model) }
    }
    for size in [-1, 1 << 60] {
      #expect(throws: HubError.self) { try HubFile(path: "x", size: size, sha1: sha1, sha256: nil, in: model) }
    }
    for hash in [nil, "", "../../x", String(repeating: "A", count: 40)] {
      #expect(throws: HubError.self) { try HubFile(path: "x", size: 1, sha1: hash, sha256: nil, in: model) }
      #expect(throws: HubError.self) { try HubFile(path: "x", size: 1, sha1: sha1, sha256: hash ?? "x", in: model) }
    }
  }
}
