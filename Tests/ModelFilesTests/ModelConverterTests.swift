import BitNetInference
import BitNetModelFiles
import ModelFilesSupport
import BitNetTernary
import TestSupport
import Testing

@Suite("Converting models")
struct ModelConverterTests {
  @Test(arguments: Fixture.all)
  func aConvertedModelHasTheSameWeights(_ fixture: Fixture) throws {
    let folder = try TemporaryFolder()
    let source = try fixture.load().weights
    let summary = try ModelConverter.convert(from: fixture.path, to: folder("model.safetensors"))
    let model = try ModelLoader.load(path: folder("model.safetensors"))
    #expect(WeightBits(model.weights) == WeightBits(source))
    #expect(model.format == .converted)
    #expect(model.source == "\(fixture.name) (\(source.configuration.architecture))")
    #expect(summary.configuration == source.configuration)
    #expect(summary.tileByteCount == source.tileByteCount)
    #expect(try summary.byteCount == folder.read("model.safetensors").count)
    #expect(!summary.hasTokenizer)
  }

  @Test(arguments: TinyModel.Form.allCases)
  func everyFormConverts(_ form: TinyModel.Form) throws {
    let folder = try TemporaryFolder()
    let tiny = TinyModel(form)
    try tiny.write(to: folder)
    try ModelConverter.convert(from: folder.path, to: folder("out"))
    #expect(try WeightBits(ModelLoader.load(path: folder("out")).weights) == WeightBits(tiny.load()))
  }

  @Test("A value that is not finite is named with its place")
  func nonFiniteValues() throws {
    for (bits, value) in [(UInt16(0x7F80), "inf"), (0x7FC0, "nan")] {
      let folder = try TemporaryFolder()
      let embedding = "model.embed_tokens.weight"
      let source = fixture("bitnet-packed-auto-tied")
      let tensor = try #require(try SafetensorsFile(path: source + "/model.safetensors").header[embedding])
      var bytes = try MappedFile(path: source + "/model.safetensors").bytes.withUnsafeBytes { Array($0) }
      let position = tensor.range.lowerBound + 2 * (3 * tensor.shape[1] + 5)
      bytes.replaceSubrange(position..<position + 2, with: littleEndian(bits))
      try folder.write("model.safetensors", bytes)
      try folder.write(
        "config.json", MappedFile(path: source + "/config.json").bytes.withUnsafeBytes { Array($0) })
      let place = "row 3, column 5"
      for output in ["out.safetensors", "out.gguf"] {
        expectRefusal("tensor \(embedding)", "holds \(value) in \(place)") {
          try ModelConverter.convert(from: folder.path, to: folder(output), type: .i2_S)
        }
      }
      expectRefusal("tensor \(embedding)", "holds \(value) in \(place)") {
        _ = try ModelInspection(path: folder.path, verify: true)
      }
      #expect(try folder.names == ["config.json", "model.safetensors"])
    }
  }

  @Test func everythingBesideTheWeightsTravels() throws {
    let folder = try TemporaryFolder()
    var tiny = TinyModel()
    tiny.config["rope_scaling"] =
      "{\"rope_type\":\"llama3\",\"factor\":8.0,\"low_freq_factor\":1.0,\"high_freq_factor\":4.0,"
      + "\"original_max_position_embeddings\":32}"
    try tiny.write(to: folder)
    let tokenizer = "{\"a\": \"\u{1F600}\\n\"}"
    try folder.write("tokenizer.json", Array(tokenizer.utf8))
    try folder.write("chat_template.jinja", Array("{{ \"quotes\" }}\n/é".utf8))
    try folder.write("generation_config.json", Array("{\"temperature\":0.7,\"top_p\":0.9,\"top_k\":40}".utf8))
    let summary = try ModelConverter.convert(
      from: folder.path, to: folder("out"),
      tokenizer: { source in
        guard case .tokenizerJSON = source else { return nil }
        return tokenizer
      })
    #expect(summary.hasTokenizer)
    let model = try ModelLoader.load(path: folder("out"))
    #expect(model.tokenizer == .serialized(tokenizer))
    #expect(model.chatTemplate == "{{ \"quotes\" }}\n/é")
    #expect(model.generation == GenerationDefaults(temperature: 0.7, topP: 0.9, topK: 40))
    #expect(try model.weights.configuration == tiny.load().configuration)
  }

