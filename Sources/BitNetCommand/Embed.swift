import ArgumentParser
import BitNet
import BitNetModelFiles

struct Embed: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Turn texts into vectors that tell how close they are in meaning.",
    discussion: """
      Takes texts as arguments, one text from each line of standard input, or with --jsonl JSON lines. Prints a JSON \
      line for each: {"index": …, "tokens": …, "embedding": […]}. A file whose name ends in .npy gets a NumPy array \
      of 32-bit floats instead, one row for each text.

      Examples:
        bitnet embed --model bitnet-embedding-0.6b "The cat sat on the mat."
        bitnet embed --model bitnet-embedding-0.6b --similarity "a cat" "a kitten" "a share"
        bitnet embed --model bitnet-embedding-0.6b --output vectors.npy < lines.txt
        echo '{"text": "a cat"}' | bitnet embed --model bitnet-embedding-0.6b --jsonl --dimensions 256
      """)

  @Argument(help: "The texts. (default: the lines of standard input)")
  var texts: [String] = []

  @Flag(help: #"Read lines {"text": …} from standard input; other fields are ignored."#)
  var jsonl = false

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
      "Write to this file: a NumPy array if the name ends in .npy, otherwise JSON lines.", valueName: "path"))
  var output: String?

  @Flag(help: "Print a table of the cosines of all pairs of texts instead.")
  var similarity = false

  @OptionGroup(title: "Model") var model: ModelOptions

  /// The most texts whose similarities are a table.
  private static let largestTable = 100

  func validate() throws {
    if jsonl, !texts.isEmpty { throw ValidationError("--jsonl reads standard input; it takes no text.") }
    if similarity, output != nil { throw ValidationError("--similarity prints a table; it takes no --output.") }
    if texts.isEmpty, ByteInput.standardIsTerminal {
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
    let texts = try inputs()
    guard !texts.isEmpty else { throw CommandError("standard input has no lines; expected a text in each") }
    if similarity, texts.count > Self.largestTable {
      throw CommandError("--similarity is for up to \(Self.largestTable) texts; found \(texts.count)")
    }
    let embedder = try await model.loadEmbedder()
    let prefix = queryPrefix.map { embedder.prompts[$0] ?? $0 }
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

  private func inputs() throws -> [String] {
    if !texts.isEmpty { return texts }
    var reader = LineReader()
    var texts: [String] = []
    while let line = try reader.nextText() {
      guard jsonl else {
        texts.append(line)
        continue
      }
      guard line.contains(where: { !$0.isWhitespace }) else { continue }
      struct Input: Decodable { let text: String }
      let place = "line \(reader.lineNumber) of standard input"
      texts.append(try decodeJSON(Input.self, line.utf8, place: place, expected: #"{"text": "…"}"#).text)
    }
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
