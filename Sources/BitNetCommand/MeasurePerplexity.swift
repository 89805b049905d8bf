import ArgumentParser
import BitNet

struct MeasurePerplexity: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "perplexity",
    abstract: "Measure how well a model predicts a text.",
    discussion: """
      The text is cut into consecutive windows. Each starts with an empty context, and with the beginning-of-sequence \
      token if the model has one.

      Examples:
        bitnet perplexity book.txt
        bitnet perplexity --model model.safetensors --window 2048 --json < book.txt
      """)

  @Argument(help: "A text file in UTF-8. (default: standard input)")
  var file: String?

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp("The number of positions in a window. (default: the context length)", valueName: "count"))
  var window: Int?

  @Flag(help: "Print a JSON object.")
  var json = false

  @OptionGroup(title: "Model") var model: ModelOptions

  func validate() throws {
    if file == nil, ByteInput.standardIsTerminal {
      throw ValidationError("There is no text; expected a file, or text on standard input.")
    }
  }

  private struct Report: Encodable {
    let tokens: Int
    let bytes: Int
    let natsPerToken: Double
    let perplexity: Double
    let bitsPerByte: Double
    let window: Int
    let seconds: Double
  }

  func run() async throws {
    let text = try ByteInput.text(of: file ?? "-")
    let (model, _) = try await model.load()
    let bar = ProgressBar("reading")
    defer { bar.finish() }
    let clock = ContinuousClock()
    let start = clock.now
    let result = try await model.perplexity(of: text, window: window) { bar.update($0) }
    let seconds = start.duration(to: clock.now) / .seconds(1)
    bar.finish()
    if json {
      let report = Report(
        tokens: result.tokens, bytes: result.bytes, natsPerToken: result.natsPerToken, perplexity: result.perplexity,
        bitsPerByte: result.bitsPerByte, window: window ?? model.contextLength, seconds: seconds)
      return try ByteOutput.standard.write(jsonText(report))
    }
    try ByteOutput.standard.write(
      table([
        ("tokens", "\(result.tokens), \((Double(result.tokens) / seconds).decimals(1)) per second"),
        ("nats per token", result.natsPerToken.decimals(4)),
        ("perplexity", result.perplexity.decimals(3)),
        ("bits per byte", result.bitsPerByte.decimals(4)),
      ]))
  }
}
