import BitNetInference
import BitNetModelFiles
import ModelFilesSupport
import BitNetTernary
import TestSupport
import Testing

@Suite("Loading Hugging Face models")
struct ModelLoaderTests {
  @Test(arguments: Fixture.all)
  func loadsTheFixtures(_ fixture: Fixture) throws {
    let model = try fixture.load()
    #expect(model.format == .huggingFace)
    #expect(model.source == fixture.name)
    #expect(model.tokenizer == nil)
    #expect(model.weights.layers.count == model.weights.configuration.layerCount)
    #expect(
      model.weights.layers.allSatisfy {
        $0[.queryKeyValue].firstInvalidRow() == nil && $0[.down].firstInvalidRow() == nil
      })
  }

  @Test func masterAndPackedAgree() throws {
    let master = try WeightBits(ModelLoader.load(path: fixture("bitnet-bf16-online-tied")).weights)
    let packed = try WeightBits(ModelLoader.load(path: fixture("bitnet-packed-auto-tied")).weights)
    #expect(master.tiles == packed.tiles)
    #expect(master.norms == packed.norms)
    #expect(master.tables == packed.tables)
    // The packed scale is the master's, rounded to bfloat16.
    for (exact, stored) in zip(master.scales, packed.scales) {
      #expect(Float(Double(bitPattern: exact)).bfloat16Bits == Float(Double(bitPattern: stored)).bfloat16Bits)
    }
  }

  @Test(arguments: TinyModel.Form.allCases)
  func everyFormGivesTheSameTiles(_ form: TinyModel.Form) throws {
    let tiny = TinyModel(form)
    let weights = try tiny.load()
    for (index, layer) in weights.layers.enumerated() {
      let matrices = [
        (layer[.queryKeyValue], ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"]),
        (layer[.attentionOutput], ["self_attn.o_proj"]), (layer[.gateUp], ["mlp.gate_proj", "mlp.up_proj"]),
        (layer[.down], ["mlp.down_proj"]),
      ]
      for (matrix, names) in matrices {
        #expect(matrix.firstInvalidRow() == nil)
        for (part, name) in names.enumerated() {
          let weight = "model.layers.\(index).\(name).weight"
          let codes = try #require(tiny.codes[weight])
          #expect(matrix.codes(ofPart: part) == codes)
          let isMaster = tiny.file[weight + "_scale"] == nil
          let mean = Double(codes.count { $0 != 0 }) / Double(codes.count)
          #expect(matrix.parts[part].scale == (isMaster ? mean : 0.75))
        }
        // Padding is zero codes, so that a kernel may multiply it.
        let paddingRow = matrix.parts[0].rows
        if paddingRow % 16 != 0 {
          #expect((0..<matrix.paddedColumns).allSatisfy { matrix.code(row: paddingRow, column: $0) == 0 })
        }
        #expect((matrix.columns..<matrix.paddedColumns).allSatisfy { matrix.code(row: 0, column: $0) == 0 })
      }
    }
  }

  @Test func bitLinearScalesAreReciprocals() throws {
    var tiny = TinyModel()
    tiny.config["quantization_config"] = "{\"quant_method\":\"bitnet\"}"
    tiny.file.add("model.layers.1.mlp.down_proj.weight_scale", bfloat16: [3], shape: [])
    let weights = try tiny.load()
    #expect(weights.layers[0][.down].parts[0].scale == 1 / 0.75)
    #expect(weights.layers[1][.down].parts[0].scale == 1.0 / 3)
  }

  @Test func namesWithoutPrefixAreFound() throws {
    #expect(try WeightBits(TinyModel(prefix: "").load()) == WeightBits(TinyModel().load()))
  }

  @Test func misalignedDataIsReadAllTheSame() throws {
    let tiny = TinyModel(.masterInF32)
    #expect(try WeightBits(tiny.load(lengthModulo: 1)) == WeightBits(tiny.load()))
  }

  @Test func harmlessExtrasAreIgnored() throws {
    var tiny = TinyModel()
    let plain = try WeightBits(tiny.load())
    tiny.file.add("model.layers.0.self_attn.rotary_emb.inv_freq", float32: [1, 2, 3])
    tiny.file.add("lm_head.weight", bfloat16: [0])
    tiny.file.add("something.else", .i64, [1], littleEndian(Int64(1)))
    #expect(try WeightBits(tiny.load()) == plain)
  }

  @Test(arguments: [
    "model.layers.0.self_attn.q_proj.bias", "model.layers.1.self_attn.q_norm.weight",
    "model.layers.2.mlp.down_proj.weight",
    "model.layers.0.mlp.up_proj.rms_norm.weight", "model.norm.bias", "lm_head.bias",
  ])
  func weightsThatWouldBeIgnoredAreRefused(_ name: String) {
    var tiny = TinyModel()
    tiny.file.add(name, float32: [1])
    expectRefusal("tensor \(name)", "has no place in this architecture") { _ = try tiny.load() }
  }

  @Test func everyTensorIsNeeded() {
    let tiny = TinyModel()
    for tensor in tiny.file.tensors {
      var broken = tiny
      broken.file[tensor.name] = nil
      if tensor.name.hasSuffix("_scale") {
        expectRefusal("tensor \(tensor.name.dropLast(6))", "without a scale", expected: tensor.name) {
          _ = try broken.load()
        }
      } else {
        expectRefusal("tensor \(tensor.name)", "is missing", expected: "shape [") { _ = try broken.load() }
      }
    }
  }

  @Test func everyShapeAndTypeIsChecked() {
    let tiny = TinyModel()
    for tensor in tiny.file.tensors {
      var broken = tiny
      broken.file.add(tensor.name, .bf16, [7, 3], [UInt8](repeating: 0, count: 42))
      expectRefusal("tensor \(tensor.name)", "has shape [7, 3]") { _ = try broken.load() }
      broken.file.add(tensor.name, .i64, tensor.shape, [UInt8](repeating: 0, count: tensor.shape.reduce(8, *)))
      expectRefusal("tensor \(tensor.name)", "has dtype I64") { _ = try broken.load() }
    }
  }

  @Test(arguments: [
    "hidden_size", "intermediate_size", "vocab_size", "num_attention_heads", "num_key_value_heads", "head_dim",
  ])
  func aConfigurationOfAnotherShapeIsRefused(_ field: String) {
    var tiny = TinyModel()
    tiny.config[field] = field == "num_key_value_heads" ? "2" : "30"
    let error = #expect(throws: ModelFileError.self) { try tiny.load() }
    #expect(error?.kind == .tensor)
    #expect(error?.finding.contains("has shape") == true)
  }

  @Test(arguments: [
    (Float(0), "is 0.0"), (-0.5, "is -0.5"), (.infinity, "holds inf"), (.nan, "holds nan"), (-.infinity, "holds -inf"),
  ])
  func refusesUselessScales(_ value: Float, _ finding: String) {
    for quantization in [
      "{\"quant_method\":\"bitnet\",\"linear_class\":\"autobitlinear\"}", "{\"quant_method\":\"bitnet\"}",
    ] {
      var tiny = TinyModel()
      tiny.config["quantization_config"] = quantization
      let name = "model.layers.1.mlp.up_proj.weight_scale"
      tiny.file.add(name, float32: [value])
      expectRefusal("tensor \(name)", finding) { _ = try tiny.load() }
    }
  }

  @Test func refusesScalesOfManyValues() {
    var tiny = TinyModel()
    let name = "model.layers.0.self_attn.k_proj.weight_scale"
    tiny.file.add(name, float32: [Float](repeating: 1, count: 6))
    expectRefusal("tensor \(name)", "has shape [6]", expected: "one scale") { _ = try tiny.load() }
  }

  @Test func refusesAScaleWithoutMeaning() {
    var tiny = TinyModel()
    tiny.config["quantization_config"] = nil
    expectRefusal(
      "tensor model.layers.0.self_attn.q_proj.weight_scale", "has no defined meaning", expected: "linear_class"
    ) {
      _ = try tiny.load()
    }
  }

  @Test func refusesPackedCodesOfThree() throws {
    var tiny = TinyModel()
    let name = "model.layers.1.mlp.down_proj.weight"
    var tensor = try #require(tiny.file[name])
    tensor.bytes[2 * TinyModel.feedForward + 39] |= 0b0011_0000  // field 2 of byte row 2: row 2 · 6 + 2
    tiny.file[name] = tensor
    expectRefusal("tensor \(name)", "holds the code 3 in row 14", expected: "0, 1 or 2") { _ = try tiny.load() }
  }

  @Test(arguments: [(TinyModel.Form.codesInI8, "2"), (.codesInU8, "2"), (.codesInFloat, "2")])
  func refusesUnpackedCodesThatAreNotTernary(_ form: TinyModel.Form, _ code: String) throws {
    var tiny = TinyModel(form)
    let name = "model.layers.0.mlp.up_proj.weight"
    var tensor = try #require(tiny.file[name])
    let element = 5 * TinyModel.hidden + 3
    tensor.bytes.replaceSubrange(
      element * (tensor.bytes.count / (40 * 24))..<(element + 1) * (tensor.bytes.count / (40 * 24)),
      with: form == .codesInFloat ? littleEndian(Float(2).bfloat16Bits) : [2])
    tiny.file[name] = tensor
    expectRefusal("tensor \(name)", "holds the code \(code)", expected: "-1, 0 or 1") { _ = try tiny.load() }
    if form == .codesInFloat {
      tensor.bytes.replaceSubrange(element * 2..<element * 2 + 2, with: littleEndian(Float(0.5).bfloat16Bits))
      tiny.file[name] = tensor
      expectRefusal("tensor \(name)", "holds the code 0.5 in row 5") { _ = try tiny.load() }
    }
  }

  @Test(arguments: [Float.nan, .infinity, -.infinity])
  func refusesMastersThatAreNotFinite(_ value: Float) throws {
    var tiny = TinyModel(.masterInF32)
    let name = "model.layers.1.self_attn.v_proj.weight"
    var values = (0..<6 * 24).map { Float($0) }
    values[4 * 24 + 9] = value
    tiny.file.add(name, float32: values, shape: [6, 24])
    expectRefusal("tensor \(name)", "holds \(value) in row 4, column 9", expected: "finite weights") {
      _ = try tiny.load()
    }
  }

  @Test func anAllZeroMasterHasTheSmallestScale() throws {
    var tiny = TinyModel(.masterInBF16)
    tiny.file.add(
      "model.layers.0.self_attn.k_proj.weight", bfloat16: [Float](repeating: 0, count: 6 * 24), shape: [6, 24])
    #expect(try tiny.load().layers[0][.queryKeyValue].parts[1].scale == 1e-5)
  }

  @Test func refusesNormsThatAreNotFinite() {
    var tiny = TinyModel()
    var values = [Float](repeating: 1, count: TinyModel.hidden)
    values[3] = .nan
    tiny.file.add("model.norm.weight", bfloat16: values)
    expectRefusal("tensor model.norm.weight", "holds nan at index 3", expected: "finite values") { _ = try tiny.load() }
  }

  @Test func tablesOfOtherTypesAreRounded() throws {
    // Halfway between two bfloat16 values, so that ties to even shows.
    let tie = Float(bitPattern: 0x3F80_8000), odd = Float(bitPattern: 0x3F81_8000)
    var values = [Float](repeating: 0.25, count: TinyModel.vocabulary * TinyModel.hidden)
    values[0...1] = [tie, odd]
    var tiny = TinyModel()
    tiny.file.add("model.embed_tokens.weight", float32: values, shape: [TinyModel.vocabulary, TinyModel.hidden])
    let table = try WeightBits(tiny.load()).tables[0]
    #expect(Array(table.prefix(6)) == [0x80, 0x3F, 0x82, 0x3F, 0x80, 0x3E])
    values[30] = .greatestFiniteMagnitude
    tiny.file.add("model.embed_tokens.weight", float32: values, shape: [TinyModel.vocabulary, TinyModel.hidden])
    expectRefusal("tensor model.embed_tokens.weight", "in row 1, column 6, which is not finite in bfloat16") {
      _ = try tiny.load()
    }
  }

  @Test func invertedScalesGetAWarning() throws {
    let folder = try TemporaryFolder()
    func warning(_ scale: Float, linearClass: String) throws -> String? {
      var tiny = TinyModel()
      for name in tiny.codes.keys { tiny.file.add(name + "_scale", float32: [scale]) }
      tiny.config["quantization_config"] = "{\"quant_method\":\"bitnet\",\"linear_class\":\"\(linearClass)\"}"
      try tiny.write(to: folder)
      return try ModelLoader.load(path: folder.path).warning
    }
    #expect(try warning(0.02, linearClass: "autobitlinear") == nil)
    #expect(try warning(50, linearClass: "bitlinear") == nil)
    #expect(try warning(50, linearClass: "autobitlinear")?.contains("look inverted") == true)
    #expect(try warning(0.02, linearClass: "bitlinear")?.contains("look inverted") == true)
    for fixture in Fixture.all { #expect(try fixture.load().warning == nil) }
    #expect(try TinyGGUF().load().warning == nil)
  }

  @Test func aPackedHeadIsRefused() {
    var tiny = TinyModel()
    tiny.config["tie_word_embeddings"] = "false"
    tiny.file.add("lm_head.weight", .u8, [6, 24], [UInt8](repeating: 0, count: 144))
    tiny.file.add("lm_head.weight_scale", float32: [1])
    expectRefusal("tensor lm_head.weight", "is quantised (U8)", expected: "not supported") { _ = try tiny.load() }
  }

  @Test func anUntiedModelNeedsItsHead() {
    var tiny = TinyModel()
    tiny.config["tie_word_embeddings"] = "false"
    expectRefusal("tensor lm_head.weight", "is missing", expected: "[21, 24]") { _ = try tiny.load() }
  }

  @Test func foldersAndFilesThatAreNoModelsAreRefused() throws {
    let folder = try TemporaryFolder()
    expectRefusal("the folder", "has no config.json") { _ = try ModelLoader.load(path: folder.path) }
    expectRefusal("the file", "cannot be opened") { _ = try ModelLoader.load(path: folder("none")) }
    try folder.write("model.gguf", Array("GGUF".utf8) + [3, 0, 0, 0])
    expectRefusal("the number of tensors", "has 8 bytes at byte 8") {
      _ = try ModelLoader.load(path: folder("model.gguf"))
    }
    try TinyModel().write(to: folder)
    expectRefusal("__metadata__.format", "is missing", expected: "a converted model") {
      _ = try ModelLoader.load(path: folder("model.safetensors"))
    }
  }

  @Test func findsWhatLiesBesideTheWeights() throws {
    let folder = try TemporaryFolder()
    try TinyModel().write(to: folder)
    #expect(try ModelLoader.load(path: folder.path).tokenizer == nil)
    try folder.write("tokenizer.model", [1])
    #expect(try ModelLoader.load(path: folder.path).tokenizer == .tokenizerModel(path: folder("tokenizer.model")))
    try folder.write("tokenizer.json", Array("{}".utf8))
    #expect(
      try ModelLoader.load(path: folder.path).tokenizer
        == .tokenizerJSON(path: folder("tokenizer.json")))
    try folder.write("tokenizer_config.json", Array("{\"chat_template\":\"a {{ b }}\"}".utf8))
    var model = try ModelLoader.load(path: folder.path)
    #expect(model.chatTemplate == "a {{ b }}")
    #expect(
      model.tokenizer
        == .tokenizerJSON(path: folder("tokenizer.json")))
    let list = "[{\"name\":\"tools\",\"template\":\"t\"},{\"name\":\"default\",\"template\":\"d\"}]"
    try folder.write("tokenizer_config.json", Array("{\"chat_template\":\(list)}".utf8))
    #expect(try ModelLoader.load(path: folder.path).chatTemplate == "d")
    try folder.write("chat_template.jinja", Array("own file".utf8))
    try folder.write("generation_config.json", Array("{\"temperature\":0.5,\"eos_token_id\":[3]}".utf8))
    model = try ModelLoader.load(path: folder.path)
    #expect(model.chatTemplate == "own file")
    #expect(model.generation == GenerationDefaults(temperature: 0.5))
    #expect(model.weights.configuration.endTokens == [2, 3])
    try folder.write("chat_template.jinja", [0xFF, 0xFE])
    expectRefusal("the file", "is not UTF-8") { _ = try ModelLoader.load(path: folder.path) }
  }

  @Test func progressRisesToOne() throws {
    var shares: [Double] = []
    _ = try ModelLoader.load(path: fixture("bitnet-packed-auto-tied")) { shares.append($0) }
    #expect(shares.count == 12)
    #expect(shares == shares.sorted())
    #expect(shares.last == 1)
  }
}
