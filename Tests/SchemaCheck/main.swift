import BitNetConstraints
import BitNetJSON

// Answers JSON schemas with noise: for each line of the input, a schema, it writes a line with the text that tokens
// chosen at random among the allowed ones give: T and the text as a JSON string, L and the text if it was cut at a
// limit, or E and the sentence that refuses the schema. Scripts/schema-check judges the answers.
//
//   SchemaCheck [--seed N] [--limit TOKENS] [--vocabulary N]
//   SchemaCheck --measure [--vocabulary N]     measures masks; see Benchmarks/constraints

func option(_ name: String, _ standard: Int) -> Int {
  let arguments = CommandLine.arguments
  guard let place = arguments.firstIndex(of: name), place + 1 < arguments.count else { return standard }
  return Int(arguments[place + 1]) ?? standard
}

let trie = SyntheticVocabulary(count: option("--vocabulary", 3000)).trie()
if CommandLine.arguments.contains("--measure") {
  try measure(trie)
} else {
  let limit = option("--limit", 4000)
  var number: UInt64 = 0
  while let line = readLine() {
    var noise = Noise(seed: UInt64(option("--seed", 1)) << 32 + number)
    number += 1
    do throws(ConstraintError) {
      let machine = try ConstraintMachine(TextConstraint(schema: Array(line.utf8)), trie)
      let (text, isComplete) = noise.answer(machine, limit: limit)
      let shown = String(
        decoding: (try? JSONTree.string(String(decoding: text, as: UTF8.self)).serialized()) ?? [], as: UTF8.self)
      print(isComplete ? "T" : "L", shown)
    } catch {
      print("E", error.description.split(separator: "\n").joined(separator: " "))
    }
  }
}
