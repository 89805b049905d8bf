package import CBitNetTernary
import BitNetInference
import BitNetTernary

/// An int8 copy of the LM head that bounds every logit, so that only rows that can matter are read in full.
///
/// A row of the copy is half as long as the bfloat16 row. Its product with the token, quantised to sixteen bits, is
/// within a known distance of the logit (the proof is in Documentation/numerics.md). Rows whose upper bound
/// cannot reach the logits that sampling looks at are left out; the others get the logit that the whole head computes,
/// bit for bit.
///
/// The copy consists of panels of sixteen rows, `[rows / 16][columns / 4][16 rows][4 columns]`: it is one stream however
/// many tokens it is multiplied with.
final class CPUScreenedHead {
  /// Rows whose largest lower bound is kept, and whose products are made at a time.
  static let blockRows = 256
  /// Rows of a panel.
  static let panelRows = 16
  /// Tokens that go through the table together.
  static let groupLength = 16
  /// Tokens up to which both halves of the quantised activations are multiplied while the table arrives from memory.
  private static let wholeLength = 4
  /// Tables below this many values stay in caches, where screening gains little.
  static let worthwhile = 8 << 20

  /// Columns whose integer products fit in 32 bits: 127 · 128 · 2^17 < 2^31.
  static let longestRow = 1 << 17

  /// What was found of a token.
  struct Outcome {
    /// The chosen token.
    var token: Int32 = 0
    /// Rows that were computed in full.
    var candidates = 0
    /// Rows that the upper halves of the activations did not rule out; nil if they were not tried alone.
    var coarseCount: Int?
  }

  /// Bytes between two rows of the copy.
  let stride: Int
  /// Rows, padded to whole blocks.
  let paddedRows: Int
  private let table: EmbeddingTable
  private let kernels: TernaryKernels
  private let codes: PageBuffer
  private let normsBuffer: AlignedBuffer
  private let buffers: AlignedBuffer
  /// Steps, norms and errors of the rows, `[3][paddedRows]`.
  private let norms: UnsafeMutablePointer<Float>
  /// Upper bounds: `[groupLength][paddedRows]`.
  private let uppers: UnsafeMutablePointer<Float>
  /// Ids and logits of the survivors, at each block's start: `[groupLength][paddedRows]`.
  private let survivors: UnsafeMutablePointer<Int32>
  private let logits: UnsafeMutablePointer<Float>
  /// How many there are in each block, and the block's largest lower bound: `[groupLength][blocks]`.
  private let counts: UnsafeMutablePointer<Int32>
  private let floors: UnsafeMutablePointer<Float>
  /// Per thread: integer products `[2 · groupLength][blockRows]`.
  private let products: UnsafeMutablePointer<Int32>
  /// Which rows to compute for each token, at the first attempt and at those after it:
  /// `[groupLength][ScreenedCut.attempts]`.
  private let cuts: UnsafeMutablePointer<ScreenedCut>
  /// What the blocks' rows weigh above and below each cut that is tried: `[groupLength][blocks][CTERNARY_CUTS]`.
  private let above: UnsafeMutablePointer<Int32>
  private let below: UnsafeMutablePointer<Float>
  /// The chosen tokens of a group, nil for those that need more rows; written in one phase, read in the next.
  private let outcomes: UnsafeMutableBufferPointer<Outcome?>
  private let tokens: UnsafeMutablePointer<CTernaryScreenNorms>
  /// Of the tokens when the lower halves of their activations count as errors.
  private let coarseTokens: UnsafeMutablePointer<CTernaryScreenNorms>
  /// Rows that were not ruled out by upper halves: `[groupLength][blocks]`.
  private let coarseCounts: UnsafeMutablePointer<Int32>
  /// Lower halves of products that are not computed: `[blockRows]`.
  private let zeros: UnsafeMutablePointer<Int32>
  /// Whether the group that is being screened starts with the upper halves; written in one phase, read in later ones.
  private var isCoarse = false

  /// The share of rows that survived lately where only the temperature limits them, and how many such tokens have gone
  /// through the whole head since.
  private var survivingShare = 0.0
  private var passedOver = 0
  /// The share of rows that survived lately in large groups with the upper halves alone, and how many tokens have been
  /// multiplied as a whole since.
  private var coarseShare = 0.0
  private var tokensSinceCoarse = 0

  private var blocks: Int { paddedRows / Self.blockRows }
  /// Bytes of the copy.
  var byteCount: Int { codes.bytes.count + normsBuffer.bytes.count }

