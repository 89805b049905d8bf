#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

extension Tokenizer {
  /// The names of tokenizer files in a model folder, the preferred one first.
  private static let fileNames = ["tokenizer.json", "tokenizer.model"]

  /// Reads a tokenizer file. Its content decides its format: a Hugging Face tokenizer.json, a SentencePiece model, a
  /// tiktoken rank file, or the text of ``serialized()``. A file of the name tokenizer.json is always the first.
  ///
  /// - Throws: `TokenizerError` if the file cannot be read, has more than ``maximumFileSize`` bytes, or has none of
  ///   these formats.
  package convenience init(contentsOfFile path: String) throws(TokenizerError) {
    let file = try Self.contents(of: path)
    do throws(TokenizerError) {
      if file.first(where: { !UInt8.jsonWhitespace.contains($0) }) == UInt8(ascii: "{")
        || path.split(separator: "/").last.map(String.init) == Self.fileNames[0]
      {
        try self.init(tokenizerJSON: file)
      } else if Self.isSerialized(file) {
        try self.init(serialized: String(decoding: file, as: UTF8.self))
      } else if file.starts(with: "GGUF".utf8) {
        throw TokenizerError(
          subject: "the file", found: "a GGUF file",
          expected: "a tokenizer.json or a tokenizer.model; give a GGUF file as a model")
      } else if Self.isSentencePiece(file) {
        try self.init(sentencePiece: file)
      } else {
        try self.init(tiktoken: file)
      }
    } catch {
      throw error.inFile(path)
    }
  }

  /// Reads the tokenizer of a model folder: tokenizer.json if there is one, else tokenizer.model.
  ///
  /// - Throws: `TokenizerError` if the folder has neither, or if the file cannot be read.
  package convenience init(folder: String) throws(TokenizerError) {
    let paths = Self.fileNames.map { "\(folder)/\($0)" }
    guard let path = paths.first(where: { FileManager.default.fileExists(atPath: $0) }) else {
      throw TokenizerError(
        file: folder, subject: "the tokenizer", found: "missing",
        expected: "a file \(Self.fileNames.joined(separator: " or "))")
    }
    try self.init(contentsOfFile: path)
  }

  private static func contents(of path: String) throws(TokenizerError) -> [UInt8] {
    let url = URL(filePath: path).resolvingSymlinksInPath()
    func refusal(_ found: String) -> TokenizerError {
      TokenizerError(file: path, subject: "the path", found: found, expected: "a tokenizer file")
    }
    do {
      let attributes = try FileManager.default.attributesOfItem(atPath: url.path)
      guard attributes[.type] as? FileAttributeType == .typeRegular else { throw refusal("not a regular file") }
      if let size = attributes[.size] as? Int { try checkSize(size) }
      return [UInt8](try Data(contentsOf: url))
    } catch let error as TokenizerError {
      throw error.inFile(path)
    } catch {
      throw refusal(FileManager.default.fileExists(atPath: url.path) ? "not readable" : "missing")
    }
  }

  static func checkSize(_ size: Int) throws(TokenizerError) {
    if size > maximumFileSize {
      throw TokenizerError(subject: "the file", found: "\(size) bytes long", expected: "at most \(maximumFileSize)")
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
