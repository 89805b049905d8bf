import BitNetInference
import BitNetJSON

/// Answers the lines of a file, many at a time.
struct BatchRun: Sendable {
  /// One or more, which share the lines.
  let answerers: [any BatchAnswerer]
  let input: String
  let output: String
  let inOrder: Bool
  /// How many lines are answered together.
  let concurrency: Int
  /// What the progress bar says.
  let activity: String
  let isQuiet: Bool

  /// - Returns: whether every line has an answer that is no error, those of an earlier run included.
  func run() async throws -> Bool {
    let file = try BatchOutput(output, input: input, content: type(of: answerers[0]).content)
    let source = try BatchSource(input, after: file)
    // If some lines have an answer, all are read before another is answered: the answers may be those of another input.
    let total = isQuiet && file.answered.isEmpty ? nil : try BatchSource.count(input, after: file)
    if !isQuiet, !file.answered.isEmpty || file.isTorn {
      let found = plural(file.answered.count, "answer")
      let failed = file.failures > 0 ? ", \(file.failures) of them with an error" : ""
      let torn = file.isTorn ? "; its torn last line is computed again" : ""
      ByteOutput.note("\(file.name) has \(found) already\(failed)\(torn); going on with the other lines")
    }
    let sink = BatchSink(file, inOrder: inOrder, window: 16 * concurrency)
    let meter = BatchMeter(activity, total: total)
    let clock = ContinuousClock()
    let start = clock.now
    defer { meter.finish() }
    try await withThrowingTaskGroup(of: Void.self) { group in
      for task in 0..<concurrency {
        let answerer = answerers[task % answerers.count]
        group.addTask {
          while let line = try await source.next() {
            await sink.begin(line.index)
            let answer =
              switch line.bytes {
              case .success(let bytes): await answerer.answer(bytes, place: line.number, isWhole: output != "-")
              case .failure(let error): BatchAnswer(error, line: line.number, id: nil)
              }
            try await sink.write(
              answer.json.serialized() + [UInt8(ascii: "\n")], index: line.index, tokens: answer.tokens,
              isFailure: answer.isFailure)
            if !isQuiet { meter.update(await sink.progress) }
          }
        }
      }
      try await group.waitForAll()
    }
    try file.begin()
    meter.finish()
    let progress = await sink.progress
    if !isQuiet {
      let seconds = start.duration(to: clock.now) / .seconds(1)
      let rate = seconds > 0 ? (Double(progress.tokens) / seconds).decimals(1) : "0"
      let failed = progress.failures > 0 ? ", \(plural(progress.failures, "line")) failed" : ""
      ByteOutput.note(
        "\(plural(progress.lines - progress.failures, "answer"))\(failed), \(plural(progress.tokens, "token")), "
          + "\(rate) per second in \(duration(seconds))")
    }
    return progress.failures + file.failures == 0
  }
}

/// The progress bar of a batch.
private final class BatchMeter: Sendable {
  private let bar: ProgressBar
  private let total: Int?
  private let start = ContinuousClock.now

  init(_ activity: String, total: Int?) {
    bar = ProgressBar(activity)
    self.total = total
  }

  func update(_ progress: BatchSink.Progress) {
    guard let total, total > 0 else { return }
    bar.update(min(1, Double(progress.lines) / Double(total))) {
      let seconds = (ContinuousClock.now - start) / .seconds(1)
      guard seconds > 0.5 else { return "" }
      let left = seconds / Double(progress.lines) * Double(max(0, total - progress.lines))
      return "\(progress.lines.grouped) of \(total.grouped), "
        + "\((Double(progress.tokens) / seconds).decimals(0)) tokens/s, \(TransferRate.clock(left)) left"
    }
  }

  func finish() { bar.finish() }
}