  /// Makes the copy, on all members of the team.
  init(_ table: EmbeddingTable, team: ThreadTeam, kernels: TernaryKernels) throws(EngineError) {
    let stride = Tile.padded(table.columns, to: 64)
    let paddedRows = Tile.padded(table.rows, to: Self.blockRows)
    guard let codes = PageBuffer(count: paddedRows * stride) else {
      throw .device("the screened LM head needs \(paddedRows * stride) bytes, which cannot be allocated")
    }
    self.stride = stride
    self.paddedRows = paddedRows
    self.table = table
    self.kernels = kernels
    self.codes = codes
    normsBuffer = AlignedBuffer(count: 3 * 4 * paddedRows)
    norms = normsBuffer.bytes.bindMemory(to: Float.self).baseAddress!
    let group = Self.groupLength
    let blocks = paddedRows / Self.blockRows
    // One allocation for the buffers of a step; every part is a multiple of 64 bytes long.
    let sizes = [
      group * paddedRows, group * paddedRows, Tile.padded(group * blocks, to: 16), Tile.padded(group * blocks, to: 16),
      team.count * 2 * group * Self.blockRows, Tile.padded(3 * group, to: 16),
      Tile.padded(3 * group, to: 16), Tile.padded(group * blocks, to: 16), Self.blockRows, group * paddedRows,
      Tile.padded(group * blocks * Self.cutCount, to: 16), Tile.padded(group * blocks * Self.cutCount, to: 16),
    ]
    buffers = AlignedBuffer(count: 4 * sizes.reduce(0, +))
    var next = buffers.bytes.baseAddress!
    func take<Element>(_ type: Element.Type, _ part: Int) -> UnsafeMutablePointer<Element> {
      defer { next += 4 * sizes[part] }
      return next.bindMemory(to: type, capacity: 4 * sizes[part] / MemoryLayout<Element>.stride)
    }
    uppers = take(Float.self, 0)
    survivors = take(Int32.self, 1)
    counts = take(Int32.self, 2)
    floors = take(Float.self, 3)
    products = take(Int32.self, 4)
    tokens = take(CTernaryScreenNorms.self, 5)
    coarseTokens = take(CTernaryScreenNorms.self, 6)
    coarseCounts = take(Int32.self, 7)
    zeros = take(Int32.self, 8)
    logits = take(Float.self, 9)
    above = take(Int32.self, 10)
    below = take(Float.self, 11)
    cuts = .allocate(capacity: group * ScreenedCut.attempts)
    outcomes = .allocate(capacity: group)
    outcomes.initialize(repeating: nil)
    zeros.update(repeating: 0, count: Self.blockRows)
    let base = codes.bytes.bindMemory(to: Int8.self).baseAddress!
    let norms = norms
    team.run { member in
      member.phase(paddedRows, unit: Self.blockRows, perMember: 16) { rows in
        withUnsafeTemporaryAllocation(of: Int8.self, capacity: Self.panelRows * stride) { panel in
          panel.initialize(repeating: 0)
          for row in rows {
            let place = row % Self.panelRows
            if row < table.rows {
              let found = kernels.screenRow(
                table.row(row).baseAddress!, table.columns, stride, panel.baseAddress! + place * stride)
              norms[row] = found.step
              norms[paddedRows + row] = found.norm
              norms[2 * paddedRows + row] = found.error
            } else {
              // Rows that do not exist have no bounds; their logits are never computed.
              for part in 0..<3 { norms[part * paddedRows + row] = .infinity }
            }
            if place == Self.panelRows - 1 {
              Self.interleave(UnsafeBufferPointer(panel), stride, into: base + (row - place) * stride)
            }
          }
        }
        // From now on only a few scattered rows of the table are read.
        let real = rows.clamped(to: 0..<table.rows)
        table.bytes.slice(real.lowerBound * 2 * table.columns..<real.upperBound * 2 * table.columns)?.releasePages()
      }
    }
  }

  deinit {
    cuts.deallocate()
    outcomes.deallocate()
  }

  /// Stores sixteen rows, `[16][stride]`, as a panel.
  static func interleave(_ rows: UnsafeBufferPointer<Int8>, _ stride: Int, into panel: UnsafeMutablePointer<Int8>) {
    let source = UnsafeRawPointer(rows.baseAddress!)
    let target = UnsafeMutableRawPointer(panel)
    for row in 0..<panelRows {
      for i in Swift.stride(from: 0, to: stride, by: 4) {
        target.storeBytes(
          of: source.loadUnaligned(fromByteOffset: row * stride + i, as: UInt32.self),
          toByteOffset: i * panelRows + 4 * row, as: UInt32.self)
      }
    }
  }

