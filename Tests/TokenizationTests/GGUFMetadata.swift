import BitNetTokenization

/// The tokenizer's keys of a GGUF file, for tests: a reader without limits for files that are known to be good.
struct GGUFMetadata {
  private let bytes: [UInt8]
  private var at = 24

  private enum Value {
    case number(Double)
    case bytes([UInt8])
    case list([Value])

    var number: Double? { if case .number(let number) = self { number } else { nil } }
    var text: [UInt8]? { if case .bytes(let bytes) = self { bytes } else { nil } }
    var list: [Value] { if case .list(let list) = self { list } else { [] } }
  }

  private init(_ bytes: [UInt8]) { self.bytes = bytes }

  static func vocabulary(of file: [UInt8]) -> GGUFVocabulary? {
    var reader = GGUFMetadata(file)
    guard file.starts(with: "GGUF".utf8) else { return nil }
    let count = file[16..<24].reversed().reduce(0) { $0 << 8 | Int($1) }
    var values: [String: Value] = [:]
    for _ in 0..<count {
      let name = String(decoding: reader.string(), as: UTF8.self)
      values[name] = reader.value(reader.integer(4))
    }
    func key(_ name: String) -> Value? { values["tokenizer.ggml.\(name)"] }
    func flag(_ name: String) -> Bool? { key(name)?.number.map { $0 != 0 } }
    guard let model = key("model")?.text, let tokens = key("tokens")?.list else { return nil }
    var vocabulary = GGUFVocabulary(model: String(decoding: model, as: UTF8.self), tokens: tokens.compactMap(\.text))
    vocabulary.pre = key("pre")?.text.map { String(decoding: $0, as: UTF8.self) }
    vocabulary.scores = key("scores")?.list.compactMap { $0.number.map(Float.init) } ?? []
    vocabulary.types = key("token_type")?.list.compactMap { $0.number.map(Int32.init) } ?? []
    vocabulary.merges = key("merges")?.list.compactMap(\.text) ?? []
    vocabulary.beginToken = key("bos_token_id")?.number.map(Int.init)
    vocabulary.endToken = key("eos_token_id")?.number.map(Int.init)
    vocabulary.unknownToken = key("unknown_token_id")?.number.map(Int.init)
    vocabulary.addsBeginToken = flag("add_bos_token")
    vocabulary.addsEndToken = flag("add_eos_token")
    vocabulary.addsSpacePrefix = flag("add_space_prefix")
    vocabulary.removesExtraSpaces = flag("remove_extra_whitespaces")
    return vocabulary
  }

  private mutating func integer(_ size: Int) -> UInt64 {
    defer { at += size }
    return bytes[at..<at + size].reversed().reduce(0) { $0 << 8 | UInt64($1) }
  }

  private mutating func string() -> [UInt8] {
    let count = Int(integer(8))
    defer { at += count }
    return Array(bytes[at..<at + count])
  }

  private mutating func value(_ type: UInt64) -> Value {
    switch type {
    case 8: return .bytes(string())
    case 9:
      let element = integer(4)
      return .list((0..<integer(8)).map { _ in value(element) })
    case 6: return .number(Double(Float(bitPattern: UInt32(integer(4)))))
    case 12: return .number(Double(bitPattern: integer(8)))
    case 5: return .number(Double(Int32(bitPattern: UInt32(integer(4)))))
    default: return .number(Double(integer([0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 7: 1][type] ?? 8)))
    }
  }
}
