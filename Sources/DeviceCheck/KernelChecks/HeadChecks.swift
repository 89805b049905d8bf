import BitNetCUDADriver
import BitNetCUDAEngine
import CBitNetCUDAKernels
import BitNetInference
package import BitNetRandomModels

/// The logits of a full head.
package struct HeadCheck: KernelCheck {
  private let inputs: HeadInputs
  /// The number of outputs at a time: 1, 4 or 8.
  private let tokens: Int
  private let blocks: Int

  package init(_ generator: inout SplitMix64, tokens: Int, blocks: Int? = nil) {
    let inputs = HeadInputs(&generator)
    self.init(inputs, tokens: tokens, blocks: blocks ?? generator.int(1...6))
  }

  init(_ inputs: HeadInputs, tokens: Int, blocks: Int) {
    (self.inputs, self.tokens, self.blocks) = (inputs, tokens, blocks)
  }

  package var shape: String { "\(inputs.shape), \(blocks) blocks" }

  package func comparison(on device: KernelCheckDevice) throws -> KernelComparison {
    let outputs = inputs.rows.count
    let logits = try device.buffer([Float](repeating: 7, count: outputs * inputs.vocabulary))
    let best = try device.buffer([UInt64](repeating: 0, count: outputs))
    let kernel: Kernel = tokens == 1 ? .head1 : tokens == 4 ? .head4 : .head8
    try device.run(
      kernel, CUDAGrid(blocks, (outputs + tokens - 1) / tokens), sharedBytes: inputs.sharedBytes(tokens: tokens),
      HeadParameters(
        head: inputs.head(on: device), x: device.address(inputs.x), rows: device.address(inputs.rows),
        logits: logits.address, best: best.address, outputs: Int32(outputs)))
    var comparison = KernelComparison()
    comparison.compare(try logits.values(), inputs.logits.flatMap { $0 }, "logits", width: inputs.vocabulary)
    comparison.compare(try best.values(), inputs.logits.map(ScalarArithmetic.bestKey), "best")
    return comparison
  }
}

/// The int8 copy of a head.
package struct ScreenCopyCheck: KernelCheck {
  private let inputs: HeadInputs
  private let blocks: Int

  package init(_ generator: inout SplitMix64) {
    let inputs = HeadInputs(hardToBound: &generator)
    self.init(inputs, blocks: generator.int(1...6))
  }

  init(_ inputs: HeadInputs, blocks: Int) { (self.inputs, self.blocks) = (inputs, blocks) }

  package var shape: String { "\(inputs.vocabulary) × \(inputs.hidden), \(blocks) blocks" }

  package func comparison(on device: KernelCheckDevice) throws -> KernelComparison {
    let codes = try device.buffer([Int8](repeating: 0x55, count: inputs.screen.codes.count))
    let norms = try device.buffer([Float](repeating: 7, count: inputs.screen.norms.count))
    try device.run(
      .screenBuild, CUDAGrid(blocks),
      ScreenBuildParameters(
        head: inputs.head(on: device), codes: codes.address, rows: norms.address, stride: Int32(inputs.screenStride)))
    var comparison = KernelComparison()
    comparison.compare(try codes.values(), inputs.screen.codes, "codes", width: inputs.screenStride)
    comparison.compare(try norms.values(), inputs.screen.norms, "steps and norms", width: 4)
    return comparison
  }
}

