import ArgumentParser
import BitNetJSON
import Foundation

/// Options that variables give: `BITNET_ARG_MAX_TOKENS=100` stands for `--max-tokens 100`.
enum EnvironmentArguments {
  private static let prefix = "BITNET_ARG_"

  /// The arguments for the options of a command that variables set and its arguments do not.
  ///
  /// - Parameters:
  ///   - command: the command, whose own description says which options it has.
  ///   - arguments: the arguments that the user gave.
  /// - Throws: `CommandError` for a variable of no option, and for a flag that is neither on nor off.
  static func added(
    to arguments: [String], for command: any ParsableCommand.Type, variables: [String: String]
  ) throws -> [String] {
    let options = try Self.options(of: command)
    var added: [String] = []
    for (variable, value) in variables.sorted(by: { $0.key < $1.key }) where variable.hasPrefix(prefix) {
      let name = variable.dropFirst(prefix.count).lowercased().replacing("_", with: "-")
      guard let option = options[name] else {
        throw CommandError("\(variable) is set; expected the name of an option, as in BITNET_ARG_PORT for --port")
      }
      let isGiven = arguments.contains { $0 == "--\(name)" || $0.hasPrefix("--\(name)=") }
      if isGiven || value.isEmpty || option.isPositional { continue }
      if option.isFlag {
        switch value.lowercased() {
        case "1", "true", "yes", "on": added.append("--\(name)")
        case "0", "false", "no", "off": break
        default: throw CommandError("\(variable) is \(quoted(value)); expected true or false")
        }
      } else if option.isRepeating {
        added += value.split(separator: ",").map { "--\(name)=\($0)" }
      } else {
        added.append("--\(name)=\(value)")
      }
    }
    return added
  }

  private struct Option {
    var isFlag = false
    var isRepeating = false
    var isPositional = false
  }

  private static func options(of command: any ParsableCommand.Type) throws -> [String: Option] {
    var options: [String: Option] = [:]
    let description = try JSONDocument(Array(command._dumpHelp().utf8)).root
    for argument in try description["command"]["arguments"].elements() {
      let kind = try argument["kind"].string()
      let option = Option(
        isFlag: kind == "flag", isRepeating: try argument["isRepeating"].bool(), isPositional: kind == "positional")
      if option.isPositional { options[try argument["valueName"].string()] = option }
      guard let names = try argument["names"].ifPresent else { continue }
      for name in try names.elements() where try name["kind"].string() == "long" {
        options[try name["name"].string()] = option
      }
    }
    return options
  }
}
