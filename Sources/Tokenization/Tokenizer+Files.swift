#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

extension Tokenizer {
  /// The files a folder's tokenizer may be in, the preferred one first.
  private static let fileNames = ["tokenizer.json", "tokenizer.model"]

  /// Reads a tokenizer file, whose content decides what it is: a Hugging Face tokenizer.json, a tiktoken rank file, or
  /// the text of ``serialized()``.
  ///
  /// - Throws: if the file cannot be read, has more than ``maximumFileSize`` bytes, or is none of these.
  package convenience init(contentsOfFile path: String) throws(TokenizerError) {
    let file = try Self.contents(of: path)
    do throws(TokenizerError) {
      if file.first(where: { !UInt8.jsonWhitespace.contains($0) }) == UInt8(ascii: "{") {
        try self.init(tokenizerJSON: file)
      } else if Self.isSerialized(file) {
        try self.init(serialized: String(decoding: file, as: UTF8.self))
      } else if Self.isSentencePiece(file) {
        throw TokenizerError(
          place: "the file", found: "a SentencePiece model",
          expected: "a tiktoken rank file (lines of base64 and rank), or a tokenizer.json instead of it")
      } else {
        try self.init(tiktoken: file)
      }
    } catch {
      throw error.inFile(path)
    }
  }

  /// Reads the tokenizer of a model folder: tokenizer.json if there is one, else tokenizer.model.
  ///
  /// - Throws: if the folder has neither, or the one it has cannot be read.
  package convenience init(folder: String) throws(TokenizerError) {
    guard let path = Self.file(inFolder: folder) else {
      throw TokenizerError(
        place: folder, found: "no tokenizer", expected: "a file \(Self.fileNames.joined(separator: " or "))")
    }
    try self.init(contentsOfFile: path)
  }

  /// Whether a folder has a file that ``init(folder:)`` would read.
  package static func exists(inFolder folder: String) -> Bool { file(inFolder: folder) != nil }

  private static func file(inFolder folder: String) -> String? {
    fileNames.map { "\(folder)/\($0)" }.first { FileManager.default.fileExists(atPath: $0) }
  }

  private static func contents(of path: String) throws(TokenizerError) -> [UInt8] {
    let url = URL(filePath: path).resolvingSymlinksInPath()
    do {
      let attributes = try FileManager.default.attributesOfItem(atPath: url.path)
      guard attributes[.type] as? FileAttributeType == .typeRegular else {
        throw TokenizerError(place: path, found: "something other than a file", expected: "a tokenizer file")
      }
      if let size = attributes[.size] as? Int { try checkSize(size, place: path) }
      return [UInt8](try Data(contentsOf: url))
    } catch let error as TokenizerError {
      throw error
    } catch {
      throw TokenizerError(place: path, found: "a file that cannot be read (\(error))", expected: "a tokenizer file")
    }
  }

  static func checkSize(_ size: Int, place: String = "the file") throws(TokenizerError) {
    if size > maximumFileSize {
      throw TokenizerError(place: place, found: "\(size) bytes", expected: "at most \(maximumFileSize)")
    }
  }

  /// A SentencePiece model is a protobuf message that begins with its first piece: field 1, a message, whose field 1 is
  /// the piece's text. A rank file is text and cannot contain the bytes that follow.
  private static func isSentencePiece(_ file: [UInt8]) -> Bool {
    file.first == 0x0A && file.prefix(256).contains { $0 >= 0x7F || ($0 < 0x20 && !UInt8.jsonWhitespace.contains($0)) }
  }
}

extension UInt8 {
  fileprivate static let jsonWhitespace = Array(" \t\r\n".utf8)
}
