import Testing
import BitNetTokenization

#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

/// Files that belong to the tests.
enum Fixtures {
  static let folder = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "Fixtures")

  static func path(_ name: String) -> String { folder.appending(path: name).path }

  static func bytes(_ name: String) throws -> [UInt8] { [UInt8](try Data(contentsOf: folder.appending(path: name))) }

  static func text(_ name: String) throws -> String { String(decoding: try bytes(name), as: UTF8.self) }
}

/// The reference outputs that are not part of the repository: in a folder beside it, or where BITNET_ORACLE says.
enum Oracle {
  static let folder: URL = {
    if let path = ProcessInfo.processInfo.environment["BITNET_ORACLE"] { return URL(filePath: path) }
    let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent()
    return root.deletingLastPathComponent().appending(path: "shared/oracle")
  }()

  static let tokenizerModel = folder.appending(path: "tokenizer/tokenizer.model").path

  static let isPresent = FileManager.default.fileExists(atPath: tokenizerModel)

  static let absence: Comment = "the oracle's tokenizer folder is not there; set BITNET_ORACLE to the oracle's folder"

  static let tokenizer = Result { try Tokenizer(contentsOfFile: tokenizerModel) }
}

/// The values of a file of one JSON value a line. A key `like_this` is the property `likeThis`.
func jsonLines<Value: Decodable>(_ type: Value.Type, in url: URL) throws -> [Value] {
  let lines = try Data(contentsOf: url).split(separator: UInt8(ascii: "\n"))
  let decoder = JSONDecoder()
  decoder.keyDecodingStrategy = .convertFromSnakeCase
  return try lines.map { try decoder.decode(Value.self, from: Data($0)) }
}

/// A generator of random numbers with a seed (SplitMix64), so that a failure can be repeated.
struct SeededGenerator: RandomNumberGenerator {
  private var state: UInt64

  init(seed: UInt64) { state = seed }

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var mixed = state
    mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
    return mixed ^ (mixed >> 31)
  }
}

/// A random string of up to `length` scalars from all over Unicode, ASCII and whitespace more often than the rest.
func randomText(upTo length: Int, _ random: inout SeededGenerator) -> String {
  let ranges: [ClosedRange<UInt32>] = [
    0x20...0x7E, 0x20...0x7E, 0x00...0x20, 0x80...0x24F, 0x300...0x36F, 0x370...0xFFF, 0x2000...0x206F, 0x4E00...0x9FFF,
    0xE000...0xFFFF, 0x1F300...0x1FAFF, 0x10000...0x10FFFF,
  ]
  var text = String.UnicodeScalarView()
  for _ in 0..<Int.random(in: 0...length, using: &random) {
    if let scalar = Unicode.Scalar(UInt32.random(in: ranges.randomElement(using: &random)!, using: &random)) {
      text.append(scalar)
    }
  }
  return String(text)
}

/// A tokenizer as text, made by hand: all single bytes in order, then `tokens`, whose ids begin at 256.
func serialized(tokens: [String], merges: String = "by-id", split: String = "llama3", more: [String] = []) -> String {
  let bytes = (0...255).map { Data([UInt8($0)]).base64EncodedString() }
  let all = bytes + tokens.map { Data($0.utf8).base64EncodedString() }
  let lines = [
    "swift-bitnet tokenizer 1", "split \(split)", "whole-pieces false", "tokens " + all.joined(separator: " "),
    "merges \(merges)",
  ]
  return (lines + more).joined(separator: "\n") + "\n"
}
