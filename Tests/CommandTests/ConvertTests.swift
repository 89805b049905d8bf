import Foundation
import TestSupport
import Testing

@Suite("bitnet convert and inspect")
struct ConvertTests {
  private struct Inspection: Decodable {
    struct Configuration: Decodable {
      let hidden_size: Int
      let vocabulary_size: Int
    }
    struct Counts: Decodable {
      let ternary: Int
    }
    let format: String
    let configuration: Configuration
    let parameters: Counts
    let bytes: Counts
    let codes_verified: Bool
  }

  @Test("inspect prints a table or JSON for a folder, a converted file or the demo model")
  func inspect() async throws {
    let table = try await BitNetProgram.run("inspect")
    #expect(table.status == 0)
    #expect(table.text.contains("hidden size") && table.text.contains("256"))
    let llama = try await BitNetProgram.run("inspect", Repository.path("Tests/Fixtures/llama-packed-bitlinear-untied"))
      .text
    let rows = llama.split(separator: "\n").map { $0.split(separator: "  ").map { $0.trimmingPrefix(" ") } }
    for (label, value) in [
      ("architecture", "LlamaForCausalLM"), ("context", "4,096 tokens"), ("attention heads", "8 of 64, 2 key/value"),
      ("bits per ternary weight", "2.00"), ("vocabulary", "512, embedding not tied"), ("tokenizer", "none"),
      ("bytes, LM head", "262.1 kB"), ("chat template", "none"),
    ] {
      #expect(rows.contains { $0.first == label[...] && $0.last == value[...] }, "\(label)")
    }
    let masters = try await BitNetProgram.run("inspect", Repository.path("Tests/Fixtures/bitnet-bf16-online-tied")).text
    #expect(masters.contains("computed while loading"))
    try await TemporaryFolder.with { folder in
      let fixture = Fixture.all[1].path
      let converted = folder["model.safetensors"].path
      #expect(try await BitNetProgram.run("convert", fixture, converted).text.contains("2.00 bits per ternary weight"))
      for (arguments, format) in [
        ([fixture], "Hugging Face folder"), ([converted, "--verify"], "swift-bitnet file"), ([], "swift-bitnet file"),
      ] {
        let output = try await BitNetProgram.run(["inspect", "--json"] + arguments)
        #expect(output.status == 0, "\(output.errors)")
        let inspection = try JSONDecoder().decode(Inspection.self, from: output.bytes)
        #expect(inspection.format == format)
        #expect(inspection.configuration.hidden_size == 256)
        #expect(inspection.codes_verified == arguments.contains("--verify"))
        #expect(inspection.parameters.ternary == inspection.bytes.ternary * 4)
      }
    }
  }

  @Test("A model of a GGUF file generates the text of the model it was written from")
  func gguf() async throws {
    try await TemporaryFolder.with { folder in
      let demo = Repository.path("Sources/DemoModel/demo.safetensors")
      let (gguf, back) = (folder["demo.gguf"].path, folder["demo.safetensors"].path)
      let prompt = ["--prompt", "Once upon a time", "--max-tokens", "8", "--seed", "1"]
      let expected = try await BitNetProgram.run(["generate"] + prompt).text
      #expect(!expected.isEmpty)
      let written = try await BitNetProgram.run("convert", demo, gguf, "--type", "I2_S")
      #expect(written.text.contains("2.00 bits per ternary weight"), "\(written.errors)")
      #expect(!written.errors.contains("Note:"), "\(written.errors)")
      #expect(try await BitNetProgram.run("convert", gguf, back).status == 0)
      for model in [gguf, back] {
        #expect(try await BitNetProgram.run(["generate", "--model", model] + prompt).text == expected)
      }
      #expect(try await BitNetProgram.run("inspect", gguf, "--verify").text.contains("I2_S, blocks of 128"))
      // The other layout reads the codes in another order.
      let arm = try await BitNetProgram.run(["generate", "--model", gguf, "--i2s-layout", "arm"] + prompt)
      #expect(arm.status == 0 && arm.text != expected)
      let misplaced = try await BitNetProgram.run("convert", gguf, back, "--type", "I2_S", "--overwrite")
      #expect(misplaced.status == 64 && misplaced.errors.contains("--type is for GGUF files"))
    }
  }

