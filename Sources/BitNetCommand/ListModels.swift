import ArgumentParser
import BitNet
import BitNetInference
import BitNetModelFiles

struct ListModels: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "list",
    abstract: "List the models in the Hugging Face cache.",
    discussion: """
      Shows what `bitnet pull` or the Python client downloaded. Needs no network.

      Examples:
        bitnet list
        bitnet list --json
      """)

  private struct Line: Encodable {
    let name: String
    let bytes: Int
    let revisions: [String]
    let commit: String
    let files: Int
    let complete: Bool
    let path: String
  }

  @Flag(help: "Print a JSON array with an object for each snapshot.")
  var json = false

  func run() throws {
    let cache = HubCache.current
    let lines = cache.models().flatMap { model in
      model.snapshots.map { snapshot in
        Line(
          name: "\(model.name)", bytes: snapshot.byteCount, revisions: snapshot.revisions, commit: snapshot.commit,
          files: snapshot.fileCount, complete: snapshot.isComplete,
          path: cache.snapshot(snapshot.commit, of: model.name))
      }
    }
    if json { return try ByteOutput.standard.write(jsonText(lines)) }
    guard !lines.isEmpty else {
      return ByteOutput.note("There are no models in \(cache.folder); bitnet pull org/name downloads one.")
    }
    let columns = TableColumns([.left(lines.map(\.name.count).max()!), .right(9), .left(20), .left(30)])
    for line in lines {
      let revision = line.revisions.isEmpty ? String(line.commit.prefix(12)) : line.revisions.joined(separator: ", ")
      let state = line.complete ? plural(line.files, "file") : "\(plural(line.files, "file")), no model"
      try ByteOutput.standard.write(columns.row([line.name, size(line.bytes), revision, state]))
    }
  }
}
