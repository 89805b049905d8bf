import BitNetModelFiles
import ModelFilesSupport
import Testing

@Suite("Safetensors folders")
struct SafetensorsFolderTests {
  /// A folder with two shards and an index that says `map`.
  func folder(_ map: String) throws -> TemporaryFolder {
    let folder = try TemporaryFolder()
    for name in ["a", "b"] {
      var builder = TensorFileBuilder()
      builder.add("tensor.\(name)", float32: [1])
      try folder.write("\(name).safetensors", builder.file())
    }
    try folder.write(
      "model.safetensors.index.json", Array("{\"metadata\":{\"total_size\":8},\"weight_map\":\(map)}".utf8))
    return folder
  }

  @Test func readsShards() throws {
    let folder = try folder("{\"tensor.a\":\"a.safetensors\",\"tensor.b\":\"b.safetensors\"}")
    let tensors = try SafetensorsFolder(path: folder.path)
    #expect(tensors.names == ["tensor.a", "tensor.b"])
    #expect(tensors["tensor.b"]?.file.name == folder("b.safetensors"))
    #expect(tensors["tensor.c"] == nil)
  }

  @Test func aSingleFileWinsOverAnIndex() throws {
    let folder = try folder("{\"tensor.a\":\"a.safetensors\"}")
    var builder = TensorFileBuilder()
    builder.add("single", float32: [1])
    try folder.write("model.safetensors", builder.file())
    #expect(try SafetensorsFolder(path: folder.path).names == ["single"])
  }

  @Test(arguments: ["../a.safetensors", "/etc/passwd", "sub/a.safetensors", "..", ".", "", "sub\\\\a"])
  func refusesNamesThatLeaveTheFolder(_ name: String) throws {
    let folder = try folder("{\"tensor.a\":\"\(name)\"}")
    expectRefusal("weight_map.tensor.a", "is \"", expected: "in the same folder") {
      _ = try SafetensorsFolder(path: folder.path)
    }
  }

  @Test func namesAMissingShard() throws {
    let folder = try folder("{\"tensor.a\":\"a.safetensors\",\"tensor.c\":\"c.safetensors\"}")
    let error = #expect(throws: ModelFileError.self) { try SafetensorsFolder(path: folder.path) }
    #expect(error?.file == folder("c.safetensors"))
    #expect(error?.finding.contains("cannot be opened") == true)
  }

  @Test func namesATensorThatIsNotInItsShard() throws {
    let folder = try folder("{\"tensor.a\":\"b.safetensors\"}")
    expectRefusal("weight_map.tensor.a", "is b.safetensors", expected: "holds this tensor") {
      _ = try SafetensorsFolder(path: folder.path)
    }
  }

  @Test func refusesBrokenIndexes() throws {
    func open(_ map: String) throws {
      let folder = try folder(map)
      _ = try SafetensorsFolder(path: folder.path)
    }
    expectRefusal("weight_map", "is an array", expected: "an object") { try open("[]") }
    expectRefusal("weight_map.tensor.a", "is 1", expected: "a string") { try open("{\"tensor.a\":1}") }
    expectRefusal(#"weight_map["e\#u{301}"]"#, "two Unicode normalisations") {
      try open("{\"\u{E9}\":\"a.safetensors\",\"e\u{301}\":\"b.safetensors\"}")
    }
    expectRefusal("weight_map.tensor.a", "is given twice") {
      try open("{\"tensor.a\":\"a.safetensors\",\"tensor.a\":\"b.safetensors\"}")
    }
  }

  @Test func refusesAFolderWithoutWeights() throws {
    let folder = try TemporaryFolder()
    expectRefusal("the folder", "has no weights") { _ = try SafetensorsFolder(path: folder.path) }
    try folder.write("pytorch_model.bin", [0])
    expectRefusal("the folder", "in pytorch_model.bin only", expected: "save_pretrained") {
      _ = try SafetensorsFolder(path: folder.path)
    }
  }
}
