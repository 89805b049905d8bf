import ArgumentParser
import BitNet
import BitNetInference
import BitNetModelFiles
import BitNetTokenization

struct Convert: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Convert a model to a single file that loads instantly, or to GGUF.",
    discussion: """
      The output is a .safetensors file that holds the weights in the layout of the engines, the configuration, the \
      tokenizer and the chat template. If its name ends in .gguf it is a GGUF file for other programs, with the \
      ternary weights in the type that --type names. It appears under its name only when it is complete.

      Examples:
        bitnet convert bitnet-b1.58-2B-4T model.safetensors
        bitnet convert ggml-model-i2_s.gguf model.safetensors --overwrite
        bitnet convert bitnet-b1.58-2B-4T model.gguf --type I2_S
      """)

  @Argument(
    help: """
      A Hugging Face folder (config.json, .safetensors files, and a tokenizer), a GGUF file, or a model that \
      `bitnet pull` downloaded: org/name; for a GGUF output also a converted file.
      """)
  var source: String

  @Argument(help: "The file to write.")
  var output: String

  @Flag(help: "Replace the file if it exists.")
  var overwrite = false

  @Flag(help: "Leave out the tokenizer, for example if its kind is not supported.")
  var noTokenizer = false

  @Option(
    help: ArgumentHelp(
      "The type of ternary weights in a GGUF output: TQ2_0 for llama.cpp, which runs Llama-shaped models; I2_S for "
        + "bitnet.cpp, which also runs BitNet b1.58 2B-4T. (default: I2_S for models of 2B-4T's architecture, TQ2_0 "
        + "for others)"))
  var type: GGUFTernaryType?

  @OptionGroup var layout: I2SLayout

  func validate() throws {
    if type != nil, !ModelConverter.isGGUF(output) {
      throw ValidationError("--type is for GGUF files; expected an output whose name ends in .gguf.")
    }
  }

  func run() throws {
    let bar = ProgressBar("converting")
    defer { bar.finish() }
    let clock = ContinuousClock()
    let start = clock.now
    let source = try HubCache.current.resolve(self.source)
    var tokenizer: Tokenizer?
    let summary = try removingPartialOutput(of: output) {
      try ModelConverter.convert(
        from: source, to: output, overwrite: overwrite, type: type, omitsTokenizer: noTokenizer,
        tokenizer: { source in
          tokenizer = try source.map { try Tokenizer($0) }
          return tokenizer?.serialized()
        },
        shared: { _, model in try tokenizer.map { try GGUFTokenizer($0, of: model) } }, options: layout.options,
        progress: { bar.update(Double($0.writtenBytes) / Double($0.totalBytes)) })
    }
    bar.finish()
    let bits = Double(summary.tileByteCount) * 8 / Double(summary.configuration.ternaryWeightCount)
    let seconds = start.duration(to: clock.now) / .seconds(1)
    try ByteOutput.standard.write(
      "\(output): \(summary.byteCount) bytes, \(bits.decimals(2)) bits per ternary weight, in \(duration(seconds))\n")
    if let warning = summary.warning { ByteOutput.note("Warning: \(warning)") }
    if !summary.hasTokenizer {
      ByteOutput.note("Note: the file has no tokenizer, so it cannot generate text.")
    } else if !summary.sharesTokenizer {
      let reason = summary.tokenizerNotes.first.map { ": \($0)" } ?? ""
      ByteOutput.note("Note: only bitnet can read the tokenizer in this file\(reason).")
    } else if !summary.tokenizerNotes.isEmpty {
      ByteOutput.note(
        "Note: other programs encode some texts otherwise: \(summary.tokenizerNotes.prefix(5).joined(separator: "; "))."
      )
    }
  }
}

extension GGUFTernaryType: ExpressibleByArgument {}
