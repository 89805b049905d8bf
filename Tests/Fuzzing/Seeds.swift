import BitNetInference
import BitNetModelFiles
import ModelFilesSupport
import BitNetTernary

#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

/// The valid inputs from which all others are made.
struct Seeds {
  struct Header {
    let text: [UInt8]
    let dataCount: Int
  }

  struct Whole {
    let config: [UInt8]
    let header: Header
    let data: [UInt8]
  }

  /// Headers of real checkpoints and of their converted forms.
  var headers: [Header] = []
  /// config.json of real checkpoints.
  var configurations: [[UInt8]] = []
  var generation = Array(
    "{\"do_sample\":true,\"temperature\":0.6,\"top_p\":0.9,\"top_k\":50,\"eos_token_id\":[1,2]}".utf8)
  /// model.safetensors.index.json, and the shards it names.
  var index: [UInt8] = []
  var shards: [String: SafetensorsFile] = [:]
  /// Small models, as checkpoints and converted, that load in well under a millisecond.
  var checkpoints: [Whole] = []
  var converted: [Whole] = []
  /// GGUF files, and where their data begins.
  var gguf: [(file: [UInt8], headerCount: Int)] = []

  var allTexts: [[UInt8]] { headers.map(\.text) + configurations + [generation, index] }

  /// - Parameter fixtures: the folder of committed checkpoints.
  init(fixtures: String) throws {
    let folder = FileManager.default.temporaryDirectory.path + "/fuzz-loaders-\(UInt64.random(in: 0...UInt64.max))"
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: folder) }

    for name in [
      "bitnet-bf16-online-tied", "bitnet-packed-auto-tied", "llama-packed-bitlinear-untied", "old-1bitllm-f32-tied",
      "embedding-qwen3", "embedding-gemma3", "embedding-gemma3-bidirectional", "llama-normed-yarn",
    ] {
      let path = "\(fixtures)/\(name)"
      configurations.append(try read(path + "/config.json"))
      for file in try SafetensorsFolder(path: path).files { headers.append(Self.split(file).header) }
      try ModelConverter.convert(
        from: path, to: folder + "/converted", overwrite: true, tokenizer: { _ in "{\"tokens\":[]}" })
      headers.append(Self.split(try SafetensorsFile(path: folder + "/converted")).header)
    }
    let sharded = "\(fixtures)/bitnet-bf16-online-tied"
    index = try read(sharded + "/model.safetensors.index.json")
    for file in try SafetensorsFolder(path: sharded).files {
      shards[file.name.split(separator: "/").last.map(String.init) ?? ""] = file
    }

    for name in try FileManager.default.contentsOfDirectory(atPath: fixtures + "/gguf").sorted() {
      // The empty file has nothing to change.
      guard name.hasSuffix(".gguf"), name != "empty_file.gguf" else { continue }
      let file = try read("\(fixtures)/gguf/\(name)")
      gguf.append((file, file.count))
    }
    for (storage, architecture) in [(TinyGGUF.Storage.i2s, "bitnet-b1.58"), (.i2s, "llama"), (.tq2, "bitnet")] {
      let builder = TinyGGUF(storage, architecture: architecture).builder
      // Models are more interesting than headers alone.
      for _ in 0..<15 { gguf.append((builder.file(), builder.header().count)) }
    }
    for form in TinyModel.Form.allCases {
      let tiny = TinyModel(form)
      let file = try SafetensorsFile(bytes: shared(tiny.file.file()), name: "tiny")
      let (header, data) = Self.split(file)
      checkpoints.append(Whole(config: Array(tiny.configJSON.utf8), header: header, data: data))
      try Data(tiny.configJSON.utf8).write(to: URL(filePath: folder + "/config.json"))
      try Data(tiny.file.file()).write(to: URL(filePath: folder + "/model.safetensors"))
      try ModelConverter.convert(from: folder, to: folder + "/tiny", overwrite: true)
      let (convertedHeader, convertedData) = Self.split(try SafetensorsFile(path: folder + "/tiny"))
      converted.append(Whole(config: [], header: convertedHeader, data: convertedData))
    }
  }

  private static func split(_ file: SafetensorsFile) -> (header: Header, data: [UInt8]) {
    file.bytes.withUnsafeBytes { bytes in
      let start = file.header.dataStart
      return (Header(text: Array(bytes[8..<start]), dataCount: bytes.count - start), Array(bytes[start...]))
    }
  }
}

/// A whole file.
private func read(_ path: String) throws -> [UInt8] { [UInt8](try Data(contentsOf: URL(filePath: path))) }
