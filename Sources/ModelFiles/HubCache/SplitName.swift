/// The name of a part of a split GGUF file, such as `model-00001-of-00003.gguf`.
package struct SplitName: Hashable, Sendable {
  /// The name before the number.
  package let start: String
  /// From 1 on.
  package let number: Int
  package let count: Int

  /// Nil if the name has another form.
  package init?(_ path: String) {
    let suffix = ".gguf"
    guard path.hasSuffix(suffix) else { return nil }
    let words = path.dropLast(suffix.count).split(separator: "-", omittingEmptySubsequences: false)
    guard words.count >= 4, words[words.count - 2] == "of" else { return nil }
    let digits = [words[words.count - 3], words[words.count - 1]]
    guard digits.allSatisfy({ $0.utf8.count == 5 && $0.utf8.allSatisfy { 48...57 ~= $0 } }),
      let number = Int(digits[0]), let count = Int(digits[1])
    else { return nil }
    start = words.dropLast(3).joined(separator: "-")
    self.number = number
    self.count = count
  }
}
