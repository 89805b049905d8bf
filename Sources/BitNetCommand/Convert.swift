import ArgumentParser
import BitNet
import BitNetCPUEngine
import BitNetCUDADriver
import BitNetCUDAEngine
import BitNetInference
import BitNetModelFiles
import BitNetTokenization

struct Convert: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Write a Hugging Face model as one file that loads at once.",
    discussion: """
      The file is a .safetensors file with the weights as engines use them, the configuration, the tokenizer and the chat template. \
      It appears under its name when it is complete.

      Examples:
        bitnet convert bitnet-b1.58-2B-4T model.safetensors
        bitnet convert checkpoint model.safetensors --overwrite
      """)

  @Argument(help: "A Hugging Face folder: config.json, .safetensors files, and a tokenizer.")
  var source: String

  @Argument(help: "The file to write.")
  var output: String

  @Flag(help: "Replace the file if it is there.")
  var overwrite = false

  @Flag(help: "Leave the tokenizer out, for instance when it is of a kind that cannot be read.")
  var noTokenizer = false

  func run() throws {
    let bar = ProgressBar("converting")
    defer { bar.finish() }
    let clock = ContinuousClock()
    let start = clock.now
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
      "\(output): \(summary.byteCount) bytes, \(bits.decimals(2)) bits a ternary weight, in \(duration(seconds))\n")
    if !summary.hasTokenizer {
      ByteOutput.note("Note: the file has no tokenizer; generating text will need one.")
    }
  }
}
