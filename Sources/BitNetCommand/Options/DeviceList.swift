import ArgumentParser

/// One device, or several that share the work.
struct DeviceList: ExpressibleByArgument, CustomStringConvertible {
  let choices: [DeviceChoice]
  /// As it was written.
  let description: String

  init(_ choice: DeviceChoice) { (choices, description) = ([choice], choice.description) }

  /// Devices with commas between them; nil for anything else.
  init?(argument text: String) {
    let parts = text.split(separator: ",", omittingEmptySubsequences: false)
    choices = parts.compactMap { DeviceChoice(argument: String($0)) }
    description = text
    guard choices.count == parts.count else { return nil }
  }

  /// The device of a command that uses one.
  func only() throws -> DeviceChoice {
    guard choices.count == 1 else {
      throw CommandError(
        "--device is \(self); expected one; serve and generate --jsonl take several, for models that generate texts")
    }
    return choices[0]
  }
}
