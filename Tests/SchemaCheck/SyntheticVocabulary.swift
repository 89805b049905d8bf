import BitNetConstraints

/// Tokens such as those that byte-level BPE learns from text and JSON, made up: all bytes, JSON's punctuation in
/// combinations, numbers, words with and without spaces before them and quotes around them, white space, and characters
/// of other scripts, whole and in part.
struct SyntheticVocabulary {
  private var tokens: [[UInt8]] = []

  init(count: Int) {
    var seen: Set<[UInt8]> = []
    func add(_ text: [UInt8]) {
      if tokens.count < count, !text.isEmpty, seen.insert(text).inserted { tokens.append(text) }
    }
    func add(_ text: String) { add(Array(text.utf8)) }
    for byte in UInt8.min...UInt8.max { add([byte]) }
    let marks = ["{", "}", "[", "]", ":", ",", "\"", " ", "\n", "\\", "null", "true", "false", "-", ".", "e"]
    for a in marks { for b in marks { add(a + b) } }
    for a in marks.prefix(9) { for b in marks.prefix(9) { for c in marks.prefix(9) { add(a + b + c) } } }
    for length in 2...40 { add(String(repeating: " ", count: length)) }
    for length in 1...40 { add("\n" + String(repeating: " ", count: length)) }
    for number in 0..<1000 { add("\(number)") }
    for scalar in ["é", "ß", "λ", "ж", "日", "本", "語", "한", "🙂", "🚀", "ا"] {
      add(scalar)
      for length in 1..<scalar.utf8.count { add(Array(scalar.utf8.prefix(length))) }
      for length in 1..<scalar.utf8.count { add(Array(scalar.utf8.suffix(length))) }
    }
    var noise = Noise(seed: 1)
    let syllables = ["a", "be", "con", "den", "er", "fi", "ga", "ho", "in", "ja", "ke", "li", "mo", "na", "or", "pre"]
    while tokens.count < count {
      let word = (0...noise.number(below: 4)).map { _ in syllables[noise.number(below: 16)] }.joined()
      switch noise.number(below: 12) {
      case 0...3: add(" " + word)
      case 4: add(word.prefix(1).uppercased() + word.dropFirst())
      case 5: add(" " + word.prefix(1).uppercased() + word.dropFirst())
      case 6: add("\"" + word)
      case 7: add(word + "\"")
      case 8: add([" ", ".", ",", "-", "_", "/"][noise.number(below: 6)] + word)
      case 9: add(word + ["\",", "\":", "\"}", "\"]", "\\n", "."][noise.number(below: 6)])
      default: add(word)
      }
    }
  }

  func trie() -> TokenTrie { TokenTrie(vocabulary: tokens.count) { tokens[Int($0)] } }
}