  /// Whether screening is likely to save anything when a token is chosen in this way.
  ///
  /// At a high temperature every token may have a weight; then most rows survive, and the whole head alone is cheaper.
  /// That depends on the model and the text, so the screen is tried again every 32 tokens.
  func pays(_ sampling: SamplingParameters) -> Bool {
    guard dependsOnText(sampling), survivingShare > 0.4 else { return true }
    passedOver = (passedOver + 1) % 32
    return passedOver == 0
  }

  /// Whether so many tokens together are first bounded by the upper halves of their quantised activations alone.
  ///
  /// A large group is multiplied for longer than the table takes to arrive from memory; half the products then save more
  /// than some hundred additional rows of the head cost. How many there are depends on the model: where the activations
  /// have a few extreme values, the upper halves of the others say little. That is tried again from time to time.
  private func startsCoarse(_ count: Int) -> Bool {
    count > Self.wholeLength && (coarseShare < 0.01 || tokensSinceCoarse >= 32 * Self.groupLength)
  }

  /// Records what was found of a token.
  func record(_ outcome: Outcome, _ sampling: SamplingParameters) {
    if dependsOnText(sampling) {
      survivingShare = 0.75 * survivingShare + 0.25 * Double(outcome.candidates) / Double(table.rows)
    }
    if let coarse = outcome.coarseCount {
      coarseShare = 0.75 * coarseShare + 0.25 * Double(coarse) / Double(table.rows)
      tokensSinceCoarse = 0
    } else {
      tokensSinceCoarse += 1
    }
  }

  private func dependsOnText(_ sampling: SamplingParameters) -> Bool {
    sampling.temperature > 0 && !(1...blocks ~= sampling.topK)
  }

  /// Pieces of a member: some 650 KB each in large vocabularies.
  private static let pieces = 128

  /// The copy from the start of the member's share on.
  func share(of member: ThreadTeam.Member) -> UnsafeRawBufferPointer {
    let block = member.shareStart(blocks, unit: 1, perMember: Self.pieces)
    return UnsafeRawBufferPointer(rebasing: codes.bytes.dropFirst(block * Self.blockRows * stride))
  }

  /// The work of one member of the team: chooses up to `groupLength` tokens.
  ///
  /// - Parameters:
  ///   - hidden: the tokens' normalised rows.
  ///   - choices: how each token is going to be chosen.
  ///   - codes, sums: room for two quantised vectors a token.
  func screen(
    _ member: ThreadTeam.Member, hidden: Rows<Float>, choices: [Choice], codes: Rows<Int8>,
    sums: UnsafeMutablePointer<Int32>
  ) {
    let count = choices.count
    member.phase(count) { t in
      if t == 0 { isCoarse = startsCoarse(count) }
      // Upper halves of all tokens, then the lower halves.
      var halves: (Int32, Int32) = (0, 0)
      let token = withUnsafeMutableBytes(of: &halves) {
        kernels.screenToken(
          hidden[t], table.columns, stride, codes[t], codes[count + t],
          $0.bindMemory(to: Int32.self).baseAddress!)
      }
      (sums[t], sums[count + t]) = halves
      tokens[t] = token
      coarseTokens[t] = token.withoutLowerHalf(UnsafeBufferPointer(start: codes[count + t], count: stride))
    }
    let products = products + member.index * 2 * Self.groupLength * Self.blockRows
    let (norms, vectors) = (isCoarse ? coarseTokens : tokens, isCoarse ? count : 2 * count)
    member.phase(blocks, unit: 1, perMember: Self.pieces) { range in
      for block in range {
        multiply(block, codes.base, codes.stride, sums, vectors, products)
        for t in 0..<count {
          let high = products + t * Self.blockRows
          floors[t * blocks + block] = bound(
            block, t, norms[t], choices[t], high: high, low: isCoarse ? zeros : high + count * Self.blockRows)
        }
      }
    }
    // From here on, all members go through the same phases, which therefore depend on nothing that a phase finds.
    let triesCuts = choices.contains { $0.sampling.usesTopPAlone }
    member.phase(count) { t in
      outcomes[t] = nil
      let all = choices[t].sampling.cut(lowerBounds: UnsafeBufferPointer(start: floors + t * blocks, count: blocks))
      (cuts + t * ScreenedCut.attempts).initialize(repeating: all, count: ScreenedCut.attempts)
    }
    if triesCuts {
      member.phase(blocks, unit: 1, perMember: 8) { range in
        for t in 0..<count where choices[t].sampling.usesTopPAlone { weighCuts(range, t, choices[t].sampling) }
      }
      member.phase(count) { t in
        guard choices[t].sampling.usesTopPAlone else { return }
        let (start, length) = (t * blocks * Self.cutCount, blocks * Self.cutCount)
        let chosen = cuts[t * ScreenedCut.attempts].chosen(
          choices[t].sampling, above: UnsafeBufferPointer(start: above + start, count: length),
          below: UnsafeBufferPointer(start: below + start, count: length))
        (cuts[t * ScreenedCut.attempts], cuts[t * ScreenedCut.attempts + 1]) = chosen
      }
    }
    for attempt in 0..<(triesCuts ? ScreenedCut.attempts : 1) {
      member.phase(blocks, unit: 1, perMember: attempt == 0 ? 32 : 8) { range in
        computeSurvivors(range, attempt, choices, hidden, codes, sums, products)
      }
      member.phase(count) { t in
        if outcomes[t] == nil { outcomes[t] = choose(t, cuts[t * ScreenedCut.attempts + attempt], choices[t]) }
      }
    }
  }

