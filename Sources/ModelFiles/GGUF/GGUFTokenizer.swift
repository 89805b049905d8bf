/// A tokenizer as it is written to a GGUF file for other programs.
package struct GGUFTokenizer: Sendable {
  package enum Value: Sendable {
    case text(String)
    case flag(Bool)
    case integer(Int)
    case texts([[UInt8]])
    case integers([Int32])
    case numbers([Float])
  }

  /// The keys with their full names, in the order of the file.
  package var keys: [(name: String, value: Value)]
  /// What other programs do otherwise than the model's tokenizer, or why they cannot read it.
  package var notes: [String]

  /// - Parameter keys: empty if the keys of GGUF files cannot express the tokenizer.
  package init(keys: [(name: String, value: Value)], notes: [String]) {
    self.keys = keys
    self.notes = notes
  }
}

extension GGUFEncoder {
  mutating func add(_ key: String, _ value: GGUFTokenizer.Value) {
    switch value {
    case .text(let text): add(key, text)
    case .flag(let flag): add(key, flag)
    case .integer(let integer): add(key, integer)
    case .texts(let texts): add(key, byteStrings: texts)
    case .integers(let integers): add(key, integers: integers)
    case .numbers(let numbers): add(key, floats: numbers)
    }
  }
}
