import ArgumentParser
import BitNet
import BitNetCPUEngine
import BitNetCUDADriver
import BitNetCUDAEngine
import BitNetInference
import BitNetModelFiles
import BitNetTokenization

struct Inspect: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Show the contents of a model's files.",
    discussion: """
      Reads headers and scales; reads the weights only with --verify. Shows the fingerprint that the file states; \
      --verify computes it, which a folder or a GGUF file needs, and compares the two. Shows which of the formats of \
      `bitnet chat` the model's chat template is, if it is one of them, and what ends a message of the model.

      Examples:
        bitnet inspect
        bitnet inspect model.safetensors --verify
        bitnet inspect bitnet-b1.58-2B-4T --json
        bitnet inspect ggml-model-i2_s.gguf
      """)

  @Argument(
    help: """
      A file written by `bitnet convert`, a GGUF file, a Hugging Face folder, or a model that `bitnet pull` \
      downloaded: org/name. (default: the demo model in the program)
      """)
  var path: String?

  @Flag(help: "Print a JSON object, with every tensor.")
  var json = false

  @Flag(help: "Read all weights and check that every ternary code is valid, and every other value finite.")
  var verify = false

  @OptionGroup var layout: I2SLayout

  func run() throws {
    let model = try path.map { (name) throws in try HubCache.current.resolve(name) }
    let inspection =
      try model.map { try ModelInspection(path: $0, verify: verify, options: layout.options) }
      ?? ModelInspection(embedded: ModelSource.demo, verify: verify)
    let fingerprint =
      try model.map {
        try ModelFingerprint.find(
          path: $0, options: layout.options, computes: verify, isSmall: inspection.bytes.total < 64_000_000)
      } ?? ModelFingerprint.compute(embedded: ModelSource.demo)
    // A tokenizer that cannot be read is a fault for commands that need it.
    let tokenizer = model.flatMap { try? ModelLoader.tokenizer(path: $0).map { try Tokenizer($0) } }
    let report = InspectReport(inspection, fingerprint, tokenizer: tokenizer)
    try ByteOutput.standard.write(json ? jsonText(report) : table(report.rows))
  }
}
