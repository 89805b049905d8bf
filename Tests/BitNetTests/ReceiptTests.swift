import BitNet
import BitNetCPUEngine
import BitNetConstraints
import BitNetDemoModel
import BitNetInference
import BitNetModelFiles
import BitNetTernary
import Foundation
import TestSupport
import Testing

@Suite("Receipts")
struct ReceiptTests {
  /// The demo model, and receipts of generations of 16 tokens or more with temperature 1, a digest for each token, and
  /// both ends. Its choices are open enough that no parameter is without effect.
  private func receipts() async throws -> (LanguageModel, [Receipt]) {
    let demo = UnsafeRawBufferPointer(start: demo_model_bytes(), count: demo_model_size())
    let model = try await LanguageModel.load(embedded: demo, options: .init(device: .cpu(.init(threads: 2))))
    var receipts: [Receipt] = []
    var seed: UInt64 = 99
    while receipts.count < 8 {
      let index = receipts.count
      var options = GenerationOptions(
        sampling: .init(temperature: 1, seed: seed << 50 | seed), maximumTokens: 30 + index, logProbabilities: 0)
      if index % 2 == 0 { options.stopTexts = ["o the"] }
      if index % 4 == 1 { options.ignoresEndTokens = true }
      if index == 2 || index > 5 { options.sampling.presencePenalty = 0.75 }
      if index == 2 || index == 4 { options.sampling.frequencyPenalty = -0.25 }
      if index == 3 || index == 6 { options.logitBias = [11: -4.5, 290: 1.25] }
      if index == 7 { options.format = try .jsonSchema(#"{"type": "array", "items": {"type": "string"}}"#) }
      let prompt = model.tokenizer.encode("The \(index + 1) sons of the king", addingBeginToken: true)
      let receipt = try #require(try await model.generate(tokens: prompt, options: options).response().receipt)
      seed += 1
      if receipt.output.count >= 16, receipt.finish == (index % 2 == 0 ? "stop" : "length") { receipts.append(receipt) }
    }
    return (model, receipts)
  }

  @Test("have the same bytes when they are read and written, and pass")
  func reading() async throws {
    let (model, receipts) = try await receipts()
    for receipt in receipts {
      let text = Array(receipt.description.utf8)
      #expect(try Receipt(json: text) == receipt)
      #expect(receipt.tokenDigests?.count == receipt.output.count)
      try await model.audit(receipt)
    }
    #expect(Set(receipts.map(\.finish)) == ["stop", "length"])
    let texts = receipts.map(\.description)
    for field in ["presence_penalty", "frequency_penalty", "logit_bias", "response_format"] {
      // Receipts that need none of them have the bytes that they had before there were any.
      #expect(1..<texts.count ~= texts.count { $0.contains(field) }, "\(field)")
    }
  }

  @Test("of this version of the arithmetic stay right: penalties, biases and what formats allow included")
  func frozen() async throws {
    let model = try await receipts().0
    let path = Repository.path("Tests/Fixtures/frozen-receipts.jsonl")
    let lines = try String(contentsOfFile: path, encoding: .utf8).split(separator: "\n")
    for line in lines {
      let receipt = try Receipt(json: Array(line.utf8))
      // Scripts/make-frozen-receipts makes them anew for another version.
      #expect(receipt.fingerprint.arithmetic == arithmeticVersion)
      try await model.audit(receipt)
    }
    #expect(lines.count == 5)
  }

  @Test("fail with any changed byte: 500 mutations, of which none crashes")
  func bytes() async throws {
    let (model, receipts) = try await receipts()
    var generator = SystemRandomNumberGenerator()
    for round in 0..<500 {
      let original = Array(receipts[round % receipts.count].description.utf8)
      var bytes = original
      for _ in 0...Int.random(in: 0...2, using: &generator) {
        let place = Int.random(in: 0..<bytes.count, using: &generator)
        switch Int.random(in: 0...4, using: &generator) {
        case 0: bytes[place] = UInt8.random(in: 0...255, using: &generator)
        case 1: bytes[place] = UInt8(ascii: "0") + UInt8.random(in: 0...9, using: &generator)
        case 2: bytes.remove(at: place)
        case 3: bytes.insert(bytes[Int.random(in: 0..<bytes.count, using: &generator)], at: place)
        default: bytes.removeLast(Int.random(in: 0..<bytes.count, using: &generator))
        }
        if bytes.isEmpty { bytes = [0] }
      }
      guard bytes != original else { continue }
      await #expect(throws: AuditError.self, "\(String(decoding: bytes, as: UTF8.self))") {
        try await model.audit(Receipt(json: bytes))
      }
    }
  }

  @Test("fail with any changed id, seed, parameter or digest, even with the right hash: 500 mutations")
  func fields() async throws {
    let (model, receipts) = try await receipts()
    var generator = SystemRandomNumberGenerator()
    for round in 0..<500 {
      let original = receipts[Int.random(in: 0..<receipts.count, using: &generator)]
      var receipt = original
      let place = Int.random(in: 0..<receipt.output.count, using: &generator)
      let other = Int32.random(in: 0...Int32(model.configuration.vocabularySize + 20), using: &generator)
      switch round % 19 {
      case 0: receipt.output[place] = other
      case 1: receipt.prompt[Int.random(in: 0..<receipt.prompt.count, using: &generator)] = other
      case 2: receipt.sampling.seed ^= 1 << UInt64.random(in: 0...63, using: &generator)
      case 3: receipt.sampling.temperature = [0, 0.3, 3, -1, 200].randomElement()!
      case 4: receipt.sampling.topK = 1
      case 5: receipt.sampling.topP = [0.01, 0, 1.5, -1].randomElement()!
      case 6: receipt.sampling.minP = [0.9, 2, -1].randomElement()!
      case 7: receipt.sampling.repetitionPenalty = [5, 0, -3, 1000].randomElement()!
      case 8: receipt.limit = receipt.finish == "length" ? receipt.limit + place + 1 : max(1, place)
      case 9: receipt.output.removeLast(receipt.output.count - place)
      case 10: receipt.output.append(other)
      case 11: receipt.finish = ["stop", "length", "interrupted", "", "other"].randomElement()!
      case 12: receipt.tokenDigests?[place] = ["00000000", "", "x", "bf800000"].randomElement()!
      case 13: receipt.stopTokens.append(receipt.output[place / 2])
      case 14:
        receipt.fingerprint = ModelFingerprint(
          arithmetic: arithmeticVersion + (place % 2), digest: place % 2 == 1 ? receipt.fingerprint.digest : .zeros)
      case 15: receipt.sampling.presencePenalty = [1.5, -2, 2.5].randomElement()!
      case 16: receipt.sampling.frequencyPenalty = [2, -1, -3].randomElement()!
      case 17:
        // A bias can be without effect where the format allows a single token.
        guard receipt.format == nil else { continue }
        receipt.biases = receipt.biases.filter { $0.token != original.output[place] }
        receipt.biases.append(.init(token: original.output[place], value: [-100, -200].randomElement()!))
        receipt.biases.sort { $0.token < $1.token }
      case 18:
        let formats: [ResponseFormat] = try [.text, .json, .jsonSchema(#"{"type": "number"}"#)]
        receipt.format = formats.randomElement()!.constraint
      default: receipt.prompt.append(other)
      }
      // A limit of exactly the tokens that a stop ended is as true as a larger one.
      guard receipt != original, !(receipt.finish == "stop" && receipt.limit >= receipt.output.count && round % 19 == 8)
      else { continue }
      await #expect(throws: AuditError.self, "mutation \(round % 19): \(receipt)") {
        try await model.audit(Receipt(json: Array(receipt.description.utf8)))
      }
    }
  }

  @Test("name the first token that differs, what the model chooses and what the receipt has")
  func position() async throws {
    let (model, receipts) = try await receipts()
    var receipt = receipts[1]
    receipt.tokenDigests = nil
    let expected = receipt.output[12]
    receipt.output[12] = expected == 500 ? 501 : 500
    let error = await #expect(throws: AuditError.self) { try await model.audit(receipt) }
    #expect(error?.position == 12 && error?.expected == expected && error?.found == receipt.output[12])
  }

  @Test("fail where the output breaks its format, at the token that does, and where a format or bias cannot be used")
  func forms() async throws {
    let (model, receipts) = try await receipts()
    let original = receipts[7]
    func error(_ change: (inout Receipt) -> Void) async -> AuditError? {
      var receipt = original
      change(&receipt)
      return await #expect(throws: AuditError.self) { try await model.audit(receipt) }
    }
    let brace = try #require(model.tokenizer.encode("}").last)
    let broken = await error { $0.output[9] = brace }
    #expect(broken?.position == 9 && broken?.found == brace && broken?.expected == original.output[9])
    let schema = TextConstraint(schema: Array(#"{"if": true}"#.utf8))
    #expect(await error { $0.format = schema }?.description.contains("cannot be used") == true)
    let long = TextConstraint(alternatives: [[TextConstraint.Part](repeating: .text(""), count: 5000)])
    #expect(await error { $0.format = long }?.description.contains("at most 1024") == true)
    #expect(await error { $0.stopTokens = [] }?.description.contains("no stop tokens") == true)
    #expect(await error { $0.biases = [.init(token: 1 << 20, value: 1)] }?.description.contains("1048576") == true)
    #expect(await error { $0.biases = [.init(token: 1, value: 200)] }?.description.contains("-100 to 100") == true)
    var parts = original
    parts.format = TextConstraint(alternatives: [
      [.text("{\"a\": "), .json(schema: Array("true".utf8)), .text("}")], [],
    ])
    #expect(try Receipt(json: Array(parts.description.utf8)) == parts)
  }

  @Test("fail when a weight has changed, and so does loading a converted file that states another digest")
  func weights() async throws {
    let weights = try Proof.weights(seed: 77)
    var changed = weights
    let first = weights.layers[0].matrices.map { $0.tiles }
    changed.replaceTiles(ofLayer: 0) { matrix in
      let copy = AlignedBuffer(count: matrix.tiles.count)
      matrix.tiles.withUnsafeBytes { copy.bytes.copyMemory(from: $0) }
      copy.bytes[0] ^= copy.bytes[0] & 3 == 3 ? 1 : copy.bytes[0] & 3 == 1 ? 2 : 1
      return copy.shared
    }
    #expect(first.count == 4)
    let model = try Proof.model(weights, engine: Proof.cpu(weights), speculation: .off)
    let other = try Proof.model(changed, engine: Proof.cpu(changed), speculation: .off)
    let generation = model.generate(tokens: [300, 301, 302], options: .init(maximumTokens: 8))
    let receipt = try #require(try await generation.response().receipt)
    try await model.audit(receipt)
    await #expect(throws: AuditError.self) { try await other.audit(receipt) }

    let folder = FileManager.default.temporaryDirectory.appending(path: "bitnet-proof-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    let gguf = folder.appending(path: "demo.gguf").path, file = folder.appending(path: "demo.safetensors")
    try ModelConverter.convert(
      from: Repository.path("Sources/DemoModel/demo.safetensors"), to: gguf, type: .i2_S,
      tokenizer: { source in if case .serialized(let text) = source { text } else { nil } })
    try ModelConverter.convert(
      from: gguf, to: file.path, tokenizer: { source in if case .serialized(let text) = source { text } else { nil } })
    var options = LanguageModel.LoadOptions(device: .cpu(.init(threads: 1)))
    options.computesDigest = true
    let loaded = try await LanguageModel.load(file.path, options: options)
    #expect(try await LanguageModel.load(gguf, options: options).fingerprint == loaded.fingerprint)
    #expect(try ModelFingerprint.find(path: file.path, computes: true, isSmall: true) == loaded.modelFingerprint)
    var bytes = try Data(contentsOf: file)
    bytes[bytes.count - 3] ^= 1
    try bytes.write(to: file)
    let error = await #expect(throws: BitNetError.self) {
      try await LanguageModel.load(file.path, options: options)
    }
    #expect(
      error?.description.contains("it was changed after it was converted") == true, "\(String(describing: error))")
    options.computesDigest = false
    #expect(try await LanguageModel.load(file.path, options: options).fingerprint == loaded.fingerprint)
  }

  @Test("hold what was generated when the reader left")
  func interrupted() async throws {
    let weights = try Proof.weights(seed: 5)
    let model = try Proof.model(weights, engine: Proof.cpu(weights), speculation: .automatic)
    var iterator = model.generate(
      tokens: [300, 301], options: .init(sampling: .init(temperature: 1, seed: 4), ignoresEndTokens: true)
    ).makeAsyncIterator()
    let first = try #require(try await iterator.next()), second = try #require(try await iterator.next())
    let receipt = Receipt(first.record, tokens: [first.token, second.token], finish: nil)
    #expect(receipt.finish == "interrupted" && receipt.tokenDigests == nil)
    try await model.audit(receipt)
  }
}

extension ModelDigest {
  fileprivate static let zeros = ModelDigest(String(repeating: "0", count: 64))!
}