/// The bounds of logits from an int8 copy that scalar code makes, and then the logits that can matter.
package struct ScreenCheck: KernelCheck {
  package enum Stage {
    case bounds, logits
  }

  private let inputs: HeadInputs
  private let stage: Stage
  /// The number of outputs at a time: 1, 4 or `screenGroup`.
  private let tokens: Int
  private let blocks: Int
  private let windows: [Float]
  /// By output: thresholds of the first and the second attempt, and whether there is a second; nil without cuts.
  private let cuts: [(first: Float, last: Float, isRetried: Bool)]?
  /// With cuts.
  private let attempt: Int
  /// One of them may be so low that divided logits overflow.
  private let temperatures: [Float]

  /// - Parameter stage: the results to compare.
  package init(_ generator: inout SplitMix64, _ stage: Stage, tokens: Int) {
    let inputs = HeadInputs(hardToBound: &generator)
    self.init(inputs, stage, tokens: tokens, blocks: generator.int(1...6), &generator)
  }

  init(_ inputs: HeadInputs, _ stage: Stage, tokens: Int, blocks: Int, _ generator: inout SplitMix64) {
    (self.inputs, self.stage, self.tokens, self.blocks) = (inputs, stage, tokens, blocks)
    windows = inputs.rows.map { _ in [0, generator.float(0...20), 1e4, .infinity].randomElement(using: &generator)! }
    attempt = generator.int(0...1)
    temperatures = inputs.rows.map { _ in [0, 1, 1e-37].randomElement(using: &generator)! }
    cuts =
      generator.chance(50)
      ? inputs.logits.map { logits in
        let some = (0..<2).map { _ in logits.randomElement(using: &generator)! }.map { $0.isNaN ? 0 : $0 }
        return (first: some.max()!, last: some.min()!, isRetried: generator.chance(70))
      } : nil
  }

  /// Whether the attempt computes anything of an output.
  private func isComputed(_ output: Int) -> Bool { attempt == 0 || cuts?[output].isRetried ?? true }

  package var shape: String {
    "\(inputs.shape), \(blocks) blocks, \(cuts.map { "attempt \(attempt) of cuts \($0)" } ?? "windows \(windows)")"
  }

  package func comparison(on device: KernelCheckDevice) throws -> KernelComparison {
    let (vocabulary, outputs, stride) = (inputs.vocabulary, inputs.rows.count, inputs.screenStride)
    let head = try inputs.head(on: device)
    let upper = try device.buffer([Float](repeating: 7, count: outputs * vocabulary))
    let blockFloors = try device.buffer([UInt64](repeating: 77, count: outputs * Int(mostScreenBlocks)))
    let floor = try device.buffer([UInt64](repeating: 0, count: outputs))
    let screen = Screen(
      codes: try device.address(inputs.screen.codes), rows: try device.address(inputs.screen.norms),
      stride: Int32(stride), unused: 0)
    let (x, rows) = (try device.address(inputs.x), try device.address(inputs.rows))
    func screenInGroups(of tokens: Int, _ upper: UInt64, _ floors: UInt64) throws {
      try device.run(
        tokens == 1 ? .screen1 : .screen4, CUDAGrid(blocks, (outputs + tokens - 1) / tokens),
        sharedBytes: inputs.sharedBytes(tokens: tokens) + tokens * (16 + 2 * stride),
        ScreenParameters(
          head: head, screen: screen, x: x, rows: rows, upper: upper, floors: floors, blockFloors: blockFloors.address,
          outputs: Int32(outputs)))
    }
    if tokens == screenGroup {
      let facts = try device.buffer([Float](repeating: 7, count: 4 * outputs))
      let codes = try device.buffer([Int8](repeating: 0x55, count: 2 * stride * outputs))
      try device.run(
        .screenTokens, CUDAGrid(outputs), sharedBytes: inputs.sharedBytes(tokens: 1),
        ScreenTokensParameters(
          head: head, x: x, rows: rows, facts: facts.address, codes: codes.address, stride: Int32(stride)))
      try device.run(
        .screenMany, CUDAGrid(blocks, (outputs + tokens - 1) / tokens), sharedBytes: screen.manyBytes,
        ScreenManyParameters(
          screen: screen, facts: facts.address, codes: codes.address, upper: upper.address, floors: floor.address,
          blockFloors: blockFloors.address, vocabulary: Int32(vocabulary), hidden: Int32(inputs.hidden),
          outputs: Int32(outputs)))
    } else {
      try screenInGroups(of: tokens, upper.address, floor.address)
    }
    if stage == .bounds {
      var comparison = compareBounds(try upper.values(), floors: try floor.values())
      compareBlockFloors(try blockFloors.values(), floors: try floor.values(), in: &comparison)
      if tokens == screenGroup {
        // The products are integers, so the bounds are those of the other kernel.
        let single = try device.buffer([Float](repeating: 7, count: outputs * vocabulary))
        let singleFloor = try device.buffer([UInt64](repeating: 0, count: outputs))
        try screenInGroups(of: 1, single.address, singleFloor.address)
        comparison.compare(try upper.values(), try single.values(), "bounds", width: vocabulary)
        comparison.compare(
          try floor.values(), try singleFloor.values(of: UInt64.self), "largest lower bounds")
      }
      return comparison
    }

    let logits = try device.buffer([Float](repeating: 7, count: outputs * vocabulary))
    let best = try device.buffer([UInt64](repeating: 0, count: outputs))
    let arrivals = try device.buffer([UInt32](repeating: 0, count: outputs))
    let survivors = try device.buffer([UInt32](repeating: 1000, count: 1))
    var cuts = ScreenCuts()
    if let wanted = self.cuts {
      let thresholds = wanted.map { ScreenCut(thresholds: ($0.first, $0.last), unseen: 0) }
      cuts = ScreenCuts(
        cuts: try device.address(thresholds), retries: try device.address(wanted.map { UInt32($0.isRetried ? 1 : 0) }),
        attempt: Int32(attempt), unused: 0)
    }
    let largestFloors: [UInt64] = try floor.values()
    try device.run(
      .screenRescore, CUDAGrid(blocks, outputs), sharedBytes: inputs.sharedBytes(tokens: 1),
      RescoreParameters(
        head: head, x: x, rows: rows, windows: device.address(windows),
        sampling: device.address(temperatures.map { RowSampling(.init(temperature: $0)) }), cuts: cuts,
        upper: upper.address,
        logits: logits.address, floors: floor.address, best: best.address, arrivals: arrivals.address,
        survivors: survivors.address))
    var comparison = KernelComparison()
    compareLogits(try logits.values(), survivors: Int(try survivors.values(of: UInt32.self)[0]) - 1000, in: &comparison)
    if self.cuts == nil {
      comparison.compare(try best.values(), inputs.logits.map(ScalarArithmetic.bestKey), "best")
    }
    comparison.compare(
      try floor.values(), largestFloors.indices.map { isComputed($0) ? 0 : largestFloors[$0] }, "floor")
    comparison.compare(try arrivals.values(), [UInt32](repeating: 0, count: outputs), "arrivals")
    return comparison
  }

  private func compareBounds(_ upper: [Float], floors: [UInt64]) -> KernelComparison {
    var comparison = KernelComparison()
    for (output, logits) in inputs.logits.enumerated() {
      for (id, logit) in logits.enumerated() {
        let bound = upper[output * inputs.vocabulary + id]
        comparison.require(
          !(logit > bound), "bounds[\(output)][\(id)] is \(bound); expected the logit \(logit) or more")
      }
      let best = ScalarArithmetic.bestKey(logits)
      comparison.require(
        floors[output] >> 32 <= best >> 32,
        "floor[\(output)] is 0x\(KernelComparison.hexadecimal(floors[output] >> 32, digits: 8)) in its upper half; "
          + "expected the largest logit's 0x\(KernelComparison.hexadecimal(best >> 32, digits: 8)) or less")
    }
    return comparison
  }

  /// Blocks' largest lower bounds must be those of different rows, and the largest of them the output's.
  private func compareBlockFloors(_ found: [UInt64], floors: [UInt64], in comparison: inout KernelComparison) {
    for (output, logits) in inputs.logits.enumerated() {
      let first = output * Int(mostScreenBlocks)
      let keys = found[first..<first + blocks]
      comparison.require(
        keys.max() == floors[output], "the largest floor of output \(output)'s blocks is not that of the output")
      // Blocks without rows have none.
      let tokens = keys.filter { $0 != 0 }.map { Int(UInt32.max - UInt32(truncatingIfNeeded: $0)) }
      comparison.require(
        Set(tokens).count == tokens.count && tokens.allSatisfy(logits.indices.contains),
        "the floors of output \(output)'s blocks are those of the rows \(tokens)")
      for (key, token) in zip(keys.filter { $0 != 0 }, tokens) where logits.indices.contains(token) {
        comparison.require(
          key >> 32 <= ScalarArithmetic.key(logits[token], token) >> 32 || logits[token].isNaN,
          "the floor of row \(token) of output \(output) is above its logit \(logits[token])")
      }
    }
  }

  private func compareLogits(_ found: [Float], survivors: Int, in comparison: inout KernelComparison) {
    let exact = inputs.logits
    var computed = 0
    for (output, logits) in exact.enumerated() {
      let row = Array(found[output * inputs.vocabulary..<(output + 1) * inputs.vocabulary])
      guard isComputed(output) else {
        comparison.compare(row, logits.map { _ in 7 }, "logits of output \(output), which has no second attempt")
        continue
      }
      let largest = logits.reduce(-Float.infinity) { max($0, $1.isNaN ? -.infinity : $1) }
      var limit = cuts.map { attempt == 0 ? $0[output].first : $0[output].last } ?? largest - windows[output]
      // Without cuts, the kernel knows the limit only about.
      if cuts != nil, temperatures[output] > 0, !(limit / temperatures[output]).isFinite { limit = -.infinity }
      // Only logits that cannot matter may be left out. A NaN always survives.
      var expected = logits
      for (id, right) in logits.enumerated() {
        if row[id] == -.infinity && right < limit {
          expected[id] = -.infinity
        }
        if row[id] != -.infinity || right == -.infinity { computed += 1 }
      }
      comparison.compare(row, expected, "logits from \(limit) on, the largest being \(largest), of output \(output)")
    }
    // Rows whose logit is minus infinity may or may not have been computed.
    let infinite = exact.indices.filter(isComputed).reduce(0) { $0 + exact[$1].count { $0 == -.infinity } }
    comparison.require(
      (computed - infinite...computed).contains(survivors),
      "the number of rows that were computed is \(survivors); expected \(computed - infinite) to \(computed)")
  }
}
