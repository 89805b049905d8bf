import ArgumentParser
import BitNet
import BitNetCPUEngine
import BitNetCUDADriver
import BitNetCUDAEngine
import BitNetInference
import BitNetModelFiles
import BitNetTokenization

/// How tokens are chosen.
struct SamplingOptions: ParsableArguments {
  enum Preset: String, ExpressibleByArgument, CaseIterable {
    case greedy
    case suggested
  }

  @Option(help: "Where sampling starts from: the likeliest token always, or what the model's makers suggest.")
  var sampling = Preset.suggested

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp("0 takes the likeliest token; higher is more varied.", valueName: "number"))
  var temperature: Float?

  @Option(
    parsing: .unconditional, help: ArgumentHelp("Choose among the k likeliest tokens; 0 for all.", valueName: "k"))
  var topK: Int?

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp("Choose among the likeliest tokens that make up this probability.", valueName: "share"))
  var topP: Float?

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp("Choose among tokens at least this share as likely as the likeliest.", valueName: "share"))
  var minP: Float?

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp("Above 1, tokens that were there before become less likely.", valueName: "number"))
  var repetitionPenalty: Float?

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp("The same seed gives the same text again. (default: a new one each time)", valueName: "number"))
  var seed: UInt64?

  /// The model's suggestion or the greedy choice, with the values that were given in their place.
  func parameters(for model: LanguageModel) throws -> SamplingParameters {
    var parameters = sampling == .greedy ? .greedy : model.suggestedSampling
    parameters.temperature = temperature ?? parameters.temperature
    parameters.topK = topK ?? parameters.topK
    parameters.topP = topP ?? parameters.topP
    parameters.minP = minP ?? parameters.minP
    parameters.repetitionPenalty = repetitionPenalty ?? parameters.repetitionPenalty
    try parameters.validate()
    let filters = [("top-k", topK != nil), ("top-p", topP != nil), ("min-p", minP != nil)]
    if parameters.temperature == 0, let filter = filters.first(where: \.1) {
      throw CommandError("\(filter.0) has no effect at temperature 0; expected a --temperature above 0 beside it")
    }
    // Short enough to be typed again.
    parameters.seed = seed ?? (parameters.temperature == 0 ? 0 : UInt64(UInt32.random(in: 0...UInt32.max)))
    return parameters
  }
}

extension SamplingParameters {
  /// In words, with the seed by which a text can be had again.
  var summary: String {
    var parts = temperature == 0 ? ["greedy"] : ["temperature \(temperature)"]
    if temperature > 0 {
      if topK > 0 { parts.append("top-k \(topK)") }
      if topP < 1 { parts.append("top-p \(topP)") }
      if minP > 0 { parts.append("min-p \(minP)") }
    }
    if repetitionPenalty != 1 { parts.append("repetition penalty \(repetitionPenalty)") }
    if temperature > 0 { parts.append("seed \(seed)") }
    return parts.joined(separator: ", ")
  }
}
