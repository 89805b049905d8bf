import BitNetCPUEngine
import CBitNetTernary
import BitNetInference
import BitNetRandomModels
import TestSupport
import BitNetTernary
import Testing

/// Returns a head that is hard to screen: rows that differ in one last bit, equal rows, rows of very different
/// magnitudes, one dominating element, zeros and subnormals.
private func adversarialTable(rows: Int, columns: Int, seed: UInt64, isFinite: Bool = true, hasHugeRows: Bool = false)
  throws
  -> EmbeddingTable
{
  var generator = SeededGenerator(seed: seed)
  var values = [UInt16](repeating: 0, count: rows * columns)
  for row in 0..<rows {
    let start = row * columns
    let scale: Float = hasHugeRows && row % 7 == 6 ? 3e38 : [1, 1, 1, 1e-3, 30, 1e-20][row % 6]
    for i in 0..<columns {
      let uniform = Float(Int(generator.next() >> 40)) / Float(1 << 23) - 1
      values[start + i] = (uniform * scale * 0.05).bfloat16Bits
    }
    switch row % 9 {
    case 1 where row > 0:  // the previous row, except for one last bit
      for i in 0..<columns { values[start + i] = values[start - columns + i] }
      values[start + Int(generator.next() % UInt64(columns))] ^= 1
    case 2 where row > 0:  // the previous row
      for i in 0..<columns { values[start + i] = values[start - columns + i] }
    case 4: values[start + Int(generator.next() % UInt64(columns))] = Float(3).bfloat16Bits
    case 5: for i in 0..<columns { values[start + i] = 0 }
    case 6: for i in 0..<columns { values[start + i] = UInt16(truncatingIfNeeded: generator.next() & 0x807F) }
    case 7 where !isFinite: values[start + Int(generator.next() % UInt64(columns))] = row % 2 == 0 ? 0x7F80 : 0x7FC0
    default: break
    }
  }
  let buffer = AlignedBuffer(count: values.count * 2)
  values.withUnsafeBytes { buffer.bytes.copyMemory(from: $0) }
  return try EmbeddingTable(name: "the LM head", rows: rows, columns: columns, bytes: buffer.shared)
}

extension EmbeddingTable {
  /// The table with other values in some rows.
  fileprivate func replacing(_ others: [Int: [Float]]) throws -> EmbeddingTable {
    let buffer = AlignedBuffer(count: bytes.count)
    bytes.withUnsafeBytes { buffer.bytes.copyMemory(from: $0) }
    for (row, values) in others {
      for (i, value) in values.enumerated() {
        buffer.bytes.storeBytes(of: value.bfloat16Bits, toByteOffset: 2 * (row * columns + i), as: UInt16.self)
      }
    }
    return try EmbeddingTable(name: "the LM head", rows: rows, columns: columns, bytes: buffer.shared)
  }
}

private var sets: [TernaryKernels] {
  var result: [TernaryKernels] = []
  var list = ternary_kernels_available()
  while let kernels = list.pointee {
    result.append(kernels.pointee)
    list += 1
  }
  return result
}

/// Stores rows, `[rows][stride]`, as panels of sixteen rows × four columns.
private func interleave(_ rows: [Int8], _ stride: Int, into panels: inout [Int8]) {
  for (index, code) in rows.enumerated() {
    let (row, column) = index.quotientAndRemainder(dividingBy: stride)
    panels[row / 16 * 16 * stride + column / 4 * 64 + row % 16 * 4 + column % 4] = code
  }
}

/// A table and a token as the screened head keeps them, with the logits of the whole head.
private struct Screening {
  let kernels: TernaryKernels
  let table: EmbeddingTable
  /// Steps, norms and errors of the rows.
  var facts = [[Float]](repeating: [], count: 3)
  let token: CTernaryScreenNorms
  /// The upper and the lower halves of the activations, `[2][stride]`, and their products with the rows, `[2][rows]`.
  var planes: [Int8]
  var products: [Int32]
  var logits: [Float]

