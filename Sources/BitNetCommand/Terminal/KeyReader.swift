import Foundation

/// Converts the bytes that a terminal sends into keys.
struct KeyReader {
  private var buffer: [UInt8] = []
  private var position = 0

  /// Milliseconds after which a lone escape character is the escape key and not the beginning of a sequence.
  private static let escapeTimeout: Int32 = 50

  /// Waits for the next key and returns it.
  mutating func next() -> Key {
    guard let byte = nextByte(timeout: -1) else { return .hangUp }
    switch byte {
    case 0x1B: return escaped()
    case 0x0D, 0x0A: return .enter
    case 0x7F, 0x08: return .backspace
    case 0x09: return .text("\t")
    case 0..<0x20: return Self.control(byte)
    default: return character(byte)
    }
  }

  /// Whether bytes have been read that are no keys yet.
  var areWaiting: Bool { position < buffer.count }

  /// Whether Ctrl-C is among the keys that wait. It is dropped, with those before it.
  mutating func takeInterrupt() -> Bool {
    while isReady(timeout: 0), let bytes = try? ByteInput.standard.read() {
      (buffer, position) = (Array(buffer[position...]) + bytes, 0)
    }
    guard let last = buffer[position...].lastIndex(of: 0x03) else { return false }
    position = last + 1
    return true
  }

  private static func control(_ byte: UInt8) -> Key {
    switch Character(UnicodeScalar(byte + 0x40)) {
    case "A": .home
    case "B": .left
    case "C": .interrupt
    case "D": .endOrDelete
    case "E": .end
    case "F": .right
    case "K": .deleteToEnd
    case "L": .clearScreen
    case "N": .later
    case "P": .earlier
    case "U": .deleteToStart
    case "W": .deleteWordLeft
    case "Y": .yank
    case "Z": .suspend
    default: .other
    }
  }

  /// A character of one or more bytes. Invalid bytes are ignored.
  private mutating func character(_ first: UInt8) -> Key {
    var bytes = [first]
    let count = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : first >= 0xC0 ? 2 : 1
    while bytes.count < count, let byte = nextByte(timeout: Self.escapeTimeout) { bytes.append(byte) }
    return String(validating: bytes, as: UTF8.self).map { .text($0) } ?? .other
  }

  private mutating func escaped() -> Key {
    guard let byte = nextByte(timeout: Self.escapeTimeout) else { return .other }
    switch byte {
    case UInt8(ascii: "["): return controlSequence()
    case UInt8(ascii: "O"): return Self.cursorKey(nextByte(timeout: Self.escapeTimeout) ?? 0, withModifier: false)
    case UInt8(ascii: "b"): return .wordLeft
    case UInt8(ascii: "f"): return .wordRight
    case UInt8(ascii: "d"): return .deleteWordRight
    case 0x7F, 0x08: return .deleteWordLeft
    case 0x0D, 0x0A: return .newline
    default: return .other
    }
  }

  /// A sequence after `ESC [`: parameters, and a letter or a tilde.
  private mutating func controlSequence() -> Key {
    var parameters = ""
    while let byte = nextByte(timeout: Self.escapeTimeout) {
      if (0x20...0x3F).contains(byte), parameters.count < 16 {
        parameters.unicodeScalars.append(UnicodeScalar(byte))
        continue
      }
      guard byte == UInt8(ascii: "~") else { return Self.cursorKey(byte, withModifier: parameters.contains(";")) }
      switch parameters {
      case "1", "7": return .home
      case "4", "8": return .end
      case "3": return .delete
      case "3;3", "3;5": return .deleteWordRight
      case "200": return pasted()
      default: return .other
      }
    }
    return .other
  }

  /// - Parameter withModifier: whether Ctrl, Alt or Shift was held; arrow keys then move by words.
  private static func cursorKey(_ byte: UInt8, withModifier: Bool) -> Key {
    switch UnicodeScalar(byte) {
    case "A": .up
    case "B": .down
    case "C": withModifier ? .wordRight : .right
    case "D": withModifier ? .wordLeft : .left
    case "H": .home
    case "F": .end
    default: .other
    }
  }

  /// Pasted text up to its closing marker, without control characters.
  private mutating func pasted() -> Key {
    let mark = Array("\u{1B}[201~".utf8)
    var bytes: [UInt8] = []
    while let byte = nextByte(timeout: -1) {
      bytes.append(byte)
      if byte == mark.last, bytes.suffix(mark.count) == mark[...] {
        bytes.removeLast(mark.count)
        break
      }
    }
    let text = String(decoding: bytes, as: UTF8.self).replacing("\r\n", with: "\n").replacing("\r", with: "\n")
    return .text(
      String(text.unicodeScalars.filter { $0 == "\n" || $0 == "\t" || ($0.value >= 0x20 && $0.value != 0x7F) }))
  }

  /// - Parameter timeout: in milliseconds; -1 waits.
  private mutating func nextByte(timeout: Int32) -> UInt8? {
    if position == buffer.count {
      guard isReady(timeout: timeout), let bytes = try? ByteInput.standard.read() else { return nil }
      (buffer, position) = (bytes, 0)
    }
    defer { position += 1 }
    return buffer[position]
  }

  /// Whether bytes can be read within some milliseconds; -1 waits.
  private func isReady(timeout: Int32) -> Bool {
    var request = pollfd(fd: STDIN_FILENO, events: Int16(POLLIN), revents: 0)
    var ready: Int32
    repeat { ready = poll(&request, 1, timeout) } while ready < 0 && errno == EINTR
    return ready > 0
  }
}
