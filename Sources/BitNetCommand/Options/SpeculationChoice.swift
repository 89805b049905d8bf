import ArgumentParser
import BitNet
import BitNetServing

/// The option for guesses of the next tokens.
struct SpeculationOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      """
      Whether guesses of the next tokens, from earlier text, run along with the last token: auto (where measurements \
      say that it pays), off, or the most tokens of a guess, 1 to 7. The text is the same.
      """, valueName: "choice"))
  var speculation = SpeculationChoice.auto
}

/// What the user asks of speculation.
enum SpeculationChoice: ExpressibleByArgument, CustomStringConvertible {
  case auto, off
  case always(Int)

  init?(argument text: String) {
    switch text {
    case "auto": self = .auto
    case "off": self = .off
    default:
      guard let count = Int(text), 1...Speculation.longestDraft ~= count else { return nil }
      self = .always(count)
    }
  }

  var description: String {
    switch self {
    case .auto: "auto"
    case .off: "off"
    case .always(let count): "\(count)"
    }
  }

  var speculation: Speculation {
    switch self {
    case .auto: .automatic
    case .off: .off
    case .always(let count): .always(count)
    }
  }
}
