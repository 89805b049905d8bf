/// What `ModelBenchmark` finds. Reports in JSON have the names of these fields, in snake_case.
extension ModelBenchmark {
  /// An engine and the speed of its memory.
  package struct Machine: Encodable, Sendable {
    package enum MemoryMeasure: String, Encodable, Sendable {
      /// Bytes read by the CPU.
      case read
      /// Bytes read and written by a copy on the GPU.
      case copy
    }

    package let name: String
    /// Whether the GPU is the tests' stand-in, whose times mean nothing.
    package let emulated: Bool
    /// Nil if it could not be measured.
    package let memoryBytesPerSecond: Double?
    package let memoryMeasure: MemoryMeasure
    /// The error that prevented the memory's speed from being measured.
    package let memoryError: String?
    /// On a GPU: whether single tokens go through one cooperative kernel.
    package let cooperative: Bool?
    /// On a GPU: whether that kernel is launched as part of a graph, and the reason if it is not.
    package let graph: Bool?
    package let graphReason: String?
    /// Whether the int8 copy of the LM head screens the vocabulary.
    package let screened: Bool
  }

  /// The bytes that each token reads.
  package struct Model: Sendable {
    package let ternaryBytes: Int
    package let headBytes: Int
    /// Whether `headBytes` counts the int8 copy of the head that screens the vocabulary.
    package let headIsScreened: Bool
    /// Read for each position before the token.
    package let cacheBytesPerPosition: Int
  }

  /// Tokens per second over the rounds.
  package struct Rate: Encodable, Sendable {
    package let median: Double
    package let minimum: Double
    package let maximum: Double

    /// - Parameter rates: one or more.
    init(_ rates: [Double]) {
      median = rates.quantile(0.5)
      minimum = rates.quantile(0)
      maximum = rates.quantile(1)
    }
  }

  package struct Prompt: Encodable, Sendable {
    package let tokens: Int
    package let tokensPerSecond: Rate
  }

  package struct Decoding: Encodable, Sendable {
    package let sequences: Int
    /// Tokens in each sequence's cache before.
    package let depth: Int
    /// Tokens of each sequence in a round.
    package let tokens: Int
    /// Of all sequences together.
    package let tokensPerSecond: Rate
    /// The memory's speed, read between the tokens of each round (on a GPU: at the start); the median.
    package let memoryBytesPerSecond: Double
    /// Tokens per second if nothing took time but reading each byte once in a step.
    package let floorTokensPerSecond: Double
    /// The share of its own floor that a burst reached; the median.
    package let shareOfFloor: Double
    /// The rate divided by that of one sequence.
    package let ratioToOne: Double?
  }
}
