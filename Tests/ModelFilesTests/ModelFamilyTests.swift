import BitNetRandomModels
import BitNetCPUEngine
import BitNetInference
import BitNetModelFiles
import BitNetTernary
import ModelFilesSupport
import TestSupport
import Testing

/// The additions for an architecture: its names, and a line of the table.
extension TensorNames {
  fileprivate static let madeUp = TensorNames(norms: [
    .attention: ["input_layernorm"], .queryHead: ["self_attn.q_norm"], .keyHead: ["self_attn.k_norm"],
    .attentionPost: ["post_attention_layernorm"], .feedForward: ["pre_feedforward_layernorm"],
    .feedForwardPost: ["post_feedforward_layernorm"],
  ])
}

extension ModelFamily {
  fileprivate static let madeUp = ModelFamily(architecture: "MadeUpForCausalLM", names: .madeUp) {
    (fields, model) throws(ModelFileError) in
    let isBidirectional = try fields.integer("looks_ahead") == 1
    model.attention = try fields.strings("layer_types").map { (type) throws(ModelFileError) in
      type == "sliding_attention"
        ? .init(
          window: try fields.integer("sliding_window"), isBidirectional: isBidirectional,
          ropeTheta: try fields.number("local_theta"))
        : .init(isBidirectional: isBidirectional)
    }
    model.embeddingScale = try fields.number("embedding_scale")
    model.residualScale = 0.5
    model.outputScale = 0.25
    model.attentionScale = 0.3
  }
}

@Suite("A family that is added")
struct ModelFamilyTests {
  private static let norms = [
    ("self_attn.q_norm", TinyModel.headSize), ("self_attn.k_norm", TinyModel.headSize),
    ("pre_feedforward_layernorm", TinyModel.hidden), ("post_feedforward_layernorm", TinyModel.hidden),
  ]
  private static let ids = (0..<9).map { Int32($0 * 5 % TinyModel.vocabulary) }

  private func model(lookingAhead: Bool = false) -> TinyModel {
    var tiny = TinyModel()
    tiny.config["architectures"] = "[\"MadeUpForCausalLM\"]"
    tiny.config["hidden_act"] = "\"gelu_pytorch_tanh\""
    tiny.config["layer_types"] = "[\"sliding_attention\",\"full_attention\"]"
    tiny.config["sliding_window"] = "5"
    tiny.config["local_theta"] = "100"
    tiny.config["embedding_scale"] = "3"
    tiny.config["looks_ahead"] = lookingAhead ? "1" : "0"
    var random = SeededGenerator(seed: 11)
    for layer in 0..<TinyModel.layers {
      let prefix = "model.layers.\(layer)."
      tiny.file[prefix + "self_attn.attn_sub_norm.weight"] = nil
      tiny.file[prefix + "mlp.ffn_sub_norm.weight"] = nil
      for (name, count) in Self.norms {
        tiny.file.add(
          prefix + name + ".weight", float32: (0..<count).map { _ in Float.random(in: 0.5..<1.5, using: &random) })
      }
    }
    return tiny
  }

  private func plain(_ tiny: TinyModel) -> PlainForwardPass {
    var tensors: [String: [Double]] = tiny.codes.mapValues { $0.map { Double($0) * Double(TinyModel.scale) } }
    for tensor in tiny.file.tensors where tensors[tensor.name] == nil {
      tensors[tensor.name] = tensor.bytes.withUnsafeBytes { bytes in
        tensor.type == "F32"
          ? (0..<bytes.count / 4).map { Double(bytes.loadUnaligned(fromByteOffset: 4 * $0, as: Float.self)) }
          : (0..<bytes.count / 2).map {
            Double(Float(bfloat16Bits: bytes.loadUnaligned(fromByteOffset: 2 * $0, as: UInt16.self)))
          }
      }
    }
    return PlainForwardPass(tensors: tensors)
  }

  @Test(
    "with head norms, post-norms, a window and scales: folder and converted file compute the same as a plain pass",
    arguments: [false, true])
  func madeUp(lookingAhead: Bool) throws {
    let tiny = model(lookingAhead: lookingAhead)
    let folder = try TemporaryFolder()
    try tiny.write(to: folder)
    let families = ModelFamily.all + [.madeUp]
    let loaded = try ModelLoader.load(path: folder.path, options: LoadOptions(families: families)).weights
    var pass = plain(tiny)
    pass.isBidirectional = lookingAhead
    let expected = pass.logits(Self.ids).flatMap(\.self)
    let found = try ReferenceEngine(weights: loaded, precision: .double).logits(Self.ids)
    let difference = zip(found, expected).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) }
    let norm = expected.reduce(0) { $0 + $1 * $1 }
    #expect(
      found.count == expected.count && norm > 0 && (difference / norm).squareRoot() < 1e-9,
      "\((difference / norm).squareRoot())")

    try ModelConverter.convert(
      from: folder.path, to: folder("made-up.safetensors"), options: LoadOptions(families: families))
    let converted = try ModelLoader.load(path: folder("made-up.safetensors")).weights
    #expect(WeightBits(converted) == WeightBits(loaded))
    // Float has the same logits whatever the chunks, unless a text goes in one step.
    let engine = ReferenceEngine(weights: loaded, precision: .float)
    let whole = try engine.logits(Self.ids)
    let id = engine.makeSequence()
    let first = try engine.step(Batch([.init(sequence: id, tokens: Array(Self.ids[..<4]), rows: .all)]))[0].values
    let rest = Batch([.init(sequence: id, tokens: Array(Self.ids[4...]), rows: .all)])
    if lookingAhead {
      #expect(throws: EngineError.self) { try engine.step(rest) }
      #expect(try engine.tokens(of: id).count == 4)
    } else {
      let second = try engine.step(rest)[0].values
      #expect((first + second).map(Double.init) == whole)
    }
    let cpu = try CPUEngine(weights: loaded, threads: 1)
    let all = Batch([.init(sequence: cpu.makeSequence(), tokens: Self.ids, rows: .all)])
    #expect(try cpu.step(all)[0].values.map(Double.init) == whole)
  }

  @Test("whose tensors are not all there is refused, and so is one that is not in the table")
  func missing() throws {
    var tiny = model()
    let name = "model.layers.1.self_attn.k_norm.weight"
    tiny.file[name] = nil
    let folder = try TemporaryFolder()
    try tiny.write(to: folder)
    expectRefusal("tensor \(name)", "is missing", expected: "[6]") {
      _ = try ModelLoader.load(path: folder.path, options: LoadOptions(families: [.madeUp]))
    }
    expectRefusal("architectures", "is MadeUpForCausalLM") { _ = try ModelLoader.load(path: folder.path) }
    tiny.config["sliding_window"] = nil
    try tiny.write(to: folder)
    expectRefusal("sliding_window", "is missing", expected: "an integer") {
      _ = try ModelLoader.load(path: folder.path, options: LoadOptions(families: [.madeUp]))
    }
  }
}
