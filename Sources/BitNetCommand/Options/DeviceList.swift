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

  /// A list with each of the devices.
  var each: [DeviceList] { description.split(separator: ",").compactMap { DeviceList(argument: String($0)) } }

  /// The device of a command that uses one.
  func only() throws -> DeviceChoice {
    guard choices.count == 1 else {
      throw CommandError(
        "--device is \(self); expected one; only serve and generate --jsonl take several, and not for embedding models")
    }
    return choices[0]
  }
}
