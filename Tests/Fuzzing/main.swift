// Feeds mutated model files to every loader. Each input must either load or be refused with a ModelFileError; anything
// else (a trap, a read outside the input, an unbounded allocation) ends the process. Run it with the address sanitizer
// too.
//
// usage: FuzzLoaders [--count N] [--seed S] [--first N] [--fixtures FOLDER] [--verbose]
//
// Round n of a seed is always the same input: after a crash, run again with --verbose to see the last round that was
// begun, then that round alone with --first n --count 1.

import BitNetInference
import BitNetModelFiles
import ModelFilesSupport
import BitNetTernary
import TestSupport

#if canImport(Darwin)
  import Darwin
#elseif canImport(Musl)
  import Musl
#else
  import Glibc
#endif

var count = 100_000
var seed: UInt64 = 1
var first = 0
var verbose = false
var only: String?
var fixtures = Repository.path("Tests/Fixtures")

var arguments = CommandLine.arguments.dropFirst()
while let option = arguments.popFirst() {
  switch option {
  case "--count": count = arguments.popFirst().flatMap(Int.init) ?? count
  case "--seed": seed = arguments.popFirst().flatMap(UInt64.init) ?? seed
  case "--first": first = arguments.popFirst().flatMap(Int.init) ?? first
  case "--fixtures": fixtures = arguments.popFirst() ?? fixtures
  case "--only": only = arguments.popFirst()
  case "--verbose": verbose = true
  default:
    print("unknown option \(option)")
    exit(2)
  }
}

let clock = ContinuousClock()
let seeds = try Seeds(fixtures: fixtures)
var rounds = FuzzRounds(seeds: seeds)
print("seed \(seed), rounds \(first) to \(first + count - 1)")
let start = clock.now
for round in first..<first + count {
  if verbose { print("round \(round)") }
  try rounds.run(seed: seed, round: round, only: only)
}
let elapsed = clock.now - start
for (kind, outcome) in rounds.outcomes.sorted(by: { $0.key < $1.key }) {
  print("\(kind): \(outcome.loaded) loaded, \(outcome.refused) refused")
}
print("\(count) rounds in \(elapsed), at most \(peakMemory() >> 20) MiB resident")

/// The most memory that the process has had resident, in bytes.
func peakMemory() -> Int {
  var usage = rusage()
  getrusage(0, &usage)  // RUSAGE_SELF, whose type is not the same in all C libraries
  #if canImport(Darwin)
    return usage.ru_maxrss
  #else
    return usage.ru_maxrss << 10
  #endif
}
