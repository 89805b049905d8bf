import ArgumentParser
import BitNet
import BitNetCPUEngine
import BitNetCUDADriver
import BitNetCUDAEngine
import BitNetInference
import BitNetJSON
import BitNetModelFiles
import BitNetTokenization

struct Tokenize: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Turn text into token ids, or back.",
    discussion: """
      Prints the ids on one line, separated by spaces. Standard input is encoded byte for byte, including its last \
      line end. With a byte-level tokenizer, --decode returns the same bytes.

      Examples:
        bitnet tokenize "Once upon a time"
        bitnet tokenize --pieces "Once upon a time"
        bitnet tokenize < book.txt | bitnet tokenize --decode | cmp - book.txt
        echo '{"text": "Once"}' | bitnet tokenize --jsonl
        echo '{"ids": [2154, 713]}' | bitnet tokenize --jsonl --decode
        bitnet tokenize --tokenizer tokenizer.model --special "<|begin_of_text|>Hello"
      """)

  @Argument(help: "The text, or with --decode the ids. (default: standard input)")
  var text: String?

  @Option(help: ArgumentHelp("Read the text from this file.", valueName: "path"))
  var textFile: String?

  @OptionGroup var source: ModelSource

  @Option(
    help: ArgumentHelp(
      "A tokenizer.json, tokenizer.model (SentencePiece or tiktoken) or GGUF file to use instead of a model's.",
      valueName: "path"))
  var tokenizer: String?

  @Flag(help: "Turn ids into text.")
  var decode = false

  @Flag(help: "With --decode: leave special tokens out of the text.")
  var skipSpecial = false

  @Flag(help: #"Read lines {"text": …} and print {"ids": […]} for each; with --decode the reverse."#)
  var jsonl = false

  @Flag(help: "Print one line for each token: its id and its text.")
  var pieces = false

  @Flag(name: .customLong("bos"), help: "Begin with the token that begins a sequence.")
  var addsBeginToken = false

  @Flag(
    name: .customLong("special"),
    help: "Parse special tokens in the text (such as <|eot_id|>) as tokens instead of text.")
  var parsesSpecialTokens = false

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      "Encode once as a warm-up and then this many times, and print bytes, tokens and seconds each time.",
      valueName: "count"))
  var benchmark: Int?

  func validate() throws {
    if tokenizer != nil, source.model != nil {
      throw ValidationError("--tokenizer replaces --model; expected one of them.")
    }
    if text != nil, textFile != nil {
      throw ValidationError("The text is given twice; expected an argument or --text-file.")
    }
    if jsonl, text != nil || textFile != nil {
      throw ValidationError("--jsonl reads standard input; it takes no text.")
    }
    if jsonl, pieces { throw ValidationError("--pieces and --jsonl exclude each other.") }
    if decode, pieces || addsBeginToken || parsesSpecialTokens {
      throw ValidationError("--pieces, --bos and --special are for text, not for --decode.")
    }
    if skipSpecial, !decode { throw ValidationError("--skip-special is for --decode.") }
    if benchmark != nil, decode || jsonl || pieces { throw ValidationError("--benchmark is for encoding one text.") }
  }

  func run() throws {
    let tokenizer = try tokenizer.map { try Tokenizer(file: $0) } ?? source.loadTokenizer()
    if jsonl { return try convertLines(tokenizer) }
    let input = try text.map { Array($0.utf8) } ?? ByteInput.contents(of: textFile ?? "-")
    if decode { return try printText(of: input, tokenizer) }
    if let benchmark { return try measure(tokenizer, input, rounds: benchmark) }
    let ids = encode(input, tokenizer)
    if pieces {
      try ByteOutput.standard.write(
        ids.map { id in
          "\(id)\t\(try Self.quoted(String(decoding: tokenizer.bytes(of: id) ?? [], as: UTF8.self)))\n"
        }.joined())
    } else {
      try ByteOutput.standard.write(ids.map(String.init).joined(separator: " ") + "\n")
    }
  }

  private func encode(_ bytes: [UInt8], _ tokenizer: Tokenizer) -> [Int32] {
    tokenizer.encode(utf8: bytes, addingBeginToken: addsBeginToken, parsingSpecialTokens: parsesSpecialTokens)
  }

  private static func quoted(_ text: String) throws -> String { String(try jsonText(text, onOneLine: true).dropLast()) }

  private func printText(of input: [UInt8], _ tokenizer: Tokenizer) throws {
    let separators = Set(" \t\r\n,[]".utf8)
    let ids = try input.split(whereSeparator: separators.contains).map { word in
      let text = String(decoding: word, as: UTF8.self)
      guard let id = Int(text) else {
        throw CommandError("\"\(text.prefix(40))\" is not a token id; expected numbers separated by spaces")
      }
      return id
    }
    var bytes = tokenizer.decodedBytes(try Self.known(ids, tokenizer), skippingSpecialTokens: skipSpecial)
    if ByteOutput.standard.isTerminal, bytes.last != UInt8(ascii: "\n") { bytes.append(UInt8(ascii: "\n")) }
    try ByteOutput.standard.write(bytes)
  }

  /// The ids, each of which some token has.
  private static func known(_ ids: [Int], _ tokenizer: Tokenizer) throws -> [Int32] {
    try ids.map { id in
      guard let known = Int32(exactly: id), tokenizer.bytes(of: known) != nil else {
        throw CommandError("no token has the id \(id); expected ids from 0 to \(tokenizer.vocabularySize - 1)")
      }
      return known
    }
  }

  private struct TextLine: Codable {
    let text: String
  }

  private struct IDsLine: Codable {
    let ids: [Int]
  }

  /// Reads a line that is a JSON object; names that are given twice and lines that are too large are named.
  private static func read<Value>(
    _ line: some Sequence<UInt8>, place: String, expected: String, _ body: (JSONValue) throws(JSONError) -> Value
  ) throws -> Value {
    do throws(JSONError) {
      return try body(JSONDocument(Array(line), limits: JSONLimits(byteCount: LineReader.longestLine)).root)
    } catch {
      let isAboutForm = error.kind == .limit || error.found.hasPrefix("given twice")
      throw CommandError(isAboutForm ? "\(place): \(error.sentence(about: "it"))" : "\(place) is not \(expected)")
    }
  }

  private func convertLines(_ tokenizer: Tokenizer) throws {
    var lines = LineReader()
    while let line = try lines.next() {
      let place = "line \(lines.lineNumber) of standard input"
      if decode {
        let expected = #"a JSON object with "ids", an array of token ids"#
        let ids = try Self.read(line, place: place, expected: expected) { (json) throws(JSONError) in
          var ids: [Int] = []
          for id in try json["ids"].elements() { ids.append(try id.integer()) }
          return ids
        }
        let known: [Int32]
        do {
          known = try Self.known(ids, tokenizer)
        } catch {
          throw CommandError("\(place): \(error)")
        }
        let text = tokenizer.decode(known, skippingSpecialTokens: skipSpecial)
        try ByteOutput.standard.write(jsonText(TextLine(text: text), onOneLine: true))
      } else {
        let expected = #"a JSON object with "text", a string of whole Unicode characters"#
        let text = try Self.read(line, place: place, expected: expected) { (json) throws(JSONError) in
          try json["text"].string()
        }
        let ids = encode(Array(text.utf8), tokenizer).map(Int.init)
        try ByteOutput.standard.write(jsonText(IDsLine(ids: ids), onOneLine: true))
      }
    }
  }

  /// Prints bytes, tokens and seconds of each round; the seconds are those of encoding alone.
  private func measure(_ tokenizer: Tokenizer, _ input: [UInt8], rounds: Int) throws {
    guard rounds > 0 else { throw CommandError("--benchmark is \(rounds); expected 1 or more") }
    let clock = ContinuousClock()
    var count = encode(input, tokenizer).count
    for _ in 0..<rounds {
      let time = clock.measure { count = encode(input, tokenizer).count }
      try ByteOutput.standard.write("\(input.count) \(count) \(time / .seconds(1))\n")
    }
  }
}
