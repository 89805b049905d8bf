/// Reads a JSON object byte by byte, and knows at each byte whether a valid object can still follow.
struct JSONPrefix: Sendable {
  enum Result: Equatable {
    /// The byte belongs to the object.
    case inside
    /// A control character in a string, where JSON wants an escape.
    case control
    /// The byte ends the object.
    case complete
    /// No object has this byte here.
    case invalid
  }

  private enum State: Sendable {
    case value
    /// A value, or the end of an array that has just begun.
    case firstValue
    case name
    /// A name, or the end of an object that has just begun.
    case firstName
    case colon
    /// What follows a value.
    case separator
    case string(isName: Bool)
    case escape(isName: Bool)
    case digits(left: Int, isName: Bool)
    /// The rest of true, false or null.
    case word([UInt8])
    case minus, zero, integer, point, fraction, exponentMark, exponentSign, exponent
  }

  private var state = State.value
  /// The containers around the place: true for objects.
  private var containers: [Bool] = []

  /// The deepest nesting, which is that of the documents in requests.
  private static let deepest = 64

  /// The escape that stands for a control character in a string.
  static func escape(of control: UInt8) -> String {
    switch control {
    case 0x09: "\\t"
    case 0x0A: "\\n"
    case 0x0D: "\\r"
    default: "\\u00" + (control < 0x10 ? "0" : "") + String(control, radix: 16)
    }
  }

  mutating func take(_ byte: UInt8) -> Result {
    if let result = takeNumber(byte) { return result }
    switch state {
    case .string(let isName): return takeString(byte, isName)
    case .escape(let isName):
      guard "\"\\/bfnrtu".utf8.contains(byte) else { return .invalid }
      state = byte == UInt8(ascii: "u") ? .digits(left: 4, isName: isName) : .string(isName: isName)
      return .inside
    case .digits(let left, let isName):
      guard Character(Unicode.Scalar(byte)).isHexDigit, byte < 0x80 else { return .invalid }
      state = left == 1 ? .string(isName: isName) : .digits(left: left - 1, isName: isName)
      return .inside
    case .word(let rest):
      guard byte == rest[0] else { return .invalid }
      state = rest.count == 1 ? .separator : .word(Array(rest.dropFirst()))
      return .inside
    default: break
    }
    if byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09 {
      return containers.isEmpty ? .invalid : .inside
    }
    return takeMark(byte)
  }

  private mutating func takeString(_ byte: UInt8, _ isName: Bool) -> Result {
    switch byte {
    case UInt8(ascii: "\\"): state = .escape(isName: isName)
    case UInt8(ascii: "\""): state = isName ? .colon : .separator
    case 0..<0x20: return .control
    default: break
    }
    return .inside
  }

  /// A byte outside strings that is no white space.
  private mutating func takeMark(_ byte: UInt8) -> Result {
    switch (state, byte) {
    case (.firstName, UInt8(ascii: "}")), (.firstValue, UInt8(ascii: "]")): return close()
    case (.name, UInt8(ascii: "\"")), (.firstName, UInt8(ascii: "\"")): state = .string(isName: true)
    case (.colon, UInt8(ascii: ":")): state = .value
    case (.separator, UInt8(ascii: ",")): state = containers.last == true ? .name : .value
    case (.separator, UInt8(ascii: "}")) where containers.last == true,
      (.separator, UInt8(ascii: "]")) where containers.last == false:
      return close()
    case (.value, _), (.firstValue, _): return begin(byte)
    default: return .invalid
    }
    return .inside
  }

  private mutating func begin(_ byte: UInt8) -> Result {
    if containers.isEmpty, byte != UInt8(ascii: "{") { return .invalid }
    switch byte {
    case UInt8(ascii: "{"), UInt8(ascii: "["):
      guard containers.count < Self.deepest else { return .invalid }
      containers.append(byte == UInt8(ascii: "{"))
      state = containers.last == true ? .firstName : .firstValue
    case UInt8(ascii: "\""): state = .string(isName: false)
    case UInt8(ascii: "t"): state = .word(Array("rue".utf8))
    case UInt8(ascii: "f"): state = .word(Array("alse".utf8))
    case UInt8(ascii: "n"): state = .word(Array("ull".utf8))
    case UInt8(ascii: "-"): state = .minus
    case UInt8(ascii: "0"): state = .zero
    case UInt8(ascii: "1")...UInt8(ascii: "9"): state = .integer
    default: return .invalid
    }
    return .inside
  }

  private mutating func close() -> Result {
    containers.removeLast()
    state = .separator
    return containers.isEmpty ? .complete : .inside
  }

  /// - Returns: nil outside numbers, and at the first byte after one.
  private mutating func takeNumber(_ byte: UInt8) -> Result? {
    let isDigit = 0x30...0x39 ~= byte
    switch state {
    case .minus:
      guard isDigit else { return .invalid }
      state = byte == 0x30 ? .zero : .integer
    case .zero, .integer, .fraction, .exponent:
      if isDigit {
        if case .zero = state { return .invalid }
        return .inside
      }
      var mayHavePoint = false
      var mayHaveExponent = false
      switch state {
      case .zero, .integer: (mayHavePoint, mayHaveExponent) = (true, true)
      case .fraction: mayHaveExponent = true
      default: break
      }
      if mayHavePoint, byte == UInt8(ascii: ".") {
        state = .point
      } else if mayHaveExponent, byte | 0x20 == UInt8(ascii: "e") {
        state = .exponentMark
      } else {
        state = .separator
        return nil
      }
    case .point:
      guard isDigit else { return .invalid }
      state = .fraction
    case .exponentMark where byte == UInt8(ascii: "+") || byte == UInt8(ascii: "-"): state = .exponentSign
    case .exponentMark, .exponentSign:
      guard isDigit else { return .invalid }
      state = .exponent
    default: return nil
    }
    return .inside
  }
}
