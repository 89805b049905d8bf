/// One device, or several that share the work.
struct DeviceList: CustomStringConvertible {
  let choices: [DeviceChoice]
  /// As it was written.
  let description: String

  private init(_ choices: [DeviceChoice], writtenAs description: String) {
    (self.choices, self.description) = (choices, description)
  }

  init(_ choice: DeviceChoice) { self.init([choice], writtenAs: choice.description) }

  /// Devices with commas between them.
  ///
  /// - Throws: `CommandError` naming the first that is none.
  init(written text: String) throws {
    let choices = try text.split(separator: ",", omittingEmptySubsequences: false).map { part in
      guard let choice = DeviceChoice(argument: String(part)) else {
        throw CommandError("\"\(part)\" is no device; expected auto, cpu, cuda or cuda:N")
      }
      return choice
    }
    self.init(choices, writtenAs: text)
  }

  /// A list with each of the devices.
  var each: [DeviceList] {
    zip(choices, description.split(separator: ",")).map { DeviceList([$0], writtenAs: String($1)) }
  }

  /// Whether all of them are GPUs, named as such.
  var areGPUs: Bool { choices.allSatisfy { if case .cuda = $0 { true } else { false } } }

  /// The device of a command that uses one.
  func only() throws -> DeviceChoice {
    guard choices.count == 1 else {
      throw CommandError(
        "--device is \(self); expected one; only serve and generate --jsonl take several, and not for embedding models")
    }
    return choices[0]
  }
}
