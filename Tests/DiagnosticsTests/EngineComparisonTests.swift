import BitNetCPUEngine
import BitNetDeviceCheck
import BitNetDiagnostics
import BitNetInference
import BitNetRandomModels
import TestSupport
import Testing

@Suite("Comparing engines")
struct EngineComparisonTests {
  private static func cpu(_ name: String) -> EngineComparison.Candidate {
    .init(name: name) { try CPUEngine(weights: $0, threads: 1) }
  }

  private struct Broken: Error, CustomStringConvertible {
    let description = "the engine is broken"
  }

  @Test("Differences are counted, and the first difference or failure is reported")
  func differences() throws {
    var generator = SeededGenerator(seed: 1)
    let configuration = ModelConfiguration.random(using: &generator)
    let weights = try ModelWeights(random: configuration, seed: 1)
    let wrong = EngineComparison(
      expected: Self.cpu("the right one"),
      candidates: [
        Self.cpu("itself"), .init(name: "broken") { _ in throw Broken() },
        // This engine has different weights of the same shape.
        .init(name: "another") { try CPUEngine(weights: ModelWeights(random: $0.configuration, seed: 99)) },
      ], seed: 3)
    var checks: [EqualityCheck] = []
    wrong.randomModels(1, isShort: true) { checks.append($0) }
    #expect(checks.map(\.candidate) == ["itself", "broken", "another"].flatMap { [$0, $0, $0] })
    #expect(checks.map(\.isEqual) == [true, true, true] + [false, false, false, false, false, false])
    #expect(checks.allSatisfy { $0.differing <= $0.compared && $0.reference == "the right one" })
    for check in checks[3..<6] {
      #expect(check.error?.hasPrefix("hidden ") == true && check.error?.hasSuffix(": the engine is broken") == true)
      #expect(check.first == nil && check.compared == 0)
    }
    #expect(checks[6...].allSatisfy { $0.error == nil && $0.first?.hasPrefix("hidden ") == true })
    // The message has the model, the chunks, the token, the logit, and both numbers with their bits.
    let number = #"-?[0-9.e-]+ \(0x[0-9a-f]{8}\)"#
    let sentence = try Regex(
      #"hidden .*, a prompt in chunks of \[[0-9, ]+\]: the prompt of \d+ tokens, logit \d+ after token \d+ is "#
        + number + "; expected "
        + number)
    #expect(try sentence.wholeMatch(in: checks[6].first ?? "") != nil, "\(checks[6].first ?? "-")")
    #expect(checks[7].first?.contains(": batch 0 of ") == true && checks[7].first?.contains(" (sequence ") == true)
    #expect(
      checks[8].first?.contains(" sequences together, sequence 0 (prompt of ") == true, "\(checks[8].first ?? "-")")

    checks = []
    wrong.model(weights, tokens: 5) { checks.append($0) }
    #expect(checks.count == 15 && checks.prefix(5).allSatisfy { $0.isEqual && $0.compared > 0 })
    let vocabulary = configuration.vocabularySize
    #expect(checks[0].compared == 5 * vocabulary && checks[3].compared == 4 * (5 + vocabulary))
    #expect(checks[5..<10].allSatisfy { $0.error == "the engine is broken" })
    #expect(!checks[10].isEqual && checks[10].differing > 0)

    let reversed = EngineComparison(
      expected: .init(name: "the reference") { _ in throw Broken() }, candidates: [Self.cpu("itself")], seed: 3)
    checks = []
    reversed.model(weights, tokens: 2, parts: [.greedy, .together]) { checks.append($0) }
    #expect(checks.map(\.error) == ["the reference: the engine is broken", "the reference: the engine is broken"])
  }

  @Test("Soaking finds an engine whose tokens change between repetitions, and one that is wrong from the start")
  func soak() throws {
    var generator = SeededGenerator(seed: 1)
    var configuration = ModelConfiguration.random(using: &generator)
    // Models with a tied head mostly repeat their input.
    (configuration.vocabularySize, configuration.tiedEmbedding) = (300, false)
    let weights = try ModelWeights(random: configuration, seed: 1)
    let comparison = EngineComparison(
      expected: Self.cpu("the right one"),
      candidates: [
        Self.cpu("itself"),
        .init(name: "wrong") { try CPUEngine(weights: ModelWeights(random: $0.configuration, seed: 99)) },
        .init(name: "fickle") { try FickleEngine(CPUEngine(weights: $0)) },
      ], seed: 3)
    var checks: [EqualityCheck] = []
    comparison.soak(weights, tokens: 10, repetitions: 4) { checks.append($0) }
    #expect(checks.map(\.isEqual) == [true, true, false, false, false, false])
    let each = 4 * (10 + 300)
    #expect(checks[0].compared == each && checks[1].compared % each == 0 && checks[1].compared > each)
    #expect(checks[2].first?.hasPrefix("repetition 0, compared with the right one: sequence 0 of 1, token ") == true)
    // Expect the last token of the third repetition, and the logits after it.
    #expect(
      checks[4].first?.hasPrefix("repetition 2, compared with repetition 0: sequence 0 of 1, token 9 is ") == true)
    #expect(checks[4].differing > 1 && checks[4].differing <= 1 + 300)
  }

  /// An engine whose tenth token in every third generation is wrong: 299, or 0 where 299 is right.
  private final class FickleEngine: Engine {
    private let engine: CPUEngine
    private var generations = 0
    private var steps = 0
    var configuration: ModelConfiguration { engine.configuration }
    var contextLength: Int { engine.contextLength }
    var summary: String { engine.summary }
    var capacity: Capacity { engine.capacity }
    var memory: MemoryUse { engine.memory }

    init(_ engine: CPUEngine) { self.engine = engine }

    func makeSequence(startingWith tokens: [Int32]) -> (id: SequenceID, cached: Int) {
      engine.makeSequence(startingWith: tokens)
    }
    func removeSequence(_ id: SequenceID, keeping count: Int) { engine.removeSequence(id, keeping: count) }
    func tokens(of id: SequenceID) throws(EngineError) -> [Int32] { try engine.tokens(of: id) }
    func truncate(_ id: SequenceID, to length: Int) throws(EngineError) { try engine.truncate(id, to: length) }
    func submit(_ batch: Batch) throws(EngineError) -> StepTicket {
      if batch.entries[0].input == .sampled { steps += 1 } else { (generations, steps) = (generations + 1, 1) }
      return try engine.submit(batch)
    }

    func wait(for ticket: StepTicket) throws(EngineError) -> [StepResult] {
      var results = try engine.wait(for: ticket)
      // A step for logits follows the tokens of a generation, and counts as a generation too.
      guard steps == 10, generations % 6 == 5, let token = results[0].tokens.first?.token else { return results }
      results[0].tokens = [SampledToken(token: token == 299 ? 0 : 299)]
      return results
    }
  }
}
