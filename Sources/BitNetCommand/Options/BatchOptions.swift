import ArgumentParser

/// Options of a batch of prompts in a file.
struct BatchOptions: ParsableArguments {
  @Option(help: ArgumentHelp("Answer each line of this file of JSON lines; - is standard input.", valueName: "path"))
  var jsonl: String?

  @Option(
    help: ArgumentHelp(
      "With --jsonl, the file of the answers, which is continued if it is there. (default: standard output)",
      valueName: "path"))
  var output: String?

  @Flag(help: "With --jsonl, write answers as they come, not in the order of the lines.")
  var unordered = false

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp("With --jsonl, how many lines to answer at a time. (default: 64)", valueName: "count"))
  var concurrency: Int?

  @Flag(
    name: .customLong("receipts"),
    help: "With --jsonl, put a receipt into each answer; `bitnet audit` reads the file of the answers.")
  var wantsReceipts = false

  func validate() throws {
    if let concurrency, !(1...4096 ~= concurrency) {
      throw ValidationError("--concurrency is \(concurrency); expected 1 to 4096.")
    }
    guard jsonl == nil else { return }
    let options = [
      ("--output", output != nil), ("--unordered", unordered), ("--concurrency", concurrency != nil),
      ("--receipts", wantsReceipts),
    ]
    if let option = options.first(where: \.1)?.0 {
      throw ValidationError("\(option) is given without --jsonl; expected both.")
    }
  }
}