  init(_ table: EmbeddingTable, _ x: [Float], _ kernels: TernaryKernels) {
    let (rows, columns, stride) = (table.rows, table.columns, Tile.padded(table.columns, to: 64))
    self.kernels = kernels
    self.table = table
    var codes = [Int8](repeating: 99, count: rows * stride)
    var panels = codes
    for row in 0..<rows {
      let found = codes.withUnsafeMutableBufferPointer {
        kernels.screenRow(table.row(row).baseAddress!, columns, stride, $0.baseAddress! + row * stride)
      }
      for (part, value) in [found.step, found.norm, found.error].enumerated() { facts[part].append(value) }
    }
    planes = [Int8](repeating: 99, count: 2 * stride)
    var sums = [Int32](repeating: 0, count: 2)
    token = planes.withUnsafeMutableBufferPointer {
      kernels.screenToken(x, columns, stride, $0.baseAddress!, $0.baseAddress! + stride, &sums)
    }
    products = [Int32](repeating: 0, count: 2 * rows)
    interleave(codes, stride, into: &panels)
    kernels.panelProducts(panels, stride, rows, planes, stride, sums, 2, &products, rows)
    logits = [Float](repeating: 0, count: rows)
    let start = table.row(0).baseAddress!
    kernels.head(start, columns, rows, start, x, columns, 1, &logits, rows)
    #expect(sums == [planes[..<stride], planes[stride...]].map { $0.reduce(0) { $0 + Int32($1) } })
  }

  var lowerHalf: ArraySlice<Int8> { planes[(planes.count / 2)...] }

  /// The bounds of a row's logit if the token has these norms and the lower halves of its products are `low`.
  func bounds(_ row: Int, _ token: CTernaryScreenNorms, low: Int32) -> (lower: Float, upper: Float) {
    // To get a row's own lower bound, fill all sixteen rows of the call with it.
    func sixteen<Value>(_ value: Value) -> [Value] { Array(repeating: value, count: 16) }
    var upper = sixteen(Float(0))
    let lower = kernels.screenBounds(
      sixteen(facts[0][row]), sixteen(facts[1][row]), sixteen(facts[2][row]), 16, token, table.columns,
      sixteen(products[row]), sixteen(low), &upper)
    return (lower, upper[0])
  }

  /// The largest possible product of a row and the token.
  func most(_ row: Int) -> Double { Double(facts[1][row] + facts[2][row]) * Double(token.norm) }

  /// The first row whose logit is outside its bounds, or whose bounds are useless: further apart than a tenth of the
  /// largest possible product and `slack` times the row's norm. A row too small to have codes may have any.
  func mistake(_ token: CTernaryScreenNorms, slack: Double = 0, low: (_ row: Int) -> Int32) -> String? {
    for row in 0..<table.rows {
      let most = most(row)
      let (lower, upper) = bounds(row, token, low: low(row))
      if upper.isNaN {
        // There is no bound where a sum may overflow.
        guard 32 * most < Double(Float.greatestFiniteMagnitude) else { continue }
        return "row \(row): no bound where \(most) is the most"
      }
      let width = Double(upper) - Double(lower)
      let isUseful = width <= 0.1 * most + slack * Double(facts[1][row]) + 1e-29
      if !(lower <= logits[row] && logits[row] <= upper) || facts[1][row] > 0 && !isUseful {
        return "row \(row): \(lower) \(logits[row]) \(upper), at most \(most)"
      }
    }
    return nil
  }
}

/// Activations between -1 and 1, times 10⁻¹⁵, 1 or 10¹⁵. Every fourth seed has an element a hundred times as large as
/// the others, every sixth three of very different sizes, and one seed has zeros alone.
private func activations(_ columns: Int, seed: Int, using generator: inout SeededGenerator) -> [Float] {
  let scale = Float([1, 1e-15, 1e15][seed % 3])
  var x = (0..<columns).map { _ in (Float(Int(generator.next() >> 40)) / Float(1 << 23) - 1) * scale }
  let extremes: [Float] = seed % 6 == 0 ? [30_000, -200, 40] : seed % 4 == 0 ? [100] : []
  for value in extremes { x[Int(generator.next() % UInt64(columns))] = value * scale }
  return seed == 5 ? x.map { _ in 0 } : x
}

