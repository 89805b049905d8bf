import ArgumentParser
import BitNet
import BitNetModelFiles

struct RemoveModel: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "remove",
    abstract: "Remove a model from the Hugging Face cache.",
    discussion: """
      Removes all revisions of the model. Files that the Python client shares between models stay while another model \
      has them.

      Example:
        bitnet remove microsoft/bitnet-b1.58-2B-4T
      """)

  @Argument(help: "The model's name, as bitnet list shows it.")
  var model: String

  func run() throws {
    guard let name = HubModelName(model) else {
      throw ValidationError("The model is \"\(model)\"; expected a name on the hub, org/name.")
    }
    let freed = try HubCache.current.remove(name)
    try ByteOutput.standard.write("\(name): removed, \(size(freed))\n")
  }
}
