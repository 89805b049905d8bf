import BitNetInference
import BitNetServing

extension LanguageModel {
  /// Runs work on a new sequence beside the requests of others. Where generations leave its pages no room, the work
  /// starts again later.
  func withSequence<Result: Sendable>(_ body: (SequenceID) async throws -> Result) async throws -> Result {
    while true {
      await scheduler.beginLoan()
      let sequence = await scheduler.perform { $0.makeSequence() }
      let result: Swift.Result<Result, any Error>
      do {
        result = .success(try await body(sequence))
      } catch {
        result = .failure(error)
      }
      await scheduler.perform { $0.removeSequence(sequence) }
      let isWorthwhile = await scheduler.freePages()
      await scheduler.endLoan()
      if case .failure(let error as EngineError) = result, error.isCacheFull, isWorthwhile {
        try await Task.sleep(for: .milliseconds(Int.random(in: 20...80)))
        continue
      }
      return try result.get()
    }
  }
}
