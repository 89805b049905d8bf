import BitNetConstraints

/// All bytes as tokens, and some that are longer than a part of JSON.
let trie: TokenTrie = {
  let longer = [
    "{\"", "\":", "\": \"", "\",\"", "\"}", "null", "true", "12", "abc", "a\"", "a\",", "é", "é\"", "}}", "],", "   ",
  ]
  let tokens = (UInt8.min...UInt8.max).map { [$0] } + longer.map { Array($0.utf8) }
  return TokenTrie(vocabulary: tokens.count + 1) { $0 < tokens.count ? tokens[Int($0)] : nil }
}()

func machine(_ schema: String) throws -> ConstraintMachine {
  try ConstraintMachine(TextConstraint(schema: Array(schema.utf8)), trie)
}

/// Whether a machine takes a text, byte by byte, and lets it end.
func accepts(_ machine: ConstraintMachine, _ text: String) -> Bool {
  var state = machine.start()
  return machine.append(Array(text.utf8), to: &state) && machine.isComplete(state)
}

/// The sentence that refuses a schema; nil if it is taken.
func refusal(_ schema: String) -> String? {
  do throws(ConstraintError) {
    try TextConstraint(schema: Array(schema.utf8)).check()
    return nil
  } catch { return error.description }
}
