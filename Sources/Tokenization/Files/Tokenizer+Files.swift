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
      } else if let kind = Self.otherKind(file) {
        throw TokenizerError(
          subject: "the file", found: kind,
          expected: "a tokenizer.json, a tokenizer.model (SentencePiece or tiktoken) or a GGUF file")
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

  /// What a file is that is no tokenizer, or one of another kind; nil if it may be a list of ranks.
  private static func otherKind(_ file: [UInt8]) -> String? {
    func starts(_ text: String) -> Bool { file.starts(with: text.utf8) }
    if file.isEmpty { return "empty" }
    if file.starts(with: [0x50, 0x4B, 0x03, 0x04]) { return "a ZIP archive, such as PyTorch's pickle files" }
    if file.starts(with: [0x1F, 0x8B]) || file.starts(with: [0xFD, 0x37, 0x7A, 0x58, 0x5A]) { return "compressed" }
    if file.count > 8, file[8] == UInt8(ascii: "{"), file[4..<8].allSatisfy({ $0 == 0 }) { return "a safetensors file" }
    if starts("version https://git-lfs") { return "a pointer of Git LFS instead of the file that it stands for" }
    if starts("<") { return "HTML or XML" }
    if starts("#version") { return "a list of merges (merges.txt), which is a part of a tokenizer" }
    if starts("[") || starts("\"") { return "JSON, but no object" }
    // A rank file has a word in base64, a space and a number on each line.
    let line = file.prefix(2048).prefix { $0 != UInt8(ascii: "\n") && $0 != UInt8(ascii: "\r") }
    let words = line.split(separator: UInt8(ascii: " "), omittingEmptySubsequences: false)
    let isRank = words.count == 2 && !words[1].isEmpty && words[1].allSatisfy { (0x30...0x39).contains($0) }
    if isRank { return nil }
    return file.prefix(512).contains { $0 < 0x20 && !UInt8.jsonWhitespace.contains($0) } ? "binary" : "another text"
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
