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
      Tokenize.self, Template.self, Embed.self, Logits.self, MeasurePerplexity.self,
      Audit.self,
      Devices.self,
      Bench.self, Verify.self,
    ])

  /// Runs the command of the arguments, and ends with a message when it fails: one line, with control characters as
  /// escapes, because names and texts of files are part of it.
  static func main() async {
    var isParsed = false
    do {
      try requireText()
      var arguments = Array(CommandLine.arguments.dropFirst())
      try requireHelpTopic(arguments)
      if arguments.first == Serve._commandName {
        let added = try EnvironmentArguments.added(
          to: arguments, for: Serve.self, variables: ProcessInfo.processInfo.environment)
        arguments.insert(contentsOf: added, at: 1)
      }
      var command = try await asyncParseAsRoot(arguments)
      isParsed = true
      if var asyncCommand = command as? any AsyncParsableCommand {
        try await asyncCommand.run()
      } else {
        try command.run()
      }
    } catch {
      let status = exitCode(for: error)
      if status.isSuccess || error is ExitCode { exit(withError: error) }
      if isParsed, !(error is ValidationError || error is CleanExit) {
        ByteOutput.note(error)
      } else {
        // The message of wrong usage has lines of its own.
        ByteOutput.note(fullMessage(for: error))
      }
      exit(withError: status)
    }
  }

  /// - Throws: `ValidationError` for an argument that is not UTF-8 text, which Swift reads with other characters.
  private static func requireText() throws {
    for index in 1..<max(1, Int(CommandLine.argc)) {
      guard let bytes = CommandLine.unsafeArgv[index], String(validatingCString: bytes) == nil else { continue }
      throw ValidationError("Argument \(index) is \(String(cString: bytes).visible()); expected UTF-8 text.")
    }
  }

  /// - Throws: `ValidationError` for `help` about a command that does not exist.
  private static func requireHelpTopic(_ arguments: [String]) throws {
    guard arguments.first == "help" else { return }
    var path = configuration.commandName ?? ""
    var commands = configuration.subcommands
    for name in arguments.dropFirst() where !name.hasPrefix("-") {
      guard let command = commands.first(where: { $0._commandName == name }) else {
        if commands.isEmpty { throw ValidationError("\(path) has no command \(name); expected \(path) alone.") }
        let names = commands.map { $0._commandName }.joined(separator: ", ")
        throw ValidationError("There is no command \(path) \(name); expected one of \(names).")
      }
      path += " " + name
      commands = command.configuration.subcommands
    }
  }
}
