import BitNetCUDADriver
import BitNetCUDAEngine
import CBitNetCUDAKernels
import BitNetInference
package import BitNetRandomModels

/// Which rows of the screened head are computed for outputs, by bounds of their logits.
package struct ScreenCutsCheck: KernelCheck {
  private let vocabulary: Int
  private let screenBlocks: Int
  private let uppers: [[Float]]
  private let floors: [[UInt64]]
  private let parameters: [SamplingParameters]

  package init(_ generator: inout SplitMix64) {
    self.init(&generator, vocabulary: generator.chance(30) ? generator.int(1...300) : generator.int(1...20_000))
  }

  package init(_ generator: inout SplitMix64, vocabulary: Int) {
    self.vocabulary = vocabulary
    screenBlocks = generator.chance(20) ? generator.int(1...Int(mostScreenBlocks)) : generator.int(1...40)
    var (uppers, floors): ([[Float]], [[UInt64]]) = ([], [])
    for _ in 0..<generator.int(1...5) {
      // A steep or a flat distribution, or what the sampler is checked with.
      let scale = generator.float(0.2...6)
      var logits =
        generator.chance(50)
        ? SamplerCheck.logits(vocabulary, &generator)
        : (0..<vocabulary).map { _ in (0..<4).reduce(0) { sum, _ in sum + generator.float() } * scale }
      if generator.chance(30) { logits[generator.int(0...vocabulary - 1)] += 15 }
      uppers.append(logits.map { $0 + abs($0) * 0.01 })
      let share = (vocabulary + screenBlocks - 1) / screenBlocks
      floors.append(
        (0..<screenBlocks).map { block in
          (min(block * share, vocabulary)..<min(block * share + share, vocabulary)).reduce(0) {
            max($0, ScalarArithmetic.key(logits[$1] - abs(logits[$1]) * 0.01, $1))
          }
        }.shuffled(using: &generator))
    }
    (self.uppers, self.floors) = (uppers, floors)
    let blocks = screenBlocks
    parameters = uppers.map { _ in
      SamplingParameters(
        temperature: generator.chance(15) ? 0 : generator.float(0.1...3),
        topK: generator.chance(60)
          ? 0 : [1, blocks, blocks + 1, generator.int(1...blocks)].randomElement(using: &generator)!,
        topP: generator.chance(30)
          ? 1 : [0.9, 1e-6, 0.999_999, generator.float(0.001...1)].randomElement(using: &generator)!)
    }
  }

  package var shape: String {
    let sampling = parameters.map { "(temperature \($0.temperature), top-k \($0.topK), top-p \($0.topP))" }
    return "vocabulary \(vocabulary), \(screenBlocks) blocks, \(sampling.joined(separator: ", "))"
  }

  package func comparison(on device: KernelCheckDevice) throws -> KernelComparison {
    let outputs = uppers.count
    let padding = [UInt64](repeating: .max, count: Int(mostScreenBlocks) - screenBlocks)
    let arrivals = try device.buffer([UInt32](repeating: 0, count: outputs))
    let cuts = try device.buffer([ScreenCut](repeating: ScreenCut(), count: outputs))
    let partials = outputs * Int(cutBlocks) * Int(triedCuts)
    try device.run(
      .screenCuts, CUDAGrid(Int(cutBlocks), outputs), sharedBytes: Int(cutScratchBytes),
      ScreenCutsParameters(
        upper: device.address(uppers.flatMap { $0 }), floors: device.address(floors.map { $0.max()! }),
        blockFloors: device.address(floors.flatMap { $0 + padding }), windows: device.address(parameters.map(\.window)),
        sampling: device.address(parameters.map { RowSampling($0) }),
        below: device.address([Float](repeating: .nan, count: partials)),
        above: device.address([UInt32](repeating: 1 << 20, count: partials)), arrivals: arrivals.address,
        cuts: cuts.address, vocabulary: Int32(vocabulary), screenBlocks: Int32(screenBlocks)))
    var comparison = KernelComparison()
    let found = try cuts.values(of: ScreenCut.self)
    for output in 0..<outputs { compare(found[output], output, in: &comparison) }
    comparison.compare(try arrivals.values(), [UInt32](repeating: 0, count: outputs), "arrivals")
    return comparison
  }

  private func compare(_ cut: ScreenCut, _ output: Int, in comparison: inout KernelComparison) {
    let (sampling, floors) = (parameters[output], floors[output].sorted(by: >))
    let largest = ScalarArithmetic.logit(ofKey: floors[0])
    // What does not matter at all.
    var edge = largest - sampling.window
    if sampling.temperature > 0, 1...screenBlocks ~= sampling.topK {
      edge = max(edge, ScalarArithmetic.logit(ofKey: floors[sampling.topK - 1]))
    }
    let (first, last) = (cut.thresholds.0, cut.thresholds.1)
    guard largest.isFinite else {
      return comparison.require(
        first == -.infinity && last == -.infinity && cut.unseen == 0 || first.isNaN && last.isNaN,
        "the thresholds of output \(output), with the largest floor \(largest), are \(first) and \(last)")
    }
    let slack = 4e-5 * max(abs(largest), abs(edge))
    comparison.require(
      last <= edge && last >= edge - slack,
      "the last threshold of output \(output) is \(last); expected \(edge) or at most \(slack) less")
    compareWork(cut, output, largest: largest, in: &comparison)
    guard cut.unseen > 0 else {
      return comparison.require(
        first == last, "the thresholds of output \(output) are \(first) and \(last), and nothing is unseen")
    }
    comparison.require(
      sampling.temperature > 0 && sampling.topK == 0 && sampling.topP < 1 && first >= last,
      "output \(output) has the cut \(first) above \(last)")
    // Of the rows that are left out.
    let bounds = uppers[output]
    let weight = bounds.filter { $0 < first }.reduce(0.0) {
      $0 + doubleExponential(Double($1 - largest) / Double(sampling.temperature))
    }
    let unseen = Double(cut.unseen) * 0x1p-40
    comparison.require(
      unseen >= weight && unseen <= 1.05 * weight + 1e-4,
      "the unseen weight of output \(output) is \(unseen); expected about \(weight)")
  }

  /// The cut must be the one with the least expected work; there is none if that is all rows.
  private func compareWork(_ cut: ScreenCut, _ output: Int, largest: Float, in comparison: inout KernelComparison) {
    let (sampling, bounds) = (parameters[output], uppers[output])
    guard sampling.temperature > 0, sampling.topK == 0, sampling.topP < 1 else { return }
    let (depths, all) = ([4, 5.5, 7, 8.5, 10.5, 13, 16], bounds.count { !($0 < cut.thresholds.1) })
    let temperature = Double(sampling.temperature)
    func rowsAndWeight(below threshold: Double) -> (rows: Double, weight: Double) {
      bounds.reduce(into: (rows: 0.0, weight: 0.0)) { sums, bound in
        guard Double(bound) < threshold else { return sums.rows += 1 }
        sums.weight += doubleExponential((Double(bound) - Double(largest)) / temperature)
      }
    }
    func threshold(_ depth: Double) -> Double {
      max(Double(largest) - depth * temperature, Double(cut.thresholds.1))
    }
    let tried = depths.map { rowsAndWeight(below: threshold($0)) }
    let half = doubleExponential(-depths[0] / 2)
    let left = (1 - Double(sampling.topP)) * (tried[0].weight + max(1, tried[0].rows * half))
    let end = tried.firstIndex { $0.weight < left } ?? depths.count
    let last = end == 0 ? half : doubleExponential(-depths[end - 1])
    func work(_ found: (rows: Double, weight: Double)) -> Double {
      found.rows + min(1, found.weight / last) * (Double(all) - found.rows + 4096)
    }
    let least = min(Double(all), tried.filter { $0.weight < 0.99 }.map(work).min() ?? .infinity)
    let chosen = cut.unseen > 0 ? work(rowsAndWeight(below: Double(cut.thresholds.0))) : Double(all)
    comparison.require(
      chosen <= 1.05 * least + 8,
      "the expected work of output \(output)'s cut, \(cut.thresholds), is \(chosen) rows; another cut's is \(least)")
  }
}
