import BitNetModelFiles
import BitNetTernary
import TestSupport

#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

/// The contents of a GGUF file as another reader saw them.
struct GGUFContents: Decodable {
  /// A value as text: a number, a bool, a string, or the bytes of a string that is not UTF-8.
  enum Scalar: Decodable, Equatable {
    case integer(Int64), unsigned(UInt64), number(Double), bool(Bool), text(String), bytes(String)

    init(from decoder: any Decoder) throws {
      let container = try decoder.singleValueContainer()
      if let value = try? container.decode(Bool.self) {
        self = .bool(value)
      } else if let value = try? container.decode(Int64.self) {
        self = .integer(value)
      } else if let value = try? container.decode(UInt64.self) {
        self = .unsigned(value)
      } else if let value = try? container.decode(Double.self) {
        self = .number(value)
      } else if let value = try? container.decode(String.self) {
        self = .text(value)
      } else {
        self = .bytes(try container.decode([String: String].self)["hex"] ?? "")
      }
    }
  }

  struct Key: Decodable {
    let key: String
    let type: String
    let value: Scalar?
    let element: String?
    let count: Int?
    let sha256: String?
    let first: [Scalar]?
    let last: [Scalar]?
  }

  let version: UInt32
  let tensors: Int
  let metadataEnd: Int
  let kv: [Key]

  enum CodingKeys: String, CodingKey {
    case version, tensors, kv
    case metadataEnd = "metadata_end"
  }

  /// A file of published vocabularies or of broken headers, by the name of the file that is described.
  static func read<Value: Decodable>(_ type: Value.Type, _ path: String) throws -> [String: Value] {
    try JSONDecoder().decode([String: Value].self, from: Data(contentsOf: URL(filePath: path)))
  }
}

extension GGUFMetadata.Entry {
  /// The value's elements, read without the library's own readers; nil if the value is not of the named type.
  func elements(of file: [UInt8]) -> [GGUFContents.Scalar] {
    var elements: [GGUFContents.Scalar] = []
    var offset = value.range.lowerBound
    func load<Value: FixedWidthInteger>(_ type: Value.Type) -> Value {
      defer { offset += MemoryLayout<Value>.size }
      return file.withUnsafeBytes { Value(littleEndian: $0.loadUnaligned(fromByteOffset: offset, as: Value.self)) }
    }
    func special(_ value: Double) -> GGUFContents.Scalar {
      if !value.isFinite { return .text("\(value)") }
      return Int64(exactly: value).map { .integer($0) } ?? .number(value)
    }
    for _ in 0..<value.count {
      switch value.elementType ?? value.type {
      case .u8: elements.append(.integer(Int64(load(UInt8.self))))
      case .i8: elements.append(.integer(Int64(load(Int8.self))))
      case .u16: elements.append(.integer(Int64(load(UInt16.self))))
      case .i16: elements.append(.integer(Int64(load(Int16.self))))
      case .u32: elements.append(.integer(Int64(load(UInt32.self))))
      case .i32: elements.append(.integer(Int64(load(Int32.self))))
      case .f32: elements.append(special(Double(Float(bitPattern: load(UInt32.self)))))
      case .f64: elements.append(special(Double(bitPattern: load(UInt64.self))))
      case .bool: elements.append(.bool(load(UInt8.self) != 0))
      case .i64: elements.append(.integer(load(Int64.self)))
      case .u64:
        let value = load(UInt64.self)
        elements.append(Int64(exactly: value).map { .integer($0) } ?? .unsigned(value))
      case .string:
        let bytes = file[offset + 8..<offset + 8 + Int(load(UInt64.self))]
        offset += bytes.count
        elements.append(
          String(validating: bytes, as: UTF8.self).map { .text($0) } ?? .bytes(bytes.map(hexadecimal).joined()))
      case .array: return []
      }
    }
    return elements
  }
}

func hexadecimal(_ byte: UInt8) -> String { (byte < 16 ? "0" : "") + String(byte, radix: 16) }

/// The SHA-256 digest of bytes, in hexadecimal (FIPS 180-4).
func sha256(_ message: some Collection<UInt8>) -> String {
  func fraction(_ root: Double) -> UInt32 { UInt32((root - root.rounded(.down)) * 0x1p32) }
  let primes = (2...311).filter { number in (2..<number).allSatisfy { number % $0 != 0 } }
  let constants = primes.prefix(64).map(cubeRootFraction)
  var state = primes.prefix(8).map { fraction(Double($0).squareRoot()) }
  let bits = UInt64(message.count) * 8
  var padded = Array(message) + [0x80]
  padded += [UInt8](repeating: 0, count: (120 - padded.count % 64) % 64)
  padded += withUnsafeBytes(of: bits.bigEndian, Array.init)
  func rotate(_ value: UInt32, _ count: UInt32) -> UInt32 { value >> count | value << (32 - count) }
  var words = [UInt32](repeating: 0, count: 64)
  for block in stride(from: 0, to: padded.count, by: 64) {
    for index in 0..<16 {
      words[index] = padded[block + 4 * index..<block + 4 * index + 4].reduce(0) { $0 << 8 | UInt32($1) }
    }
    for index in 16..<64 {
      let (a, b) = (words[index - 15], words[index - 2])
      let first = rotate(a, 7) ^ rotate(a, 18) ^ a >> 3
      let second = rotate(b, 17) ^ rotate(b, 19) ^ b >> 10
      words[index] = words[index - 16] &+ first &+ words[index - 7] &+ second
    }
    var v = state
    for index in 0..<64 {
      let choice = (v[4] & v[5]) ^ (~v[4] & v[6])
      let majority = (v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2])
      let first = v[7] &+ (rotate(v[4], 6) ^ rotate(v[4], 11) ^ rotate(v[4], 25)) &+ choice
      let sum = first &+ constants[index] &+ words[index]
      let second = (rotate(v[0], 2) ^ rotate(v[0], 13) ^ rotate(v[0], 22)) &+ majority
      v = [sum &+ second, v[0], v[1], v[2], v[3] &+ sum, v[4], v[5], v[6]]
    }
    for index in 0..<8 { state[index] &+= v[index] }
  }
  return state.flatMap { withUnsafeBytes(of: $0.bigEndian, Array.init) }.map(hexadecimal).joined()
}

/// The first 32 bits of the fraction of a prime's cube root.
private func cubeRootFraction(_ prime: Int) -> UInt32 {
  // The largest r with r³ ≤ prime · 2^96, of which the low 32 bits are the fraction.
  var root: UInt64 = 0
  for bit in stride(from: 35, through: 0, by: -1) {
    let next = root | 1 << UInt64(bit)
    let wide = UInt128(next)
    if wide * wide * wide <= UInt128(prime) << 96 { root = next }
  }
  return UInt32(truncatingIfNeeded: root)
}
