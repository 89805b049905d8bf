import BitNetConstraints

/// Prints what masks cost: the first time that texts get to their states, and in steady state.
func measure(_ trie: TokenTrie) throws {
  let clock = ContinuousClock()
  func microseconds(_ duration: Duration, _ count: Int) -> Double {
    duration / .microseconds(1) / Double(max(1, count))
  }
  let schemas = [
    ("any object", #"{"type":"object"}"#),
    (
      "record",
      #"{"type":"object","properties":{"name":{"type":"string","maxLength":40},"age":{"type":"integer","minimum":0,"#
        + #""maximum":150},"tags":{"type":"array","items":{"enum":["red","green","blue"]},"maxItems":5},"note":"#
        + #"{"type":["string","null"]}},"required":["name","age","tags","note"],"additionalProperties":false}"#
    ),
    ("pattern", #"{"type":"string","pattern":"^[A-Z][a-z]+( [A-Z][a-z]+){1,3}$"}"#),
    ("date and time", #"{"type":"string","format":"date-time"}"#),
    (
      "recursive",
      ##"{"$ref":"#/$defs/n","$defs":{"n":{"type":"object","properties":{"v":{"type":"number"},"next":{"anyOf":"##
        + ##"[{"type":"null"},{"$ref":"#/$defs/n"}]}},"required":["v","next"]}}}"##
    ),
  ]
  print("vocabulary \(trie.vocabulary)")
  print("schema, compile ms, first tokens µs, later tokens: mean µs, 99th percentile µs, largest µs")
  for (name, schema) in schemas {
    let compiling = clock.now
    let machine = try ConstraintMachine(TextConstraint(schema: Array(schema.utf8)), trie)
    let compiled = clock.now - compiling
    var noise = Noise(seed: 3)
    var first = (time: Duration.zero, count: 0)
    var later: [Duration] = []
    for round in 0..<200 {
      var state = machine.start()
      for _ in 0..<300 {
        let start = clock.now
        let mask = machine.mask(state)
        let masked = clock.now - start
        guard let token = noise.choose(mask) else { break }
        let appending = clock.now
        _ = machine.append(token, to: &state)
        let time = masked + (clock.now - appending)
        // Texts that go where none went before still find new states now and then; they count as later ones.
        if round < 100 { first = (first.time + time, first.count + 1) } else { later.append(time) }
      }
    }
    later.sort()
    func shown(_ value: Double) -> String { "\((value * 10).rounded() / 10)" }
    print(
      name, shown(compiled / .milliseconds(1)), shown(microseconds(first.time, first.count)),
      shown(microseconds(later.reduce(.zero, +), later.count)),
      shown(microseconds(later[later.count * 99 / 100], 1)), shown(microseconds(later.last!, 1)), separator: ", ")
  }
}
