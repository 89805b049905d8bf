import BitNet

/// Writes the answers of a batch, in the order of their lines or as they come, and counts them.
actor BatchSink {
  private let output: BatchOutput
  private let inOrder: Bool
  /// How many lines may run ahead of the first that has no answer.
  private let window: Int
  /// How many lines have had their answers written in order.
  private var written = 0
  /// Answers that wait for those of earlier lines.
  private var held: [Int: [UInt8]] = [:]
  private var waiting: [CheckedContinuation<Void, Never>] = []
  private(set) var progress = Progress()

  struct Progress {
    var lines = 0
    var failures = 0
    var tokens = 0
  }

  init(_ output: BatchOutput, inOrder: Bool, window: Int) {
    self.output = output
    self.inOrder = inOrder
    self.window = window
  }

  /// Waits while too many answers are held back by that of an earlier line.
  func begin(_ index: Int) async {
    while inOrder, index >= written + window { await withCheckedContinuation { waiting.append($0) } }
  }

  /// - Parameter index: how many lines come before the answer's.
  func write(_ answer: [UInt8], index: Int, tokens: Int, isFailure: Bool) throws {
    progress.lines += 1
    progress.tokens += tokens
    if isFailure { progress.failures += 1 }
    guard inOrder else { return try output.write(answer) }
    held[index] = answer
    while let answer = held.removeValue(forKey: written) {
      written += 1
      try output.write(answer)
    }
    for continuation in waiting { continuation.resume() }
    waiting = []
  }
}