  @Test("convert and logits never write over what they read")
  func inputs() async throws {
    try await TemporaryFolder.with { folder in
      let model = folder["model"].path
      try FileManager.default.copyItem(
        atPath: Repository.path("Tests/Fixtures/llama-packed-bitlinear-untied"), toPath: model)
      let config = try String(contentsOfFile: "\(model)/config.json", encoding: .utf8)
      for name in ["config.json", "tokenizer.json", "tokenizer.model"] {
        let output = try await BitNetProgram.run("convert", model, "\(model)/\(name)", "--overwrite")
        #expect(output.status == 1 && output.errors.contains("has the name of a file of the"), "\(output.errors)")
      }
      #expect(try await BitNetProgram.run("convert", model, "\(model)/converted.safetensors").status == 0)
      let tokens = try folder.write("[1, 2]", to: "tokens.json")
      for output in [tokens, "\(model)/config.json"] {
        let refused = try await BitNetProgram.run(
          "logits", "--model", model, "--tokens", tokens, "--output", output)
        #expect(refused.status == 1 && refused.errors.contains("\(output) is an input"), "\(refused.errors)")
      }
      #expect(try String(contentsOfFile: "\(model)/config.json", encoding: .utf8) == config)
      #expect(try String(contentsOfFile: tokens, encoding: .utf8) == "[1, 2]")
    }
  }

  @Test("The table of inspect has counts in groups of three digits and sizes with units")
  func inspectTable() async throws {
    let output = try await BitNetProgram.run("inspect", Repository.path("Tests/Fixtures/llama-packed-bitlinear-untied"))
    for (label, value) in [
      ("architecture", "LlamaForCausalLM"), ("context", "4,096 tokens"), ("attention heads", "8 of 64, 2 key/value"),
      ("bits per ternary weight", "2.00"), ("vocabulary", "512, embedding not tied"),
      ("bytes, LM head", "262.1 kB"), ("tokenizer", "none"),
    ] {
      let padding = String(repeating: " ", count: 25 - label.count)
      #expect(output.text.contains("\(label)\(padding)\(value)\n"), "\(output.text)")
    }
    let masters = try await BitNetProgram.run("inspect", Repository.path("Tests/Fixtures/bitnet-bf16-online-tied"))
    #expect(masters.text.contains("scales                   computed while loading\n"), "\(masters.text)")
  }

