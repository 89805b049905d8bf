import BitNetInference
import BitNetModelFiles
import ModelFilesSupport
import BitNetTernary
import Testing

@Suite("Loading converted models")
struct ConvertedModelTests {
  /// A valid converted file, taken apart so that tests can break it.
  static let builder: TensorFileBuilder = {
    do {
      let folder = try TemporaryFolder()
      try TinyModel().write(to: folder)
      try ModelConverter.convert(from: folder.path, to: folder("out"))
      let file = try SafetensorsFile(path: folder("out"))
      var builder = TensorFileBuilder()
      builder.metadata = file.header.metadata
      for tensor in file.header.tensors {
        builder.add(tensor.name, tensor.type, tensor.shape, file[tensor.name]!.bytes.withUnsafeBytes { Array($0) })
      }
      return builder
    } catch {
      fatalError("\(error)")
    }
  }()

  let tiles = "model.layers.1.self_attn.o_proj.tiles"
  let scales = "model.layers.0.mlp.gate_up_proj.scales"

  func load(_ builder: TensorFileBuilder, verifyCodes: Bool? = nil) throws -> LoadedModel {
    // The length of the header decides the alignment of the data: 56 more than a multiple of 64 aligns it.
    var builder = builder
    var spaces = ""
    while (try header(builder, spaces)).dataStart % 64 != 0 { spaces += " " }
    builder.metadata["spaces"] = spaces
    return try ModelLoader.load(
      bytes: shared(builder.file()), name: "tiny", options: LoadOptions(verifyCodes: verifyCodes))
  }

  private func header(_ builder: TensorFileBuilder, _ spaces: String) throws -> SafetensorsHeader {
    var builder = builder
    builder.metadata["spaces"] = spaces
    let file = builder.file()
    return try file.withUnsafeBytes { try SafetensorsHeader(parsing: $0, fileSize: file.count, file: "tiny") }
  }

  @Test func theSoundFileLoads() throws {
    #expect(try WeightBits(load(Self.builder).weights) == WeightBits(TinyModel().load()))
  }

  @Test func theFormatAndVersionAreChecked() {
    var broken = Self.builder
    broken.metadata["version"] = "3"
    expectRefusal("__metadata__.version", "is 3", expected: "1") { _ = try load(broken) }
    broken.metadata["version"] = nil
    expectRefusal("__metadata__.version", "is missing") { _ = try load(broken) }
    broken.metadata["format"] = "pt"
    expectRefusal("__metadata__.format", "is pt", expected: "swift-bitnet") { _ = try load(broken) }
  }

  @Test func theConfigurationIsChecked() throws {
    var broken = Self.builder
    let configuration = try #require(broken.metadata["configuration"])
    broken.metadata["configuration"] = nil
    expectRefusal("__metadata__.configuration", "is missing") { _ = try load(broken) }
    broken.metadata["configuration"] = "{"
    expectRefusal("__metadata__.configuration", "is the end of the text") { _ = try load(broken) }
    broken.metadata["configuration"] = String(repeating: "[", count: 100_000)
    expectRefusal("__metadata__.configuration", "is nested more than 64 deep") { _ = try load(broken) }
    broken.metadata["configuration"] = configuration.replacing("\"relu2\"", with: "\"relu\"")
    expectRefusal("activation", "is \"relu\"", expected: "relu2, silu or gelu_pytorch_tanh") { _ = try load(broken) }
    broken.metadata["configuration"] = configuration.replacing("\"hiddenSize\":24", with: "\"hiddenSize\":-24")
    expectRefusal("hidden_size", "is -24") { _ = try load(broken) }
    broken.metadata["configuration"] = configuration.replacing("\"hiddenSize\":24", with: "\"hiddenSize\":56")
    expectRefusal("tensor model.layers.0.self_attn.qkv_proj.tiles", "has shape [3, 1, 128]", expected: "[3, 2, 128]") {
      _ = try load(broken)
    }
    broken.metadata["configuration"] = configuration.replacing("\"layerCount\":2", with: "\"layerCount\":3")
    expectRefusal("tensor model.layers.2.self_attn.qkv_proj.tiles", "is missing") { _ = try load(broken) }
    broken = Self.builder
    broken.metadata["generation"] = "{\"temperature\":-3}"
    expectRefusal("temperature", "is -3.0") { _ = try load(broken) }
  }

  @Test func everyTensorIsNeededInItsTypeAndShape() {
    for tensor in Self.builder.tensors where !tensor.name.hasPrefix("padding") {
      var broken = Self.builder
      broken[tensor.name]?.name = "elsewhere"
      expectRefusal("tensor \(tensor.name)", "is missing") { _ = try load(broken) }
      broken = Self.builder
      broken[tensor.name]?.shape = [tensor.shape.reduce(1, *), 1]
      expectRefusal("tensor \(tensor.name)", "has shape") { _ = try load(broken) }
      broken = Self.builder
      broken[tensor.name]?.type = ["U8": "I8", "F64": "I64", "F32": "I32", "BF16": "F16"][tensor.type] ?? ""
      expectRefusal("tensor \(tensor.name)", "has dtype") { _ = try load(broken) }
    }
  }

  @Test func tilesAndTablesMustBeAligned() {
    var broken = Self.builder
    broken.tensors.insert(.init(name: "shift", type: "U8", shape: [4], bytes: [0, 0, 0, 0]), at: 0)
    expectRefusal("tensor model.layers.0.self_attn.qkv_proj.tiles", "starts at byte", expected: "a multiple of 64") {
      _ = try load(broken)
    }
  }

  @Test func invalidCodesAreFoundWhenAskedOrSmall() throws {
    var broken = Self.builder
    broken[tiles]?.bytes[128 + 4 * 17] &= 0b1111_1100  // the second row of tiles, word 17: row 16 + 9
    let sentence = "holds an invalid code in row 25"
    expectRefusal("tensor \(tiles)", sentence) { _ = try load(broken) }
    expectRefusal("tensor \(tiles)", sentence) { _ = try load(broken, verifyCodes: true) }
    // Without the search, the field 0 has the value that the arithmetic gives.
    #expect(try load(broken, verifyCodes: false).weights.layers[1][.attentionOutput].code(row: 25, column: 0) == -2)
  }

  @Test(arguments: [0.0, -1.0, Double.nan, .infinity])
  func uselessScalesAreRefused(_ value: Double) {
    var broken = Self.builder
    broken[scales]?.bytes.replaceSubrange(8..<16, with: littleEndian(value.bitPattern))
    expectRefusal("tensor \(scales)", "holds \(value)", expected: "above zero") { _ = try load(broken) }
  }

  @Test func normsMustBeFinite() {
    var broken = Self.builder
    broken["model.layers.0.mlp.ffn_sub_norm.weight"]?.bytes.replaceSubrange(
      4..<8, with: littleEndian(Float.nan.bitPattern))
    expectRefusal("tensor model.layers.0.mlp.ffn_sub_norm.weight", "holds nan at index 1") { _ = try load(broken) }
  }

  @Test func everyTruncationIsAnError() throws {
    let file = Self.builder.file()
    for count in stride(from: 0, to: file.count, by: 37) {
      #expect(throws: ModelFileError.self) { try ModelLoader.load(bytes: shared(Array(file.prefix(count)))) }
    }
  }
}
