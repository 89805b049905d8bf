import ArgumentParser
import BitNet
import BitNetInference
import BitNetModelFiles
import BitNetTokenization

struct Convert: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Convert a Hugging Face model to a single file that loads instantly.",
    discussion: """
      The output is a .safetensors file that holds the weights in the layout of the engines, the configuration, the \
      tokenizer and the chat template. It appears under its name only when it is complete.

      Examples:
        bitnet convert bitnet-b1.58-2B-4T model.safetensors
        bitnet convert checkpoint model.safetensors --overwrite
      """)

  @Argument(
    help: """
      A Hugging Face folder (config.json, .safetensors files, and a tokenizer), or a model that `bitnet pull` \
      downloaded: org/name.
      """)
  var source: String

  @Argument(help: "The file to write.")
  var output: String

  @Flag(help: "Replace the file if it exists.")
  var overwrite = false

  @Flag(help: "Leave out the tokenizer, for example if its kind is not supported.")
  var noTokenizer = false

  func run() throws {
    let bar = ProgressBar("converting")
    defer { bar.finish() }
    let clock = ContinuousClock()
    let start = clock.now
    let source = try HubCache.current.resolve(source)
    let summary = try removingPartialOutput(of: output) {
      try ModelConverter.convert(
        from: source, to: output, overwrite: overwrite,
        tokenizer: { source in try noTokenizer ? nil : source.map { try Tokenizer($0).serialized() } },
        progress: { bar.update(Double($0.writtenBytes) / Double($0.totalBytes)) })
    }
    bar.finish()
    let bits = Double(summary.tileByteCount) * 8 / Double(summary.configuration.ternaryWeightCount)
    let seconds = start.duration(to: clock.now) / .seconds(1)
    try ByteOutput.standard.write(
      "\(output): \(summary.byteCount) bytes, \(bits.decimals(2)) bits per ternary weight, in \(duration(seconds))\n")
    if !summary.hasTokenizer {
      ByteOutput.note("Note: the file has no tokenizer, so it cannot generate text.")
    }
  }
}
