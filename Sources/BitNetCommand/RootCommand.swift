import ArgumentParser
import BitNet
import Foundation

@main
struct RootCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "bitnet",
    abstract: "Run BitNet b1.58 language models: ternary weights, 8-bit activations.",
    discussion: """
      Without --model, commands use a small built-in demo model, which writes fairy tales.

      Examples:
        bitnet generate --prompt "Once upon a time" --seed 7
        bitnet pull microsoft/bitnet-b1.58-2B-4T
        bitnet chat --model microsoft/bitnet-b1.58-2B-4T
        bitnet convert microsoft/bitnet-b1.58-2B-4T model.safetensors
        bitnet chat --model model.safetensors
        bitnet perplexity --model model.safetensors book.txt
        bitnet bench kernels

      `bitnet help COMMAND` explains a command.
      """,
    version: packageVersion,
    subcommands: [
      Generate.self, Chat.self, Serve.self, Pull.self, ListModels.self, RemoveModel.self, Convert.self, Inspect.self,
      Tokenize.self, Template.self, Logits.self, MeasurePerplexity.self,
      Audit.self,
      Devices.self,
      Bench.self, Verify.self,
    ])

  static func main() async {
    var arguments = Array(CommandLine.arguments.dropFirst())
    do {
      if arguments.first == Serve._commandName {
        let added = try EnvironmentArguments.added(
          to: arguments, for: Serve.self, variables: ProcessInfo.processInfo.environment)
        arguments.insert(contentsOf: added, at: 1)
      }
    } catch {
      exit(withError: error)
    }
    await main(arguments)
  }
}