  /// What the rows of some blocks weigh above and below the cuts that are tried for token t.
  private func weighCuts(_ range: Range<Int>, _ t: Int, _ sampling: SamplingParameters) {
    let all = cuts[t * ScreenedCut.attempts]
    all.tried(sampling).withUnsafeBufferPointer { tried in
      for block in range {
        let place = (t * blocks + block) * Self.cutCount
        kernels.screenTails(
          uppers + t * paddedRows + block * Self.blockRows, Self.blockRows, all.largest, 1 / sampling.temperature,
          tried.baseAddress!, above + place, below + place)
      }
    }
  }

  /// Computes the logits of some blocks' rows for the tokens that are not yet chosen.
  private func computeSurvivors(
    _ range: Range<Int>, _ attempt: Int, _ choices: [Choice], _ hidden: Rows<Float>, _ codes: Rows<Int8>,
    _ sums: UnsafeMutablePointer<Int32>, _ products: UnsafeMutablePointer<Int32>
  ) {
    let count = choices.count
    var places: [Int] = []
    for block in range {
      for t in 0..<count where outcomes[t] == nil {
        let cut = cuts[t * ScreenedCut.attempts + attempt]
        var survivors = findSurvivors(block, t, cut.threshold, choices[t])
        if isCoarse { coarseCounts[t * blocks + block] = Int32(survivors) }
        // Rows that only the lower halves ruled out would be missing from what the cut's unseen rows may weigh.
        if isCoarse, survivors > Self.blockRows / 8, cut.unseen == nil {
          let halves = [sums[t], sums[count + t]]
          multiply(block, codes[t], count * codes.stride, halves, 2, products)
          _ = bound(block, t, tokens[t], choices[t], high: products, low: products + Self.blockRows)
          survivors = findSurvivors(block, t, cut.threshold, choices[t])
        }
        counts[t * blocks + block] = Int32(survivors)
        let start = t * paddedRows + block * Self.blockRows
        places += start..<start + survivors
      }
    }
    rescore(places, hidden)
  }

  /// The products of a block's rows with some vectors, `[vectors][blockRows]`.
  private func multiply(
    _ block: Int, _ codes: UnsafePointer<Int8>, _ codeStride: Int, _ sums: UnsafePointer<Int32>, _ vectors: Int,
    _ products: UnsafeMutablePointer<Int32>
  ) {
    let table = UnsafePointer(self.codes.bytes.bindMemory(to: Int8.self).baseAddress!)
    kernels.panelProducts(
      table + block * Self.blockRows * stride, stride, Self.blockRows, codes, codeStride, sums, vectors, products,
      Self.blockRows)
  }

  /// Bounds the logits of a block's rows for token t.
  ///
  /// - Returns: the largest lower bound.
  private func bound(
    _ block: Int, _ t: Int, _ token: CTernaryScreenNorms, _ choice: Choice, high: UnsafePointer<Int32>,
    low: UnsafePointer<Int32>
  ) -> Float {
    let first = block * Self.blockRows
    let uppers = uppers + t * paddedRows + first
    guard !choice.keepsLogits else {
      return kernels.screenBounds(
        norms + first, norms + paddedRows + first, norms + 2 * paddedRows + first, Self.blockRows, token,
        table.columns, high, low, uppers)
    }
    // Rows that are excluded, or whose logits change, say nothing about the largest logit: like rows that do not exist,
    // they get no bounds.
    return withUnsafeTemporaryAllocation(of: Float.self, capacity: 3 * Self.blockRows) { usable in
      let usable = usable.baseAddress!
      for part in 0..<3 {
        (usable + part * Self.blockRows).initialize(from: norms + part * paddedRows + first, count: Self.blockRows)
      }
      func exclude(_ row: Int) { for part in 0..<3 { usable[part * Self.blockRows + row] = .infinity } }
      if let mask = choice.adjustment?.mask {
        for row in 0..<min(Self.blockRows, table.rows - first) where !mask[first + row] { exclude(row) }
      }
      let rows = first..<first + Self.blockRows
      for bias in choice.adjustment?.biases(of: rows) ?? [] { exclude(Int(bias.token) - first) }
      for token in choice.penalized(in: rows) { exclude(Int(token) - first) }
      return kernels.screenBounds(
        usable, usable + Self.blockRows, usable + 2 * Self.blockRows, Self.blockRows, token, table.columns, high, low,
        uppers)
    }
  }

