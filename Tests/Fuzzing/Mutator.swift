import TestSupport

extension SeededGenerator {
  /// A number in 0..<count; 0 if there is none.
  mutating func below(_ count: Int) -> Int { count > 0 ? Int(next() % UInt64(count)) : 0 }

  mutating func chance(_ one: Int) -> Bool { below(one) == 0 }

  mutating func pick<Element>(_ elements: [Element]) -> Element { elements[below(elements.count)] }
}

/// Changes inputs in ways that are known to break parsers.
struct Mutator {
  var generator: SeededGenerator

  private static let numbers = [
    "0", "-0", "-1", "1", "2", "3", "2147483647", "2147483648", "-2147483648", "4294967296", "4294967295",
    "9223372036854775807",
    "9223372036854775808", "-9223372036854775808", "18446744073709551615", "18446744073709551616", "1e308", "-1e308",
    "1e309",
    "1e-308", "5e-324", "0.5", "1.5", "1e2", "1E+2", "0.1e1", "01", "1.", ".5", "+1", "NaN", "Infinity",
    "4611686018427387905",
    "100000000", "1000000", "65536",
  ]
  private static let values = [
    "null", "true", "false", "\"\"", "\"bitnet\"", "\"F32\"", "\"BF16\"", "\"U8\"", "\"../x\"", "[]", "{}", "[1]",
    "[0,0]", "[[]]",
    "\"\\u0000\"", "\"\\ud800\"", "\"\\n\"", "\"BitnetForCausalLM\"", "\"llama3\"",
  ]
  private static let bytes = Array("\"\\{}[],: 0-9eE+.\u{0}\u{7F}\nau".utf8) + [0x80, 0xC0, 0xFF, 0xEF, 0xBB, 0xBF]

  /// Makes one to four changes of JSON text, mostly one: nearly valid inputs reach most code.
  mutating func mutate(json: [UInt8], others: [[UInt8]]) -> [UInt8] {
    var text = json
    for _ in 0...(generator.chance(3) ? generator.below(4) : 0) {
      switch generator.below(10) {
      case 0, 1, 2, 3: text = mutateToken(text)
      case 4: text = mutateMember(text)
      case 5: text = nest(text)
      default: text = mutate(bytes: text, others: others)
      }
    }
    return text
  }

  /// One change of bytes of any kind.
  mutating func mutate(bytes input: [UInt8], others: [[UInt8]]) -> [UInt8] {
    var result = input
    let place = generator.below(result.count)
    let length = min(result.count - place, 1 + generator.below(generator.chance(4) ? 200 : 8))
    switch generator.below(7) {
    case 0 where !result.isEmpty: result[place] ^= 1 << UInt8(generator.below(8))
    case 1: result.insert(generator.pick(Self.bytes), at: place)
    case 2: result.removeSubrange(place..<place + length)
    case 3: result.removeSubrange(place...)
    case 4: result.insert(contentsOf: result[place..<place + length], at: place)
    case 5:
      let other = generator.pick(others)
      let start = generator.below(other.count)
      result.replaceSubrange(place..., with: other[start...])
    default: if !result.isEmpty { result[place] = generator.pick(Self.bytes) }
    }
    return result
  }

  private static let extremes: [UInt64] = [
    0, 1, 2, 3, 7, 8, 9, 12, 13, 31, 32, 33, 64, 255, 256, 1 << 16, 1 << 24, (1 << 31) - 1, 1 << 31, (1 << 32) - 1,
    1 << 32, 1 << 40, 1 << 61, (1 << 63) - 1, 1 << 63, .max, .max - 7, .max - 31,
  ]

  /// Makes one to four changes of a binary file, mostly one and mostly in its header: numbers of 4 or 8 bytes become
  /// others, or bytes change in any way.
  mutating func mutate(binary: [UInt8], header: Int, others: [[UInt8]]) -> [UInt8] {
    var file = binary
    for _ in 0...(generator.chance(3) ? generator.below(4) : 0) {
      guard file.count > 16, !generator.chance(4) else {
        file = mutate(bytes: file, others: others)
        continue
      }
      let size = generator.chance(2) ? 4 : 8
      let place = generator.below(min(generator.chance(8) ? file.count : header, file.count) - size)
      let old = file[place..<place + size].reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
      let value =
        switch generator.below(4) {
        case 0: old &+ UInt64(generator.below(3)) &- 1
        case 1: old ^ 1 << UInt64(generator.below(8 * size))
        default: generator.pick(Self.extremes)
        }
      for index in 0..<size { file[place + index] = UInt8(truncatingIfNeeded: value >> UInt64(8 * index)) }
    }
    return file
  }