@Suite("The screened head")
struct ScreenedHeadTests {
  @Test("bounds every logit from above and from below", arguments: 1...12)
  func bounds(seed: Int) throws {
    var generator = SeededGenerator(seed: UInt64(seed))
    let columns = Int.random(in: 1...700, using: &generator)
    let rows = 16 * Int.random(in: 1...12, using: &generator)
    let table = try adversarialTable(rows: rows, columns: columns, seed: UInt64(seed), hasHugeRows: true)
    let x = activations(columns, seed: seed, using: &generator)
    for kernels in sets {
      let screening = Screening(table, x, kernels)
      let mistake = screening.mistake(screening.token) { screening.products[rows + $0] }
      #expect(mistake == nil, "seed \(seed), \(String(cString: kernels.name))")
    }
  }

  @Test("bounds every logit when the lower halves of the activations are not multiplied", arguments: 1...12)
  func coarseBounds(seed: Int) throws {
    var generator = SeededGenerator(seed: UInt64(seed))
    let columns = Int.random(in: 1...700, using: &generator)
    let rows = 16 * Int.random(in: 1...12, using: &generator)
    let x = activations(columns, seed: seed, using: &generator)
    let simple = try adversarialTable(rows: rows, columns: columns, seed: UInt64(seed), hasHugeRows: true)
    // A row along the lower halves and a row against them have the largest error that the bound allows for. Their
    // elements are whole and reach 127, so that their codes are exact.
    let lower = Screening(simple, x, sets[0]).lowerHalf.prefix(columns)
    let (along, against) = (rows / 3, rows / 2)
    let unit = 127 / Float(max(1, lower.map { Int($0).magnitude }.max()!))
    let table = try simple.replacing([
      along: lower.map { (Float($0) * unit).rounded() }, against: lower.map { -(Float($0) * unit).rounded() },
    ])
    for kernels in sets {
      let screening = Screening(table, x, kernels)
      let coarse = screening.lowerHalf.withUnsafeBufferPointer { screening.token.withoutLowerHalf($0) }
      let squares = screening.lowerHalf.reduce(0) { $0 + Double($1) * Double($1) }
      let added = Double(coarse.step) * squares.squareRoot()
      let name = "seed \(seed), \(String(cString: kernels.name))"
      let mistake = screening.mistake(coarse, slack: 2.001 * added) { _ in 0 }
      #expect(mistake == nil, "\(name)")
      // Both reach their bounds but for the plain error and a tenth of what the lower halves add to it.
      let norm = Double(screening.facts[1][along])
      let slack = norm * (0.1 * added + 2.1 * Double(screening.token.error)) + 1e-5 * screening.most(along) + 1e-29
      let upper = screening.bounds(along, coarse, low: 0).upper
      let lower = screening.bounds(against, coarse, low: 0).lower
      #expect(Double(upper) - Double(screening.logits[along]) <= slack, "\(name)")
      #expect(Double(screening.logits[against]) - Double(lower) <= slack, "\(name)")
    }
  }

  @Test("has no bound where a sum overflows although the product is small")
  func overflow() {
    let columns = 1024
    var row = [UInt16](repeating: 0, count: columns)
    // One lane of the canonical sum reaches 8e38 before it returns to zero.
    for (place, value) in [(0, 1e38), (256, 1e38), (512, -1e38), (768, -1e38)] as [(Int, Float)] {
      row[place] = value.bfloat16Bits
    }
    let x = [Float](repeating: 4, count: columns)
    for kernels in sets {
      var codes = [Int8](repeating: 0, count: columns)
      let found = kernels.screenRow(row, columns, columns, &codes)
      var planes = [Int8](repeating: 0, count: 2 * columns)
      var sums = [Int32](repeating: 0, count: 2)
      let token = planes.withUnsafeMutableBufferPointer {
        kernels.screenToken(x, columns, columns, $0.baseAddress!, $0.baseAddress! + columns, &sums)
      }
      // Fifteen rows of zeros fill the panel.
      var panel = [Int8](repeating: 0, count: 16 * columns)
      interleave(codes + [Int8](repeating: 0, count: 15 * columns), columns, into: &panel)
      var products = [Int32](repeating: 0, count: 2 * 16)
      kernels.panelProducts(panel, columns, 16, planes, columns, sums, 2, &products, 16)
      var logit: Float = 0
      kernels.head(row, columns, 1, row, x, columns, 1, &logit, 1)
      #expect(logit == .infinity)
      var upper = [Float](repeating: 0, count: 16)
      func sixteen<Value>(_ value: Value) -> [Value] { Array(repeating: value, count: 16) }
      let lower = kernels.screenBounds(
        sixteen(found.step), sixteen(found.norm), sixteen(found.error), 16, token, columns, sixteen(products[0]),
        sixteen(products[16]),
        &upper)
      #expect(upper[0].isNaN && lower == -.infinity)
    }
  }

