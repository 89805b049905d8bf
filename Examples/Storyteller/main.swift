// Writes a story with the demo model, or with the model given as the first argument.
import BitNet
import BitNetDemoModel

let model =
  if CommandLine.arguments.count > 1 {
    try await LanguageModel.load(CommandLine.arguments[1])
  } else {
    try await LanguageModel.load(embedded: UnsafeRawBufferPointer(start: demo_model_bytes(), count: demo_model_size()))
  }
let options = GenerationOptions(sampling: .init(temperature: 0.7, topP: 0.9, seed: 7), maximumTokens: 120)
let prompt = "Once upon a time"

print(prompt, terminator: "")
for try await piece in model.generate(prompt, options: options) {
  print(piece.text, terminator: "")
  if piece.finish != nil {
    print(
      "\n\n\(piece.statistics.generatedTokens) tokens, \(Int(piece.statistics.decodeRate)) tokens/s, on \(model.device)"
    )
  }
}
