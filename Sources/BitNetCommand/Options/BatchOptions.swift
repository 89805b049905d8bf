import ArgumentParser

/// Options of a batch: many prompts or texts in a file.
struct BatchOptions: ParsableArguments {
  @Option(help: ArgumentHelp("Answer each line of this file of JSON lines; - is standard input.", valueName: "path"))
  var jsonl: String?

  @Flag(help: "With --jsonl, write answers as they come, not in the order of the lines.")
  var unordered = false

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp("With --jsonl, how many lines to answer at a time. (default: 64)", valueName: "count"))
  var concurrency: Int?

  /// How many lines to answer at a time.
  var width: Int { concurrency ?? 64 }

  func validate() throws {
    if let concurrency, !(1...4096 ~= concurrency) {
      throw ValidationError("--concurrency is \(concurrency); expected 1 to 4096.")
    }
    guard jsonl == nil else { return }
    let option = unordered ? "--unordered" : concurrency != nil ? "--concurrency" : nil
    if let option { throw ValidationError("\(option) is given without --jsonl; expected both.") }
  }
}
