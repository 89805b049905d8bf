import BitNetRandomModels
import BitNetInference
import BitNetModelFiles
import ModelFilesSupport
import BitNetTernary
import TestSupport

/// Runs rounds. Each gives one mutated input to its loader.
struct FuzzRounds {
  struct Outcome {
    var loaded = 0
    var refused = 0
  }

  let seeds: Seeds
  private let texts: [[UInt8]]
  private(set) var outcomes: [String: Outcome] = [:]

  init(seeds: Seeds) {
    self.seeds = seeds
    texts = seeds.allTexts
  }

  /// - Throws: errors that are not refusals.
  ///
  /// - Parameter only: the one kind of input; nil for all.
  mutating func run(seed: UInt64, round: Int, only: String? = nil) throws {
    var mutator = Mutator(generator: SeededGenerator(seed: seed &* 0x9E37_79B9_7F4A_7C15 ^ UInt64(round)))
    let (kind, load): (String, (inout Mutator) throws -> Void) =
      switch only == "GGUF" ? 10 : mutator.generator.below(12) {
      case 0, 1: ("header", header)
      case 2, 3: ("config.json", configuration)
      case 4: ("index", index)
      case 5: ("generation_config.json", generation)
      case 6, 7: ("checkpoint", checkpoint)
      case 8, 9: ("converted file", converted)
      default: ("GGUF", gguf)
      }
    var outcome = outcomes[kind] ?? Outcome()
    do {
      try load(&mutator)
      outcome.loaded += 1
    } catch let error as ModelFileError {
      precondition(!error.description.isEmpty)
      outcome.refused += 1
    }
    outcomes[kind] = outcome
  }

  // MARK: - Inputs

  private func header(_ mutator: inout Mutator) throws {
    let seed = mutator.generator.pick(seeds.headers)
    let text = mutator.mutate(json: seed.text, others: texts)
    let bytes = exact(length(of: text, &mutator) + text)
    let fileSize =
      mutator.generator.chance(8) ? bytes.count + mutator.generator.below(1 << 20) : 8 + text.count + seed.dataCount
    let header = try bytes.withUnsafeBytes { try SafetensorsHeader(parsing: $0, fileSize: fileSize, file: "fuzz") }
    check(header, fileSize: fileSize)
  }

  private func configuration(_ mutator: inout Mutator) throws {
    let text = mutator.mutate(json: mutator.generator.pick(seeds.configurations), others: texts)
    let found = try HuggingFaceConfiguration(config: exact(text), file: "fuzz")
    precondition(found.model.parameterCount > 0)
  }

  private func generation(_ mutator: inout Mutator) throws {
    let text = mutator.mutate(json: seeds.generation, others: texts)
    let found = try GenerationConfiguration(json: exact(text), file: "fuzz")
    precondition((0...100).contains(found.defaults.temperature ?? 0))
  }

  private func index(_ mutator: inout Mutator) throws {
    let text = mutator.mutate(json: seeds.index, others: texts)
    let folder = try SafetensorsFolder(name: "fuzz", index: exact(text)) { (name) throws(ModelFileError) in
      precondition(!name.contains("/") && name != "..")
      guard let shard = seeds.shards[name] else { throw ModelFileError(.system, file: name, finding: "is missing") }
      return shard
    }
    precondition(folder.names.allSatisfy { folder[$0] != nil })
  }

  private func checkpoint(_ mutator: inout Mutator) throws {
    let seed = mutator.generator.pick(seeds.checkpoints)
    let config = mutator.generator.chance(2) ? mutator.mutate(json: seed.config, others: texts) : seed.config
    let bytes = exact(file(seed, &mutator))
    let tensors = try SafetensorsFolder(name: "fuzz", single: SafetensorsFile(bytes: bytes, name: "fuzz"))
    check(try ModelLoader.load(config: exact(config), tensors: tensors, name: "fuzz"), inputBytes: bytes.count)
  }

  private func converted(_ mutator: inout Mutator) throws {
    let bytes = exact(file(mutator.generator.pick(seeds.converted), &mutator))
    let options = LoadOptions(verifyCodes: mutator.generator.chance(2))
    check(try ModelLoader.load(bytes: bytes, options: options).weights, inputBytes: bytes.count)
  }

