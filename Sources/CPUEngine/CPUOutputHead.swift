import BitNetTernary
import CBitNetTernary
import BitNetInference

extension CPUForwardPass {
  /// The final norm and the output head of the tokens that want something of it.
  func head(_ tokens: [Token], _ member: ThreadTeam.Member, _ results: Results) {
    let c = weights.configuration
    var hidden: [(token: Int, index: Int)] = []
    var full: [(token: Int, index: Int)] = []
    var screened: [(token: Int, index: Int, sampling: SamplingParameters)] = []
    for (t, token) in tokens.enumerated() {
      switch token.output {
      case .none: break
      case .whole(let index, let needsLogits):
        if needsLogits { full.append((t, index)) } else { hidden.append((t, index)) }
      case .candidates(let index, let sampling): screened.append((t, index, sampling))
      }
    }
    // Normalised rows are side by side where q, k and v were: first those that want all logits.
    let normed = space.heads
    let wanted = full.map(\.token) + screened.map(\.token) + hidden.map(\.token)
    member.phase(wanted.count) { place in
      // The last layer's products are added only here, where they are needed.
      addProduct(weights.layers[c.layerCount - 1][.down], wanted[place])
      weights.finalNorm.withUnsafeBufferPointer {
        kernels.normalize(
          space.residual + wanted[place] * c.hiddenSize, $0.baseAddress!, Float(c.normEpsilon), c.hiddenSize,
          normed + place * c.hiddenSize)
      }
    }
    for (place, row) in hidden.enumerated() where member.index == 0 {
      let start = normed + (full.count + screened.count + place) * c.hiddenSize
      results.rows[row.index] = .values(Array(UnsafeBufferPointer(start: start, count: c.hiddenSize)))
    }
    // A few rows at a time: the logits of all of them may take more memory than the model.
    for start in stride(from: 0, to: full.count, by: Workspace.logitRows) {
      let group = full[start..<min(start + Workspace.logitRows, full.count)]
      member.phase(c.vocabularySize, unit: 16, perMember: Self.headPieces) { rows in
        kernels.head(
          weights.head.row(rows.lowerBound).baseAddress!, c.hiddenSize, rows.count, normed + start * c.hiddenSize,
          c.hiddenSize,
          group.count, space.logits + rows.lowerBound, c.vocabularySize)
      }
      member.phase(group.count) { place in
        let index = group[start + place].index
        let logits = UnsafeBufferPointer(start: space.logits + place * c.vocabularySize, count: c.vocabularySize)
        results.rows[index] = results.plan.result(results.plan.outputs[index], logits: logits)
      }
    }
    guard let screen else { return }
    for start in stride(from: 0, to: screened.count, by: ScreenedHead.groupLength) {
      let group = screened[start..<min(start + ScreenedHead.groupLength, screened.count)]
      screen.screen(
        member, normed: normed + (full.count + start) * c.hiddenSize, normedStride: c.hiddenSize,
        sampling: group.map(\.sampling),
        codes: space.codes, codeStride: space.codeStride, sums: space.sums)
      member.phase(group.count) { place in results.candidates[group[start + place].index] = screen.candidates(place) }
    }
  }

  private static let headPieces = 32

  /// The head from the start of the member's share on: of the copy, if there is one.
  func headShare(_ member: ThreadTeam.Member) -> UnsafeRawBufferPointer {
    if let screen { return screen.share(of: member) }
    let head = weights.head
    let row = member.shareStart(head.rows, unit: 16, perMember: Self.headPieces)
    return UnsafeRawBufferPointer(
      start: head.bytes.baseAddress + 2 * row * head.columns, count: 2 * (head.rows - row) * head.columns)
  }
}