  /// Lists the block's rows that can matter for token t, and returns how many there are.
  private func findSurvivors(_ block: Int, _ t: Int, _ threshold: Float, _ choice: Choice) -> Int {
    let first = block * Self.blockRows
    let uppers = uppers + t * paddedRows + first
    let survivors = survivors + t * paddedRows + first
    var count = 0
    for group in Swift.stride(from: 0, to: min(Self.blockRows, table.rows - first), by: Self.panelRows) {
      let bounds = UnsafeRawPointer(uppers + group).loadUnaligned(as: SIMD16<Float>.self)
      // Not "bound >= threshold": a bound that is not a number says nothing, so its row is computed.
      guard any(.!(bounds .< threshold)) else { continue }
      for place in group..<min(group + Self.panelRows, table.rows - first) where !(uppers[place] < threshold) {
        if let adjustment = choice.adjustment, !adjustment.allows(first + place) { continue }
        survivors[count] = Int32(first + place)
        count += 1
      }
    }
    return count
  }

  /// Computes the logits of survivors.
  private func rescore(_ places: [Int], _ hidden: Rows<Float>) {
    for (index, place) in places.enumerated() {
      // The rows lie anywhere in the table, so the next one is fetched during the work on one.
      let next = places[min(index + 1, places.count - 1)]
      kernels.head(
        table.row(Int(survivors[place])).baseAddress!, table.columns, 1, table.row(Int(survivors[next])).baseAddress!,
        hidden[place / paddedRows], table.columns, 1, logits + place, 1)
    }
  }

  /// Chooses token t among the rows that were computed; nil if others might change the choice.
  private func choose(_ t: Int, _ cut: ScreenedCut, _ choice: Choice) -> Outcome? {
    var ids: [Int32] = []
    var found: [Float] = []
    for block in 0..<blocks where counts[t * blocks + block] > 0 {
      let start = t * paddedRows + block * Self.blockRows
      let count = Int(counts[t * blocks + block])
      ids += UnsafeBufferPointer(start: survivors + start, count: count)
      found += UnsafeBufferPointer(start: logits + start, count: count)
    }
    choice.adjust(&found, ids: ids)
    let token = found.withUnsafeBufferPointer { logits in
      ids.withUnsafeBufferPointer { ids in
        if let unseen = cut.unseen {
          Sampler.choose(
            logits, ids: ids, parameters: choice.sampling, position: choice.position, unseen: unseen,
            kernels: kernels.sampler)
        } else {
          Sampler.choose(
            logits, ids: ids, parameters: choice.sampling, position: choice.position, kernels: kernels.sampler)
        }
      }
    }
    guard let token else { return nil }
    let coarseCount = isCoarse ? (0..<blocks).reduce(0) { $0 + Int(coarseCounts[t * blocks + $1]) } : nil
    return Outcome(token: token, candidates: ids.count, coarseCount: coarseCount)
  }

  /// The token that was chosen for the group's token t, after `screen` has returned on all members.
  func outcome(_ t: Int) -> Outcome { outcomes[t]! }

  private static let cutCount = Int(CTERNARY_CUTS)
}

extension CTernaryScreenNorms {
  /// The norms of the token when only the upper halves of its codes are multiplied: the lower halves become errors.
  package func withoutLowerHalf(_ lower: UnsafeBufferPointer<Int8>) -> CTernaryScreenNorms {
    let squares = lower.reduce(0) { $0 + Int64($1) * Int64($1) }
    // The margin covers the roundings of these three operations.
    let added = Double(step) * Double(squares).squareRoot() * (1 + 1e-6)
    return CTernaryScreenNorms(step: step, norm: norm, error: Float((Double(error) + added) * (1 + 1e-6)))
  }
}
