import BitNet
import BitNetTokenization

/// A model and the options with which it continues prompts, one after another.
struct GenerationSession {
  let model: LanguageModel
  let options: GenerationOptions
  let chatFormat: ChatTemplate?
  let specials: Bool

  /// - Parameters:
  ///   - echoes: whether the prompt is printed first.
  ///   - isSilent: whether nothing is printed.
  func run(_ prompt: String, echoes: Bool, isSilent: Bool) async throws -> GenerationRun {
    let generation: Generation
    if let chatFormat {
      let tokens = try chatFormat.encode(
        [.init(role: .user, content: prompt)], with: model.tokenizer, parsingSpecialTokens: specials)
      var options = options
      if !options.ignoresEndTokens { options.stopTokens.formUnion(chatFormat.stopTokens(of: model.tokenizer)) }
      generation = model.generate(tokens: tokens, options: options)
    } else {
      generation = model.generate(prompt, options: options, parsingSpecialTokens: specials)
    }
    if isSilent { return try await .stream(generation) { _ in } }
    let run = try await GenerationRun.stream(generation, after: echoes ? prompt : "") {
      try ByteOutput.standard.write($0)
    }
    let endsLine = run.text.isEmpty ? echoes && prompt.last?.isNewline == true : run.text.last?.isNewline == true
    if !endsLine { try ByteOutput.standard.write("\n") }
    return run
  }
}
