import ArgumentParser
import BitNet
import BitNetInference
import Foundation

/// Options for the sampling of tokens.
struct SamplingOptions: ParsableArguments {
  enum Preset: String, ExpressibleByArgument, CaseIterable {
    case greedy
    case suggested
  }

  @Option(
    help: "The parameters to start from: always the most likely token, or those that the model's authors suggest.")
  var sampling = Preset.suggested

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      "0 always takes the most likely token; higher values, up to 100, give more varied text.",
      valueName: "number"))
  var temperature: Float?

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp("Sample from the k most likely tokens; 0 or -1 for all.", valueName: "k"))
  var topK: Int?

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      "Sample from the most likely tokens whose probabilities add up to this share. 0 for one token, up to 1 for all.",
      valueName: "share"))
  var topP: Float?

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      "Sample from tokens at least this share as likely as the most likely one. 0 to 1.", valueName: "share"))
  var minP: Float?

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      "Values above 1 make tokens that already occurred less likely. 0.01 to 100.", valueName: "number"))
  var repetitionPenalty: Float?

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      "How much less likely each token becomes once the answer has it; below 0, more likely. -2 to 2.",
      valueName: "number"))
  var presencePenalty: Float?

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      "How much less likely a token becomes with each time that the answer has it; below 0, more likely. -2 to 2.",
      valueName: "number"))
  var frequencyPenalty: Float?

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp("The same seed gives the same text again. (default: a new seed each time)", valueName: "number"))
  var seed: UInt64?

  func validate() throws {
    func check(_ option: String, _ value: Float?, _ limits: ClosedRange<Double>) throws {
      guard let value, !(Float(limits.lowerBound)...Float(limits.upperBound)).contains(value) else { return }
      let expected = String(format: "%g to %g", limits.lowerBound, limits.upperBound)
      throw CommandError("--\(option) is \(value); expected \(expected)")
    }
    typealias Limits = SamplingLimits
    try check("temperature", temperature, Limits.temperature)
    try check("top-p", topP, Limits.topP)
    try check("min-p", minP, Limits.minP)
    try check("repetition-penalty", repetitionPenalty, Limits.repetitionPenalty)
    try check("presence-penalty", presencePenalty, Limits.otherPenalty)
    try check("frequency-penalty", frequencyPenalty, Limits.otherPenalty)
    if let topK, !Limits.topK.contains(topK) {
      throw CommandError("--top-k is \(topK); expected 1 to \(Limits.topK.upperBound), or 0 or -1 (all)")
    }
  }

  /// The preset's parameters, with the values of the options that were given.
  ///
  /// - Parameter areDefaults: whether a prompt can have parameters of its own, such as a temperature beside which the
  ///   filters have an effect.
  func parameters(for model: LanguageModel, areDefaults: Bool = false) throws -> SamplingParameters {
    var parameters = sampling == .greedy ? .greedy : model.suggestedSampling
    if let temperature { parameters.setTemperature(temperature) }
    if let topK { parameters.setTopK(topK) }
    if let topP { parameters.setTopP(topP) }
    parameters.minP = minP ?? parameters.minP
    parameters.repetitionPenalty = repetitionPenalty ?? parameters.repetitionPenalty
    parameters.presencePenalty = presencePenalty ?? parameters.presencePenalty
    parameters.frequencyPenalty = frequencyPenalty ?? parameters.frequencyPenalty
    let filters = [("top-k", topK != nil), ("top-p", topP != nil), ("min-p", minP != nil)]
    if parameters.temperature == 0, !areDefaults, let filter = filters.first(where: \.1) {
      throw CommandError("--\(filter.0) has no effect at temperature 0; expected a --temperature above 0")
    }
    // Short enough to type again.
    parameters.seed = seed ?? (parameters.temperature == 0 ? 0 : UInt64(UInt32.random(in: 0...UInt32.max)))
    return parameters
  }
}

extension SamplingParameters {
  /// In words, with the seed that gives the same text again.
  var summary: String {
    var parts = temperature == 0 ? ["greedy"] : ["temperature \(temperature)"]
    if temperature > 0 {
      if topK > 0 { parts.append("top-k \(topK)") }
      if topP < 1 { parts.append("top-p \(topP)") }
      if minP > 0 { parts.append("min-p \(minP)") }
    }
    if repetitionPenalty != 1 { parts.append("repetition penalty \(repetitionPenalty)") }
    if presencePenalty != 0 { parts.append("presence penalty \(presencePenalty)") }
    if frequencyPenalty != 0 { parts.append("frequency penalty \(frequencyPenalty)") }
    if temperature > 0 { parts.append("seed \(seed)") }
    return parts.joined(separator: ", ")
  }
}
