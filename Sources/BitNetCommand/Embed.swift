import ArgumentParser
import BitNet
import BitNetModelFiles
import BitNetServer

struct Embed: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Turn texts into vectors that tell how close they are in meaning.",
    discussion: """
      Takes texts as arguments, or one text from each line of standard input. Prints a JSON line for each: \
      {"embedding": […], "index": …, "tokens": …}. A file whose name ends in .npy gets a NumPy array of 32-bit floats \
      instead, one row for each text.

      Examples:
        bitnet embed --model bitnet-embedding-0.6b "The cat sat on the mat."
        bitnet embed --model bitnet-embedding-0.6b --similarity "a cat" "a kitten" "a share"
        bitnet embed --model bitnet-embedding-0.6b --output vectors.npy < lines.txt
        echo '{"text": "a cat"}' | bitnet embed --model bitnet-embedding-0.6b --jsonl - --dimensions 256
        bitnet embed --model bitnet-embedding-0.6b --jsonl texts.jsonl --output vectors.jsonl

      With --jsonl, each line of a file is an object with a "text" and perhaps an "id"; other fields are ignored. Many \
      lines go through the model at a time. Each has an answer with the number of its "line", the "id", "tokens" and \
      "embedding", or an "error". A run that was killed goes on where it was when it is started again: the lines that \
      --output has are kept. A line may also be a request of OpenAI's batch files, with "custom_id", "url" and "body", \
      for /v1/embeddings; its answer has OpenAI's form too, and is that of bitnet serve.
      """)

  @Argument(help: "The texts. (default: the lines of standard input)")
  var texts: [String] = []

  @Option(
    help: ArgumentHelp(
      "What goes before each text, such as \"query: \", or the name of one of the model's own prompts.",
      valueName: "text"))
  var queryPrefix: String?

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp("Keep this many elements of each vector, and make its length 1 again.", valueName: "count"))
  var dimensions: Int?

  @Option(
    name: .shortAndLong,
    help: ArgumentHelp(
      "Write to this file: a NumPy array if the name ends in .npy, otherwise JSON lines, which --jsonl continues.",
      valueName: "path"))
  var output: String?

  @Flag(help: "Print a table of the cosines of all pairs of texts instead.")
  var similarity = false

  @Flag(help: "With --jsonl, do not print a summary on standard error.")
  var quiet = false

  @OptionGroup(title: "Many texts") var batch: BatchOptions
  @OptionGroup(title: "Model") var model: ModelOptions

  /// The most texts whose similarities are a table.
  private static let largestTable = 100

  func validate() throws {
    if batch.jsonl != nil, !texts.isEmpty || similarity {
      throw ValidationError("--jsonl reads texts from a file; expected no text and no --similarity beside it.")
    }
    if quiet, batch.jsonl == nil { throw ValidationError("--quiet is given without --jsonl; expected both.") }
    if similarity, output != nil { throw ValidationError("--similarity prints a table; it takes no --output.") }
    if texts.isEmpty, batch.jsonl == nil, ByteInput.standardIsTerminal {
      throw ValidationError("There is no text; expected arguments, or lines on standard input.")
    }
    if let dimensions, dimensions < 1 {
      throw ValidationError("--dimensions is \(dimensions); expected 1 or more.")
    }
  }

  private struct Line: Encodable {
    let index: Int
    let tokens: Int
    let embedding: [Float]
  }

  func run() async throws {
    if let path = batch.jsonl, output?.hasSuffix(".npy") != true { return try await answerLines(of: path) }
    let texts = try inputs()
    guard !texts.isEmpty else { throw CommandError("\(inputName) has no lines; expected a text in each") }
    if similarity, texts.count > Self.largestTable {
      throw CommandError("--similarity is for up to \(Self.largestTable) texts; found \(texts.count)")
    }
    let embedder = try await model.loadEmbedder()
    let prefix = prefix(for: embedder)
    let bar = ProgressBar("embedding")
    defer { bar.finish() }
    let result = try await embedder.embeddings(of: texts, prompt: prefix, dimensions: dimensions) { bar.update($0) }
    let vectors = result.vectors
    bar.finish()
    if similarity { return try ByteOutput.standard.write(Self.similarities(vectors)) }
    if let output, output.hasSuffix(".npy") { return try Self.write(npy(vectors), to: output) }
    let lines = try vectors.enumerated().map { index, vector in
      try jsonText(
        Line(index: index, tokens: result.tokenCounts[index], embedding: vector), onOneLine: true)
    }
    if let output { return try Self.write(Array(lines.joined().utf8), to: output) }
    for line in lines { try ByteOutput.standard.write(line) }
  }

  private func answerLines(of path: String) async throws {
    let embedder = try await model.loadEmbedder()
    if let dimensions, dimensions > embedder.dimension {
      throw CommandError("--dimensions is \(dimensions); expected 1 to \(embedder.dimension)")
    }
    let served = ServedEmbedder(
      name: ModelSource.servedName(of: model.source.model), embedder: embedder, created: 0)
    let answerer = BatchTexts(
      embedder: embedder, requests: try BatchRequests(served), prefix: prefix(for: embedder), dimensions: dimensions)
    let run = BatchRun(
      answerers: [answerer], input: path, output: output ?? "-", inOrder: !batch.unordered, concurrency: batch.width,
      activity: "embedding", isQuiet: quiet)
    if try await !run.run() { throw ExitCode.failure }
  }

  private func prefix(for embedder: Embedder) -> String? { queryPrefix.map { embedder.prompts[$0] ?? $0 } }

  /// For errors.
  private var inputName: String {
    if let path = batch.jsonl, path != "-" { return path }
    return ByteInput.standard.name
  }

  private func inputs() throws -> [String] {
    if !texts.isEmpty { return texts }
    guard let path = batch.jsonl else { return try Self.lines() }
    let source = try BatchSource(path)
    var texts: [String] = []
    while let line = try source.read() {
      struct Input: Decodable { let text: String }
      let place = "line \(line.number) of \(inputName)"
      texts.append(try decodeJSON(Input.self, line.bytes.get(), place: place, expected: #"{"text": "…"}"#).text)
    }
    return texts
  }

  private static func lines() throws -> [String] {
    var reader = LineReader()
    var texts: [String] = []
    while let line = try reader.nextText() { texts.append(line) }
    return texts
  }

  private static func write(_ bytes: [UInt8], to path: String) throws {
    try removingPartialOutput(of: path) {
      let file = try OutputFile(path: path, overwrite: true)
      try file.append(bytes)
      try file.commit()
    }
  }

  /// The cosines of all pairs, as a table with the texts' numbers.
  private static func similarities(_ vectors: [[Float]]) -> String {
    let columns = TableColumns([.right(4)] + vectors.map { _ in .right(6) })
    var text = columns.row([""] + (1...vectors.count).map(String.init))
    for (index, vector) in vectors.enumerated() {
      text += columns.row(["\(index + 1)"] + vectors.map { cosine(vector, $0).decimals(3) })
    }
    return text
  }

  private static func cosine(_ a: [Float], _ b: [Float]) -> Double {
    func product(_ a: [Float], _ b: [Float]) -> Double { zip(a, b).reduce(0) { $0 + Double($1.0) * Double($1.1) } }
    let length = (product(a, a) * product(b, b)).squareRoot()
    return length > 0 ? product(a, b) / length : 0
  }
}

/// A NumPy file of 32-bit floats, `[rows][columns]`.
func npy(_ rows: [[Float]]) -> [UInt8] {
  var header = "{'descr': '<f4', 'fortran_order': False, 'shape': (\(rows.count), \(rows.first?.count ?? 0)), }"
  // Data starts at a multiple of 64.
  header += String(repeating: " ", count: (64 - (10 + header.utf8.count + 1) % 64) % 64) + "\n"
  var bytes: [UInt8] = [0x93] + Array("NUMPY".utf8) + [1, 0]
  bytes += withUnsafeBytes(of: UInt16(header.utf8.count).littleEndian, Array.init) + Array(header.utf8)
  bytes.reserveCapacity(bytes.count + rows.reduce(0) { $0 + 4 * $1.count })
  for row in rows {
    for value in row { withUnsafeBytes(of: value.bitPattern.littleEndian) { bytes += $0 } }
  }
  return bytes
}