  @Test("convert replaces a file only when told to")
  func overwrite() async throws {
    try await TemporaryFolder.with { folder in
      let output = try folder.write("precious", to: "model.safetensors")
      let refused = try await BitNetProgram.run("convert", Fixture.all[1].path, output)
      #expect(refused.status == 1)
      #expect(refused.errors.contains("already exists"))
      #expect(try Data(contentsOf: folder["model.safetensors"]) == Data("precious".utf8))
      #expect(try await BitNetProgram.run("convert", Fixture.all[1].path, output, "--overwrite").status == 0)
      #expect(
        try await BitNetProgram.run("convert", output, folder["again"].path).errors.contains("is already converted"))
      #expect(try FileManager.default.contentsOfDirectory(atPath: folder.url.path) == ["model.safetensors"])
    }
  }

  @Test("A link is followed if it leads to a file, and never written through if it does not")
  func links() async throws {
    try await TemporaryFolder.with { folder in
      let manager = FileManager.default
      let (link, target) = (folder["link.safetensors"].path, folder["target.safetensors"].path)
      try manager.createSymbolicLink(atPath: link, withDestinationPath: "target.safetensors")
      let dangling = try await BitNetProgram.run("convert", Fixture.all[1].path, link, "--overwrite")
      #expect(dangling.status == 1 && dangling.errors.contains("is a link to a file that does not exist"))
      #expect(!manager.fileExists(atPath: target))
      _ = try folder.write("old", to: "target.safetensors")
      #expect(try await BitNetProgram.run("convert", Fixture.all[1].path, link).status == 1)
      #expect(try await BitNetProgram.run("convert", Fixture.all[1].path, link, "--overwrite").status == 0)
      #expect(try manager.destinationOfSymbolicLink(atPath: link) == "target.safetensors")
      #expect(try Data(contentsOf: folder["target.safetensors"]).count > 100_000)
      #expect(try manager.contentsOfDirectory(atPath: folder.url.path).count == 2)
    }
  }

  @Test("logits replaces a file only when told to")
  func logitsOutput() async throws {
    try await TemporaryFolder.with { folder in
      let output = try folder.write("precious", to: "logits")
      let arguments = ["logits", "--tokens", "-", "--output", output]
      let refused = try await BitNetProgram.run(arguments, input: Data("[1]".utf8))
      #expect(refused.status == 1 && refused.errors.contains("already exists; choose another name or pass --overwrite"))
      #expect(try String(contentsOfFile: output, encoding: .utf8) == "precious")
      #expect(try await BitNetProgram.run(arguments + ["--overwrite"], input: Data("[1]".utf8)).status == 0)
    }
  }

  @Test("Control characters of files are shown as escapes")
  func controlCharacters() async throws {
    try await TemporaryFolder.with { folder in
      let raising = "{{ raise_exception('red \u{1B}[31m line\n\u{202E}back') }}"
      let template = try folder.write(raising, to: "template.jinja")
      let output = try await BitNetProgram.run("template", "--file", template, "Hi")
      #expect(output.errors.hasSuffix(#"red \u{1B}[31m line\n\u{202E}back"# + "\n"), "\(output.errors)")
      #expect(output.errors.utf8.count { $0 < 0x20 } == 1)
      let name = folder["a\u{1B}[2J\n.gguf"].path
      try Data("GGUX".utf8).write(to: URL(filePath: name))
      let inspected = try await BitNetProgram.run("inspect", name)
      #expect(inspected.errors.contains(#"a\u{1B}[2J\n.gguf"#) && inspected.errors.utf8.count { $0 < 0x20 } == 1)
    }
  }

  @Test("Ctrl-C leaves no partial file behind")
  func interrupt() async throws {
    try await TemporaryFolder.with { folder in
      try makeLargeModel(at: folder["model"])
      try FileManager.default.createDirectory(at: folder["out"], withIntermediateDirectories: true)
      let process = try BitNetProgram.start(
        ["convert", folder["model"].path, folder["out/converted"].path], folder: folder)
      try process.wait { try !FileManager.default.contentsOfDirectory(atPath: folder["out"].path).isEmpty }
      process.interrupt()
      let output = try await BitNetProgram.finish(process, folder: folder)
      #expect(process.terminationReason == .uncaughtSignal && output.status == SIGINT, "\(output.errors)")
      #expect(try FileManager.default.contentsOfDirectory(atPath: folder["out"].path).isEmpty)
    }
  }

  /// A model of one layer whose embedding is a sparse file of a gigabyte.
  private func makeLargeModel(at url: URL) throws {
    let (hidden, vocabulary) = (2048, 1 << 18)
    let config = """
      {"architectures": ["BitNetForCausalLM"], "model_type": "bitnet", "hidden_act": "relu2", "hidden_size": \(hidden),
       "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 1, "num_key_value_heads": 1,
        "head_dim": 64,
       "vocab_size": \(vocabulary), "rms_norm_eps": 1e-05, "rope_theta": 10000.0, "max_position_embeddings": 512,
       "tie_word_embeddings": true, "quantization_config": {"quant_method": "bitnet", "linear_class": "autobitlinear",
       "quantization_mode": "offline"}}
      """
    var tensors: [(name: String, type: String, shape: [Int], width: Int)] = [
      ("model.embed_tokens.weight", "BF16", [vocabulary, hidden], 2), ("model.norm.weight", "BF16", [hidden], 2),
      ("model.layers.0.input_layernorm.weight", "BF16", [hidden], 2),
      ("model.layers.0.post_attention_layernorm.weight", "BF16", [hidden], 2),
      ("model.layers.0.self_attn.attn_sub_norm.weight", "BF16", [64], 2),
      ("model.layers.0.mlp.ffn_sub_norm.weight", "BF16", [64], 2),
    ]
    for (name, rows, columns) in [
      ("self_attn.q_proj", 64, hidden), ("self_attn.k_proj", 64, hidden), ("self_attn.v_proj", 64, hidden),
      ("self_attn.o_proj", hidden, 64), ("mlp.gate_proj", 64, hidden), ("mlp.up_proj", 64, hidden),
      ("mlp.down_proj", hidden, 64),
    ] {
      tensors.append(("model.layers.0.\(name).weight", "U8", [rows / 4, columns], 1))
      tensors.append(("model.layers.0.\(name).weight_scale", "BF16", [1], 2))
    }
    var offset = 0
    var scales: [Int] = []
    let entries = tensors.map { tensor in
      let end = offset + tensor.shape.reduce(1, *) * tensor.width
      if tensor.name.hasSuffix("scale") { scales.append(offset) }
      defer { offset = end }
      return
        "\"\(tensor.name)\": {\"dtype\": \"\(tensor.type)\", \"shape\": \(tensor.shape), "
        + "\"data_offsets\": [\(offset), \(end)]}"
    }
    let header = Data("{\(entries.joined(separator: ", "))}".utf8)
    try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
    try Data(config.utf8).write(to: url.appending(path: "config.json"))
    let file = url.appending(path: "model.safetensors")
    try (withUnsafeBytes(of: UInt64(header.count).littleEndian) { Data($0) } + header).write(to: file)
    let handle = try FileHandle(forUpdating: file)
    try handle.truncate(atOffset: UInt64(8 + header.count + offset))
    for scale in scales {
      try handle.seek(toOffset: UInt64(8 + header.count + scale))
      try handle.write(contentsOf: Data([0x80, 0x3F]))  // 1 in bfloat16
    }
    try handle.close()
  }
}
