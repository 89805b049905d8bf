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
    abstract: "Show what a model's files hold.",
    discussion: """
      Reads headers and scales, not the weights, unless --verify is given.

      Examples:
        bitnet inspect
        bitnet inspect model.safetensors --verify
        bitnet inspect bitnet-b1.58-2B-4T --json
      """)

  @Argument(
    help: "A file written by `bitnet convert`, or a Hugging Face folder. (default: the demo model in the program)")
  var path: String?

  @Flag(help: "Print everything as a JSON object, each tensor included.")
  var json = false

  @Flag(help: "Read all weights and check that every ternary code is one.")
  var verify = false

  func run() throws {
    let inspection =
      try path.map { try ModelInspection(path: $0, verify: verify) }
      ?? ModelInspection(embedded: ModelSource.demo, verify: verify)
    try ByteOutput.standard.write(json ? jsonText(inspection) : table(inspection.table))
  }
}
