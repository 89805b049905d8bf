import BitNet
import BitNetCPUEngine
import BitNetCUDADriver
import BitNetCUDAEngine
import BitNetInference
import BitNetModelFiles
import BitNetTokenization
import BitNetDemoModel
import Foundation
import TestSupport
import Testing

private func demo(threads: Int? = nil, context: Int? = nil) async throws -> LanguageModel {
  try await LanguageModel.load(
    embedded: UnsafeRawBufferPointer(start: demo_model_bytes(), count: demo_model_size()),
    options: .init(device: threads.map { .cpu(.init(threads: $0)) } ?? .automatic(), contextLength: context))
}

@Suite("The library")
struct GenerationTests {
  @Test("continues a story as transformers does")
  func greedyStory() async throws {
    // Texts by transformers with greedy float32, cut before near-ties where results can differ.
    let model = try await demo()
    let options = GenerationOptions(maximumTokens: 4)
    #expect(try await model.generate("Once upon a time", options: options).response().text == " there was a man")
    #expect(
      try await model.generate("The old king said to his youngest son,", options: options).response().text
        == " \"I have a")
    #expect(
      model.tokenizer.encode("In a dark forest there lived", addingBeginToken: true) == [
        4093, 1408, 258, 1271, 1094, 442, 1018,
      ])
  }

  @Test("streams pieces that add up to the text, with token ids, probabilities and statistics")
  func pieces() async throws {
    let model = try await demo()
    let options = GenerationOptions(
      sampling: .init(temperature: 0.8, topP: 0.9, seed: 3), maximumTokens: 50, logProbabilities: 2)
    var (text, tokens) = ("", [Int32]())
    var statistics: GenerationStatistics?
    for try await piece in model.generate("The princess", options: options) {
      #expect(statistics == nil, "nothing comes after the last piece")
      text += piece.text
      let token = piece.token
      tokens.append(token.token)
      #expect(token.logProbability! <= 0 && token.alternatives.count == 2)
      #expect(token.alternatives[0].logProbability >= token.alternatives[1].logProbability)
      if let finish = piece.finish {
        statistics = piece.statistics
        #expect(finish == .length)
      }
    }
    #expect(tokens.count == 50)
    #expect(model.tokenizer.decode(tokens) == text)
    #expect(statistics?.generatedTokens == 50)
    #expect(statistics?.promptTokens == model.tokenizer.encode("The princess", addingBeginToken: true).count)
    #expect(statistics!.timeToFirstToken > .zero && statistics!.decodeRate > 0)
    // Another number of threads gives the same text.
    let other = try await demo(threads: 1)
    #expect(try await other.generate("The princess", options: options).response().text == text)
  }

  @Test("stops at stop texts and stop tokens, and leaves them out of the text")
  func stops() async throws {
    let model = try await demo()
    var options = GenerationOptions(maximumTokens: 30, stopTexts: ["was a man"])
    let whole = try await model.generate("Once upon a time", options: .init(maximumTokens: 30)).response().text
    let stopped = try await model.generate("Once upon a time", options: options).response()
    #expect(whole.hasPrefix(stopped.text + "was a man"))
    options = GenerationOptions(maximumTokens: 30, stopTokens: [307])  // " was"
    let cut = try await model.generate("Once upon a time", options: options).response()
    #expect(cut.text == " there" && cut.statistics.generatedTokens == 2)
  }

  @Test("stops when the context is full, and refuses a prompt that does not fit")
  func contextEnd() async throws {
    let model = try await demo(context: 16)
    let options = GenerationOptions(ignoresEndTokens: true)
    let statistics = try await model.generate("Once upon a time", options: options).response().statistics
    #expect(statistics.promptTokens + statistics.generatedTokens == 16)
    let tooLong = await #expect(throws: BitNetError.self) {
      _ = try await model.generate(tokens: Array(repeating: 5, count: 20)).response()
    }
    #expect(tooLong?.code == .contextExceeded)
    #expect(tooLong?.cause as? EngineError == .contextFull(length: 0, adding: 20, limit: 16))
    #expect(tooLong?.description == "the prompt has 20 tokens; the context holds 16")
    let refused: [([TokenID], GenerationOptions)] = [([], .init()), ([5], .init(maximumTokens: 0)), ([9999], .init())]
    for (tokens, options) in refused {
      let error = await #expect(throws: BitNetError.self) {
        _ = try await model.generate(tokens: tokens, options: options).response()
      }
      #expect(error?.code == .invalidArgument, "\(error.map(String.init(describing:)) ?? "nothing")")
    }
  }

  @Test("gives concurrent tasks the texts that they get alone")
  func concurrentTasks() async throws {
    let model = try await demo()
    let prompts = ["Once upon a time", "The wolf", "A little girl", "In the forest"]
    let options = GenerationOptions(sampling: .init(temperature: 0.7, seed: 1), maximumTokens: 40)
    var alone: [String] = []
    for prompt in prompts { alone.append(try await model.generate(prompt, options: options).response().text) }
    try await withThrowingTaskGroup(of: (Int, String).self) { group in
      for (index, prompt) in prompts.enumerated() {
        group.addTask { (index, try await model.generate(prompt, options: options).response().text) }
      }
      for try await (index, text) in group { #expect(text == alone[index]) }
    }
  }

  @Test("stops generating when the task is cancelled")
  func cancellation() async throws {
    let model = try await demo()
    let task = Task { () -> Int in
      var count = 0
      for try await piece in model.generate("Once", options: .init(ignoresEndTokens: true)) {
        count = piece.statistics.generatedTokens
        if count == 5 { withUnsafeCurrentTask { $0?.cancel() } }
      }
      return count
    }
    await #expect(throws: CancellationError.self) { _ = try await task.value }
  }

  @Test("keeps a chat's cache from turn to turn, and forgets the oldest turns when the context is full")
  func chat() async throws {
    let model = try await demo()
    let chat = try model.chat(system: "Tell tales.", template: .bitnet, options: .init(maximumTokens: 20))
    let first = try await chat.respond(to: "Who is the king?")
    #expect(first.statistics.cachedTokens == 0)
    let second = try await chat.respond(to: "And the queen?")
    // The cache holds all of the first turn but its last token, which no step has run.
    #expect(second.statistics.cachedTokens >= first.statistics.promptTokens + first.statistics.generatedTokens - 1)
    #expect(await chat.messages.map(\.role) == [.system, .user, .assistant, .user, .assistant])
    #expect(await chat.messages[2].content == first.text)
    var recomputed = 0
    for turn in 0..<30 {
      let statistics = try await chat.respond(to: "Tell me more about the wood, number \(turn).").statistics
      if statistics.cachedTokens < statistics.promptTokens / 2 { recomputed += 1 }
    }
    #expect((1...6).contains(recomputed), "turns are forgotten many at once: \(recomputed) of 30 turns were run anew")
    let messages = await chat.messages
    #expect(messages.count < 60 && messages[0].role == .system && messages[1].role == .user)
    #expect(await chat.forgottenMessageCount == 65 - messages.count)
    let error = await #expect(throws: BitNetError.self) {
      _ = try await chat.respond(to: String(repeating: "wood ", count: 2000))
    }
    #expect(error?.code == .contextExceeded)
    #expect(await chat.messages.count == messages.count, "a question that does not fit is not kept")
    await chat.reset()
    #expect(await chat.messages == [ChatMessage(role: .system, content: "Tell tales.")])
    await chat.reset(system: nil)
    #expect(await chat.messages.isEmpty)
    #expect(await chat.forgottenMessageCount == 0)
  }

  @Test("keeps out of a chat's history what a stop text cut off")
  func stopTextInChat() async throws {
    let model = try await demo()
    let whole = try model.chat(template: .plain, options: .init(maximumTokens: 12))
    let answer = try await whole.respond(to: "Once upon a time").text
    let stop = String(answer.dropFirst(5).prefix(3))
    let chat = try model.chat(template: .plain, options: .init(maximumTokens: 12, stopTexts: [stop]))
    let cut = try await chat.respond(to: "Once upon a time")
    #expect(cut.finish == .stop && answer.hasPrefix(cut.text + stop))
    #expect(await chat.messages.last?.content == cut.text)
    // The next prompt holds the answer as the history shows it.
    let next = try await chat.respond(to: "And then?")
    let shown = try ChatTemplate.plain.encode(
      [
        ChatMessage(role: .user, content: "Once upon a time"), ChatMessage(role: .assistant, content: cut.text),
        ChatMessage(role: .user, content: "And then?"),
      ], with: model.tokenizer)
    #expect(next.statistics.promptTokens == shown.count)
  }

  @Test("ends a chat's previous answer when a new question comes")
  func interruptedChat() async throws {
    let model = try await demo()
    let chat = try model.chat(template: .bitnet, options: .init(ignoresEndTokens: true))
    var stale = chat.streamResponse(to: "Who is the king?").makeAsyncIterator()
    var said = ""
    for _ in 0..<5 { said += try await stale.next()?.text ?? "" }
    let answer = try await chat.respond(to: "Stop.", options: .init(maximumTokens: 5))
    #expect(answer.statistics.generatedTokens <= 5)
    let messages = await chat.messages
    #expect(messages.map(\.content).prefix(3) == ["Who is the king?", said, "Stop."])
    await #expect(throws: CancellationError.self) { _ = try await stale.next() }
  }

  @Test("keeps a conversation consistent when questions come concurrently, fail or have no reader")
  func racingQuestions() async throws {
    let model = try await demo()
    let chat = try model.chat(template: .bitnet, options: .init(maximumTokens: 3))
    _ = chat.streamResponse(to: "Nobody reads this.")
    var unread = chat.streamResponse(to: "Nobody reads this either.").makeAsyncIterator()
    #expect(await chat.messages.isEmpty)
    let results = await withTaskGroup(of: Bool.self) { group in
      for index in 0..<8 {
        group.addTask { (try? await chat.respond(to: "Question \(index)")) != nil }
        group.addTask { (try? await chat.respond(to: String(repeating: "wood ", count: 2000))) != nil }
      }
      return await group.reduce(into: [Bool]()) { $0.append($1) }
    }
    #expect(results.contains(true))
    let messages = await chat.messages
    for (index, message) in messages.enumerated() {
      #expect(message.role == (index % 2 == 0 ? .user : .assistant) && !message.content.hasPrefix("wood"))
    }
    #expect(
      messages.count % 2 == 0 && Set(messages.filter { $0.role == .user }.map(\.content)).count * 2 == messages.count)
    _ = try await unread.next()
    #expect(await chat.messages.dropLast().last?.content == "Nobody reads this either.")
  }

  @Test("runs the Storyteller example")
  func example() throws {
    let process = Process()
    process.executableURL = productsFolder.appendingPathComponent("Storyteller")
    let pipe = Pipe()
    process.standardOutput = pipe
    try process.run()
    let output = String(decoding: pipe.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    process.waitUntilExit()
    #expect(process.terminationStatus == 0)
    #expect(output.hasPrefix("Once upon a time") && output.contains("120 tokens"))
  }
}

/// The folder of the built executables, which also holds the test bundle.
private let productsFolder: URL = {
  for bundle in Bundle.allBundles where bundle.bundlePath.hasSuffix(".xctest") {
    return bundle.bundleURL.deletingLastPathComponent()
  }
  return Bundle.main.bundleURL
}()
