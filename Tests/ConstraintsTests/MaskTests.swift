import BitNetConstraints
import Testing

@Suite("Masks over tokens")
struct MaskTests {
  private func allowed(_ mask: ConstraintMachine.Mask) -> Set<Int32> {
    Set((0..<Int32(trie.vocabulary)).filter { mask.words[Int($0 >> 5)] >> UInt32($0 & 31) & 1 != 0 })
  }

  @Test(
    "allow exactly the tokens whose bytes go on, in every state on the way of a text",
    arguments: [
      (#"{"type":"object"}"#, "{\"a\": [1.5e3, \"é\\n\", {\"b\":null}],\n  \"c\":\"\"}"),
      (#"{"type":"string","maxLength":6}"#, #""ab\u00e9é\\c""#),
      (#"{"type":"string","pattern":"^[^z]{2,4}$"}"#, #""aéa""#),
      (
        #"{"type":"object","properties":{"a":{"type":"string"},"abc":{"enum":["x","xy",12]}},"required":["a"]}"#,
        #"{"a":"a","abc":"xy"}"#
      ),
      (#"{"anyOf":[{"type":"string","minLength":3},{"type":"array","items":{"type":"string"}}]}"#, #"["a","é"]"#),
    ])
  func exact(schema: String, text: String) throws {
    let machine = try machine(schema)
    var state = machine.start()
    for byte in Array(text.utf8) + [0] {
      let mask = machine.mask(state)
      let expected = Set(
        (0..<Int32(trie.vocabulary)).filter {
          var copy = state
          return machine.append($0, to: &copy)
        })
      #expect(allowed(mask) == expected, "before \(byte) of \(text)")
      #expect(!expected.isEmpty || mask.isComplete)
      guard byte != 0 else { break }
      #expect(machine.append([byte], to: &state))
    }
    #expect(machine.mask(state).isComplete)
  }

  @Test("fixed parts and alternatives come around values")
  func parts() throws {
    let constraint = TextConstraint(alternatives: [
      [.text("<f>"), .json(schema: Array(#"{"const":1}"#.utf8)), .text("</f>")],
      [.text("<g>"), .json(schema: Array(#"{"type":"boolean"}"#.utf8)), .text("</g>")],
    ])
    let machine = try ConstraintMachine(constraint, trie)
    #expect(accepts(machine, "<f>1</f>") && accepts(machine, "<g>true</g>"))
    #expect(!accepts(machine, "<f>true</f>") && !accepts(machine, "<f>1") && !accepts(machine, "<g>1</g>"))
  }

  @Test("tokens that end inside a character are left out where the vocabulary cannot end it")
  func missingBytes() throws {
    let texts = (0x20...0x7E).map { [UInt8($0)] } + [[0xC3], Array("é".utf8), [0x61, 0xE2]]
    let trie = TokenTrie(vocabulary: texts.count) { texts[Int($0)] }
    let machine = try ConstraintMachine(TextConstraint(schema: Array(#"{"type":"string"}"#.utf8)), trie)
    var state = machine.start()
    #expect(machine.append(Array("\"".utf8), to: &state))
    let words = machine.mask(state).words
    let found = texts.indices.filter { words[$0 >> 5] >> UInt32($0 & 31) & 1 != 0 }.map { texts[$0] }
    #expect(found.contains(Array("é".utf8)) && !found.contains([0xC3]) && !found.contains([0x61, 0xE2]))
  }
}
