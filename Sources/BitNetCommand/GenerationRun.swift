import BitNet
import BitNetInference
import Foundation
import Synchronization

/// The course of a generation.
struct GenerationRun: Sendable {
  var text = ""
  var tokens: [SampledToken] = []
  /// Nil when the generation was stopped before the first token.
  var statistics: GenerationStatistics?
  /// Nil when Ctrl-C stopped the generation.
  var finish: FinishReason?
  private var record: GenerationRecord?

  /// Nil when the generation was stopped before the first token.
  var receipt: Receipt? { record.map { Receipt($0, tokens: tokens, finish: finish) } }

  /// Generates to the end, or until Ctrl-C. If a step still runs a second later, another Ctrl-C ends the process.
  ///
  /// - Parameters:
  ///   - prompt: text to write before the first piece; not written if the generation fails before that.
  ///   - write: called with each piece of text as soon as it is generated.
  static func stream(
    _ generation: Generation, after prompt: String = "", write: @escaping @Sendable (String) throws -> Void
  ) async throws -> GenerationRun {
    let stop = Mutex<(pressed: ContinuousClock.Instant?, task: Task<GenerationRun, any Error>?)>((nil, nil))
    // Before the task, whose first text can make somebody press Ctrl-C.
    let interrupts = SignalHandler([SIGINT]) { number in
      stop.withLock { stop in
        stop.task?.cancel()
        // A key that is held down repeats, which does not count as another press.
        if let first = stop.pressed, ContinuousClock.now - first > .seconds(1) { endProcess(by: number) }
        stop.pressed = stop.pressed ?? .now
      }
    }
    defer { interrupts.cancel() }
    let task = Task {
      var run = GenerationRun()
      var prompt = prompt
      do {
        for try await piece in generation {
          run.text += piece.text
          run.tokens.append(piece.token)
          run.statistics = piece.statistics
          run.finish = piece.finish
          run.record = piece.record
          try write(prompt + piece.text)
          prompt = ""
        }
      } catch is CancellationError {
        // The text generated so far is the result.
      }
      return run
    }
    stop.withLock { stop in
      stop.task = task
      if stop.pressed != nil { task.cancel() }
    }
    return try await task.value
  }
}

extension GenerationStatistics {
  /// Rows of a table: the tokens of prompt and answer, and their rates.
  var rows: [(label: String, value: String)] {
    let cached = cachedTokens > 0 ? ", \(cachedTokens) of them cached" : ""
    var generated = plural(generatedTokens, "token")
    if generatedTokens > 1 { generated += ", \(decodeRate.decimals(1)) per second" }
    var rows = [
      ("prompt", "\(plural(promptTokens, "token"))\(cached), \(promptRate.decimals(1)) per second"),
      ("generated", "\(generated), the first after \(duration(timeToFirstToken / .seconds(1)))"),
    ]
    if draftedTokens > 0 {
      rows.append(("speculation", "\(acceptedTokens) of \(plural(draftedTokens, "guessed token")) came true"))
    }
    return rows
  }
}
