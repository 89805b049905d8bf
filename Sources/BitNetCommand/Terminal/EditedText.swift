/// Text that is being edited, as the characters before the cursor and those after it.
struct EditedText {
  private(set) var before = ""
  private(set) var after = ""
  /// The text of the last deletion by word or to an end of the line.
  private var cut = ""

  init() {}

  var text: String { before + after }

  mutating func replace(with text: String) { (before, after) = (text, "") }

  mutating func insert(_ text: String) { before += text }

  mutating func yank() { before += cut }

  mutating func moveLeft() { if let character = before.popLast() { after.insert(character, at: after.startIndex) } }

  mutating func moveRight() { if !after.isEmpty { before.append(after.removeFirst()) } }

  mutating func deleteLeft() { _ = before.popLast() }

  mutating func deleteRight() { if !after.isEmpty { after.removeFirst() } }

  mutating func moveToStart() { place(before: before.count - beforeInLine.count) }

  mutating func moveToEnd() { place(before: before.count + afterInLine.count) }

  mutating func moveToTextEnd() { place(before: text.count) }

  mutating func moveWordLeft() { place(before: before.count - wordLeft) }

  mutating func moveWordRight() { place(before: before.count + wordRight) }

  mutating func deleteWordLeft() { cutLeft(wordLeft) }

  mutating func deleteWordRight() { cutRight(wordRight) }

  mutating func deleteToStart() { cutLeft(beforeInLine.count) }

  mutating func deleteToEnd() { cutRight(afterInLine.count) }

  /// Moves to the same column of the line above. Returns false in the first line.
  mutating func moveUp() -> Bool {
    let column = beforeInLine.count
    guard column < before.count else { return false }
    place(before: before.count - column - 1)
    let length = beforeInLine.count
    place(before: before.count - max(0, length - column))
    return true
  }

  /// Moves to the same column of the line below. Returns false in the last line.
  mutating func moveDown() -> Bool {
    let column = beforeInLine.count
    let rest = afterInLine.count
    guard rest < after.count else { return false }
    place(before: before.count + rest + 1)
    place(before: before.count + min(column, afterInLine.count))
    return true
  }

  /// Replaces a backslash at the end, which asks for another line, by a line break. Returns false without one.
  mutating func continueAfterBackslash() -> Bool {
    guard after.isEmpty, before.hasSuffix("\\") else { return false }
    before.removeLast()
    before += "\n"
    return true
  }

  private var beforeInLine: Substring {
    before.suffix(from: before.lastIndex(of: "\n").map(before.index(after:)) ?? before.startIndex)
  }
  private var afterInLine: Substring { after.prefix { $0 != "\n" } }

  private var wordLeft: Int { Self.wordLength(before.reversed()) }
  private var wordRight: Int { Self.wordLength(after) }

  /// The number of characters up to the end of the next word.
  private static func wordLength(_ characters: some Sequence<Character>) -> Int {
    var (length, isInWord) = (0, false)
    for character in characters {
      let isPart = character.isLetter || character.isNumber
      if isInWord, !isPart { break }
      isInWord = isPart
      length += 1
    }
    return length
  }

  private mutating func place(before count: Int) {
    let all = text
    before = String(all.prefix(count))
    after = String(all.dropFirst(count))
  }

  private mutating func cutLeft(_ count: Int) {
    guard count > 0 else { return }
    cut = String(before.suffix(count))
    before.removeLast(count)
  }

  private mutating func cutRight(_ count: Int) {
    guard count > 0 else { return }
    cut = String(after.prefix(count))
    after.removeFirst(count)
  }
}