  @Test func tensorsAreAlignedAndWithoutHoles() throws {
    let folder = try TemporaryFolder()
    var tiny = TinyModel()
    // 21 · 24 · 2 bytes are not a multiple of 64, so padding precedes the head.
    tiny.config["tie_word_embeddings"] = "false"
    var head = try #require(tiny.file["model.embed_tokens.weight"])
    head.name = "lm_head.weight"
    tiny.file["lm_head.weight"] = head
    try tiny.write(to: folder)
    try ModelConverter.convert(from: folder.path, to: folder("out"))
    let file = try SafetensorsFile(path: folder("out"))
    #expect(file.header.dataStart % 64 == 0)
    for tensor in file.header.tensors {
      let alignment = tensor.name.hasSuffix(".tiles") || tensor.type == .bf16 ? 64 : tensor.type.byteCount
      #expect(tensor.range.lowerBound % alignment == 0, "\(tensor.name)")
    }
    #expect(file.header["padding.0"] != nil)
    #expect(file["model.layers.1.mlp.gate_up_proj.tiles"]?.shape == [6, 1, 128])
    #expect(file["model.layers.1.mlp.gate_up_proj.scales"]?.shape == [2])
    #expect(try WeightBits(ModelLoader.load(path: folder("out")).weights) == WeightBits(tiny.load()))
  }

  @Test func bytesInMemoryLoadAtAnyAlignment() throws {
    let folder = try TemporaryFolder()
    let tiny = TinyModel()
    try tiny.write(to: folder)
    try ModelConverter.convert(from: folder.path, to: folder("out"))
    let expected = try WeightBits(tiny.load())
    let file = try folder.read("out")
    for offset in [0, 1, 4, 63] {
      let bytes = try #require(shared([UInt8](repeating: 0, count: offset) + file).slice(offset..<offset + file.count))
      #expect(try WeightBits(ModelLoader.load(bytes: bytes).weights) == expected)
    }
  }

  @Test func aConvertedModelIsNotConvertedAgain() throws {
    let folder = try TemporaryFolder()
    try TinyModel().write(to: folder)
    try ModelConverter.convert(from: folder.path, to: folder("out"))
    expectRefusal("the file", "is already converted") {
      try ModelConverter.convert(from: folder("out"), to: folder("again"))
    }
    expectRefusal("__metadata__.format", "is missing") {
      try ModelConverter.convert(from: folder("model.safetensors"), to: folder("again"))
    }
  }

  @Test func itsOwnSourceIsNotOverwritten() throws {
    let folder = try TemporaryFolder()
    try TinyModel().write(to: folder)
    let before = try folder.read("model.safetensors")
    for spelling in ["model.safetensors", "./model.safetensors"] {
      expectRefusal("the file", "is the model that is being converted") {
        try ModelConverter.convert(from: folder.path, to: folder(spelling), overwrite: true)
      }
    }
    #expect(try folder.read("model.safetensors") == before)
  }

  @Test func anExistingFileIsReplacedOnlyWhenAsked() throws {
    let folder = try TemporaryFolder()
    try TinyModel().write(to: folder)
    try folder.write("out", [1])
    expectRefusal("the file", "already exists") { try ModelConverter.convert(from: folder.path, to: folder("out")) }
    #expect(try folder.read("out") == [1])
    try ModelConverter.convert(from: folder.path, to: folder("out"), overwrite: true)
    #expect(throws: Never.self) { try ModelLoader.load(path: folder("out")) }
  }

  @Test func anInterruptedConversionLeavesNothing() throws {
    struct Interruption: Error {}
    let folder = try TemporaryFolder()
    var tiny = TinyModel(.masterInF32)
    try tiny.write(to: folder)
    let before = try folder.names
    #expect(throws: Interruption.self) {
      try ModelConverter.convert(from: folder.path, to: folder("out"), tokenizer: { _ in throw Interruption() })
    }
    #expect(try folder.names == before)
    // The fault of the last projection is found after all others are written.
    tiny.file.add(
      "model.layers.1.mlp.down_proj.weight", float32: [Float](repeating: .nan, count: 24 * 40), shape: [24, 40])
    try tiny.write(to: folder)
    var pieces = 0
    expectRefusal("tensor model.layers.1.mlp.down_proj.weight", "holds nan in row 0, column 0") {
      try ModelConverter.convert(from: folder.path, to: folder("out"), progress: { _ in pieces += 1 })
    }
    #expect(pieces > 6)
    #expect(try folder.names == before)
  }

  @Test func progressEndsAtTheFileSize() throws {
    let folder = try TemporaryFolder()
    var steps: [ConversionProgress] = []
    let summary = try ModelConverter.convert(
      from: fixture("old-1bitllm-f32-tied"), to: folder("out"), progress: { steps.append($0) })
    #expect(steps.map(\.writtenBytes) == steps.map(\.writtenBytes).sorted())
    #expect(steps.allSatisfy { $0.totalBytes == summary.byteCount })
    #expect(steps.last?.tensor == "model.norm.weight")
    #expect(steps.last?.writtenBytes == summary.byteCount)
  }
}
