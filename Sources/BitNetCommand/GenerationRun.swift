import BitNet
import BitNetCPUEngine
import BitNetCUDADriver
import BitNetCUDAEngine
import BitNetInference
import BitNetModelFiles
import BitNetTokenization
import Foundation
import Synchronization

/// A generation as it went.
struct GenerationRun: Sendable {
  var text = ""
  var tokens: [SampledToken] = []
  /// Nil when it was stopped before the first token.
  var statistics: GenerationStatistics?
  /// Nil when Ctrl-C stopped it.
  var finish: FinishReason?

  /// Generates to the end, or until Ctrl-C. Another Ctrl-C a second later, while a step still runs, ends the process.
  ///
  /// - Parameters:
  ///   - prompt: what is written before the first piece: not at all if generating fails before.
  ///   - write: takes each piece of text as it is made.
  static func stream(
    _ generation: Generation, after prompt: String = "", write: @escaping @Sendable (String) throws -> Void
  ) async throws -> GenerationRun {
    let task = Task {
      var run = GenerationRun()
      var prompt = prompt
      do {
        for try await piece in generation {
          run.text += piece.text
          run.tokens.append(piece.token)
          run.statistics = piece.statistics
          run.finish = piece.finish
          try write(prompt + piece.text)
          prompt = ""
        }
      } catch is CancellationError {
        // What was made until then is the result.
      }
      return run
    }
    let pressed = Mutex<ContinuousClock.Instant?>(nil)
    let interrupts = SignalHandler([SIGINT]) { number in
      task.cancel()
      pressed.withLock { first in
        // A key that is held down repeats: that is not a second time.
        if let first, ContinuousClock.now - first > .seconds(1) { endProcess(by: number) }
        first = first ?? .now
      }
    }
    defer { interrupts.cancel() }
    return try await task.value
  }
}

extension GenerationStatistics {
  /// Rows of a table: what was read and what was written, and how fast.
  var rows: [(label: String, value: String)] {
    let cached = cachedTokens > 0 ? ", \(cachedTokens) of them kept from before" : ""
    var generated = plural(generatedTokens, "token")
    if generatedTokens > 1 { generated += ", \(decodeRate.decimals(1)) a second" }
    return [
      ("prompt", "\(plural(promptTokens, "token"))\(cached), \(promptRate.decimals(1)) a second"),
      ("generated", "\(generated), the first after \(duration(timeToFirstToken / .seconds(1)))"),
    ]
  }
}
