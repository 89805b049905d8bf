import CBitNetTernary
import BitNetInference

extension CPUForwardPass {
  /// The final norm and the output head of the tokens that want something of it.
  func head(_ tokens: [Token], _ member: ThreadTeam.Member, _ results: Results) {
    let c = weights.configuration
    var full: [(token: Int, row: Int)] = []
    var screened: [(token: Int, index: Int, sampling: SamplingParameters)] = []
    for (t, token) in tokens.enumerated() {
      switch token.output {
      case .none: break
      case .logits(let row): full.append((t, row))
      case .candidates(let index, let sampling): screened.append((t, index, sampling))
      }
    }
    // Normalised rows lie side by side where q, k and v were: first those that want all logits.
    let normed = space.heads
    let wanted = full.map(\.token) + screened.map(\.token)
    member.phase(wanted.count) { place in
      // The last layer's products are added only here, where they are needed.
      addProduct(weights.layers[c.layerCount - 1][.down], wanted[place])
      weights.finalNorm.withUnsafeBufferPointer {
        kernels.normalize(
          space.residual + wanted[place] * c.hiddenSize, $0.baseAddress!, Float(c.normEpsilon), c.hiddenSize,
          normed + place * c.hiddenSize)
      }
    }
    if let firstRow = full.first?.row {
      // Rows of logits follow each other as their tokens do.
      member.phase(c.vocabularySize, unit: 16, perMember: Self.headPieces) { rows in
        kernels.head(
          weights.head.row(rows.lowerBound).baseAddress!, c.hiddenSize, rows.count, normed, c.hiddenSize, full.count,
          results.logits + firstRow * c.vocabularySize + rows.lowerBound, c.vocabularySize)
      }
    }
    guard let screen, let candidates = results.candidates else { return }
    for start in stride(from: 0, to: screened.count, by: ScreenedHead.groupLength) {
      let group = screened[start..<min(start + ScreenedHead.groupLength, screened.count)]
      screen.screen(
        member, normed: normed + (full.count + start) * c.hiddenSize, normedStride: c.hiddenSize, sampling: group.map(\.sampling),
        codes: space.codes, codeStride: space.codeStride, sums: space.sums)
      member.phase(group.count) { place in candidates[group[start + place].index] = screen.candidates(place) }
    }
  }

  private static let headPieces = 32

  /// The head from the start of the member's share on: of the copy, if there is one.
  func headShare(_ member: ThreadTeam.Member) -> UnsafeRawBufferPointer {
    if let screen { return screen.share(of: member) }
    let head = weights.head
    let row = member.shareStart(head.rows, unit: 16, perMember: Self.headPieces)
    return UnsafeRawBufferPointer(start: head.bytes.baseAddress + 2 * row * head.columns, count: 2 * (head.rows - row) * head.columns)
  }
}