  @Test("chooses the same tokens as the full head, in batches of any size", arguments: 1...12)
  func tokens(seed: Int) throws {
    var generator = SeededGenerator(seed: UInt64(seed))
    var configuration = ModelConfiguration.random(using: &generator)
    configuration.vocabularySize = Int.random(in: 300...1500, using: &generator)
    configuration.tiedEmbedding = false
    let random = try ModelWeights(random: configuration, seed: UInt64(seed))
    let head = try adversarialTable(
      rows: configuration.vocabularySize, columns: configuration.hiddenSize, seed: UInt64(seed),
      isFinite: seed % 4 != 0,
      hasHugeRows: seed % 4 == 1)
    let weights = try ModelWeights(
      configuration: configuration, embedding: random.embedding, layers: random.layers, finalNorm: random.finalNorm,
      head: head)
    let samplings: [SamplingParameters] = [
      .greedy, .init(temperature: 0.7, seed: 1), .init(temperature: 1.2, topK: 2, seed: 2),
      .init(temperature: 0.01, seed: 3),
      .init(temperature: 1, topK: 3, topP: 0.8, seed: 4), .init(temperature: 0.8, minP: 0.2, seed: 5),
      .init(temperature: 0.9, topP: 0.7, seed: 6),
      .init(temperature: 1, topK: 40, minP: 0.01, seed: 7), .init(temperature: 0.6, topP: 0.9, minP: 0.05, seed: 8),
      .init(temperature: 0.6, repetitionPenalty: 1.2, seed: 9), .init(temperature: 100, topK: 5, seed: 10),
      .init(temperature: 0.05, topP: 0.95, seed: 11), .init(temperature: 2, topP: 0.5, seed: 12),
      .init(temperature: 0.4, topP: 0.999, seed: 13), .init(temperature: 5, topP: 0.9, seed: 14),
      .init(temperature: 0.7, topP: 0.9, repetitionPenalty: 1.3, seed: 15), .init(repetitionPenalty: 0.3),
      .init(temperature: 0.3, topK: 3, repetitionPenalty: 2, seed: 16),
    ]
    func run(_ engine: any Engine) throws -> [[Int32]] {
      let ids = samplings.map { _ in engine.makeSequence() }
      var next = ids.indices.map { (0...$0).map { Int32(7 * $0 + 1) } }
      var result = ids.map { _ in [Int32]() }
      for step in 0..<6 {
        let entries = ids.indices.map {
          // One of them also requests log probabilities, which needs all logits.
          Batch.Entry(
            sequence: ids[$0], tokens: next[$0], want: .token(samplings[$0], logProbabilities: $0 == step ? 2 : nil))
        }
        // Large groups are screened in another way than small ones.
        let groups = step % 2 == 0 ? [entries] : [Array(entries[..<5]), Array(entries[5...])]
        let outputs = try groups.flatMap { try engine.step(Batch($0)) }
        for (index, output) in outputs.enumerated() {
          let token = output.tokens[0]
          result[index].append(token.token)
          next[index] = [token.token]
        }
      }
      return result
    }
    let expected = try run(ReferenceEngine(weights: weights, precision: .float))
    for set in InstructionSet.available {
      for threads in [1, 3] {
        let engine = try CPUEngine(weights: weights, threads: threads, instructionSet: set, screensHead: true)
        #expect(engine.memory.screen > 0)
        let found = try run(engine)
        #expect(found == expected, "seed \(seed), \(set), \(threads) threads")
      }
    }
  }

  @Test("Logits whose division by the temperature overflows, and some that are not numbers", arguments: [true, false])
  func hugeLogits(screensHead: Bool) throws {
    let expected = try HugeLogits.tokens { ReferenceEngine(weights: $0, precision: .float) }
    for set in InstructionSet.available {
      let found = try HugeLogits.tokens {
        try CPUEngine(weights: $0, threads: 1, instructionSet: set, screensHead: screensHead)
      }
      #expect(differences(found, expected) == [])
    }
  }
}