  /// The text's tokens: strings, runs of number or word characters, and single other bytes.
  private func tokens(_ text: [UInt8]) -> [Range<Int>] {
    func isWord(_ byte: UInt8) -> Bool {
      switch byte {
      case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "a")...UInt8(ascii: "z"),
        UInt8(ascii: "A")...UInt8(ascii: "Z"),
        UInt8(ascii: "-"), UInt8(ascii: "+"), UInt8(ascii: "."):
        true
      default: false
      }
    }
    var tokens: [Range<Int>] = []
    var index = 0
    while index < text.count {
      let start = index
      if text[index] == UInt8(ascii: "\"") {
        index += 1
        while index < text.count, text[index] != UInt8(ascii: "\"") {
          index += text[index] == UInt8(ascii: "\\") ? 2 : 1
        }
        index = min(index + 1, text.count)
      } else if isWord(text[index]) {
        while index < text.count, isWord(text[index]) { index += 1 }
      } else {
        index += 1
      }
      tokens.append(start..<index)
    }
    return tokens
  }

  private mutating func mutateToken(_ text: [UInt8]) -> [UInt8] {
    let tokens = tokens(text)
    guard !tokens.isEmpty else { return text }
    // Sizes come from numbers, so prefer a number.
    let isNumber = { (token: Range<Int>) in (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(text[token.lowerBound]) }
    let start = generator.below(tokens.count)
    let order = tokens[start...] + tokens[..<start]
    let token = generator.chance(3) ? tokens[start] : order.first(where: isNumber) ?? tokens[start]
    var result = text
    switch generator.below(6) {
    case 0, 1: result.replaceSubrange(token, with: generator.pick(Self.numbers).utf8)
    case 2: result.replaceSubrange(token, with: generator.pick(Self.values).utf8)
    case 3: result.removeSubrange(token)
    case 4: result.insert(contentsOf: text[token], at: token.lowerBound)
    default: result.replaceSubrange(token, with: text[generator.pick(tokens)])
    }
    return result
  }

  /// Repeats or removes a member, `"name":value,` as tokens delimit it.
  private mutating func mutateMember(_ text: [UInt8]) -> [UInt8] {
    let tokens = tokens(text)
    let names = tokens.indices.filter {
      text[tokens[$0].lowerBound] == UInt8(ascii: "\"") && $0 + 1 < tokens.count
        && text[tokens[$0 + 1].lowerBound] == UInt8(ascii: ":")
    }
    guard !names.isEmpty else { return text }
    let name = generator.pick(names)
    var depth = 0
    var end = name + 2
    while end < tokens.count {
      let byte = text[tokens[end].lowerBound]
      if byte == UInt8(ascii: "{") || byte == UInt8(ascii: "[") { depth += 1 }
      if byte == UInt8(ascii: "}") || byte == UInt8(ascii: "]") { depth -= 1 }
      if depth < 0 || (depth == 0 && byte == UInt8(ascii: ",")) { break }
      end += 1
    }
    let member = tokens[name].lowerBound..<(end < tokens.count ? tokens[end].lowerBound : text.count)
    var result = text
    if generator.chance(2) {
      result.insert(contentsOf: text[member] + [UInt8(ascii: ",")], at: member.lowerBound)
    } else {
      let comma = member.upperBound < text.count && text[member.upperBound] == UInt8(ascii: ",") ? 1 : 0
      result.removeSubrange(member.lowerBound..<member.upperBound + comma)
    }
    return result
  }

  /// Puts many brackets around or instead of a token.
  private mutating func nest(_ text: [UInt8]) -> [UInt8] {
    let tokens = tokens(text)
    guard !tokens.isEmpty else { return text }
    let token = generator.pick(tokens)
    let depth = generator.pick([1, 2, 100, 511, 512, 513, 4000])
    let (open, close) = generator.chance(2) ? ("[", "]") : ("{\"a\":", "}")
    var result = text
    let inner = generator.chance(2) ? Array(text[token]) : Array("1".utf8)
    let closing = generator.chance(4) ? "" : String(repeating: close, count: depth)
    result.replaceSubrange(token, with: Array(String(repeating: open, count: depth).utf8) + inner + Array(closing.utf8))
    return result
  }
}