  private func gguf(_ mutator: inout Mutator) throws {
    let seed = mutator.generator.pick(seeds.gguf)
    let bytes = exact(
      mutator.mutate(binary: seed.file, header: seed.headerCount, others: texts + seeds.gguf.map(\.file)))
    let file = try GGUFFile(bytes: bytes, name: "fuzz")
    check(file.header, fileSize: bytes.count)
    let options = LoadOptions(i2sBlock: mutator.generator.chance(2) ? .arm : .x86)
    let loaded = try ModelLoader.load(gguf: file, options: options)
    check(loaded.weights, inputBytes: bytes.count)
    _ = try ModelInspection(gguf: file)
  }

  /// A whole file with changes in its header, its data, both, or none.
  private func file(_ seed: Seeds.Whole, _ mutator: inout Mutator) -> [UInt8] {
    var text = seed.header.text
    var data = seed.data
    if mutator.generator.chance(2) { text = mutator.mutate(json: text, others: texts) }
    if mutator.generator.chance(2) {
      for _ in 0...mutator.generator.below(8) {
        let place = mutator.generator.below(data.count)
        data[place] =
          mutator.generator.chance(2) ? UInt8(truncatingIfNeeded: mutator.generator.next()) : data[place] ^ 0x80
      }
    }
    if mutator.generator.chance(8) { data = mutator.mutate(bytes: data, others: texts) }
    return length(of: text, &mutator) + text + data
  }

  /// The header's length: mostly the true one.
  private func length(of text: [UInt8], _ mutator: inout Mutator) -> [UInt8] {
    let extremes = [0, 1, 2, UInt64(text.count) + 1, 100_000_000, 100_000_001, 1 << 31, 1 << 63, .max]
    return littleEndian(mutator.generator.chance(20) ? mutator.generator.pick(extremes) : UInt64(text.count))
  }

  // MARK: - Properties of all inputs that load

  private func check(_ header: SafetensorsHeader, fileSize: Int) {
    var end = header.dataStart
    for tensor in header.tensors {
      precondition(tensor.range.lowerBound == end && tensor.range.upperBound <= fileSize)
      precondition(tensor.shape.reduce(tensor.type.byteCount, *) == tensor.range.count)
      end = tensor.range.upperBound
    }
    precondition(end == fileSize)
  }

  private func check(_ header: GGUFHeader, fileSize: Int) {
    for tensor in header.tensors {
      precondition(
        tensor.range.lowerBound >= header.dataStart && tensor.range.upperBound <= max(fileSize, header.dataStart))
    }
    for entry in header.metadata.entries {
      precondition(entry.value.range.upperBound <= header.metadataEnd)
      // Reading a value as each type gives the value or a refusal.
      let readers: [(GGUFMetadata) throws -> Void] = [
        { _ = try $0.string(entry.key) }, { _ = try $0.number(entry.key) }, { _ = try $0.integer(entry.key) },
        { _ = try $0.bool(entry.key) }, { _ = try $0.strings(entry.key) }, { _ = try $0.numbers(entry.key) },
        { _ = try $0.integers(entry.key) },
      ]
      for read in readers {
        do { try read(header.metadata) } catch { precondition(error is ModelFileError) }
      }
    }
  }

  /// Checks that the weights are at most as much larger than the file as tiles allow, and that all of them are
  /// readable.
  private func check(_ weights: ModelWeights, inputBytes: Int) {
    precondition(weights.tileByteCount <= 64 * inputBytes)
    precondition(weights.embedding.bytes.count <= 2 * inputBytes && weights.head.bytes.count <= 2 * inputBytes)
    var sum: UInt64 = 0
    func read(_ bytes: SharedBytes) { bytes.withUnsafeBytes { for byte in $0 { sum &+= UInt64(byte) } } }
    for layer in weights.layers {
      for matrix in layer.matrices {
        precondition(matrix.parts.allSatisfy { $0.scale.isFinite && $0.scale > 0 })
        read(matrix.tiles)
      }
      precondition(NormRole.allCases.allSatisfy { layer[$0]?.allSatisfy(\.isFinite) ?? true })
    }
    read(weights.embedding.bytes)
    read(weights.head.bytes)
  }
}

/// Memory of exactly the input's size, so that the address sanitizer sees every read beyond it.
private final class ExactMemory {
  let bytes: UnsafeMutableRawBufferPointer

  init(_ content: [UInt8]) {
    bytes = .allocate(byteCount: content.count, alignment: 64)
    bytes.copyBytes(from: content)
  }

  deinit { bytes.deallocate() }
}

private func exact(_ content: [UInt8]) -> SharedBytes {
  let memory = ExactMemory(content)
  return SharedBytes(owner: memory, bytes: UnsafeRawBufferPointer(memory.bytes))
}
