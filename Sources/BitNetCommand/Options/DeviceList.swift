import ArgumentParser

/// One device, or several that share the work.
struct DeviceList: ExpressibleByArgument, CustomStringConvertible {
  let choices: [DeviceChoice]

  init(_ choice: DeviceChoice) { choices = [choice] }

  /// Devices with commas between them; nil for anything else.
  init?(argument text: String) {
    let parts = text.split(separator: ",", omittingEmptySubsequences: false)
    choices = parts.compactMap { DeviceChoice(argument: String($0)) }
    guard choices.count == parts.count else { return nil }
  }

  var description: String { choices.map(\.description).joined(separator: ",") }

  /// The device of a command that uses one.
  func only() throws -> DeviceChoice {
    guard choices.count == 1 else {
      throw CommandError(
        "--device is \(self); expected one; serve and generate --jsonl take several, for models that generate texts")
    }
    return choices[0]
  }
}
