import BitNetInference
import BitNetTernary
import CBitNetTernary

/// The tokens of a slice after which something is wanted, by what is computed for them. `index`: the place among the
/// plan's outputs.
struct SliceOutputs {
  private(set) var full: [(token: Int, index: Int)] = []
  private(set) var screened: [(token: Int, index: Int, choice: CPUScreenedHead.Choice)] = []
  private(set) var hidden: [(token: Int, index: Int)] = []

  init(_ tokens: [CPUForwardPass.Token]) {
    for (t, token) in tokens.enumerated() {
      switch token.output {
      case .none: break
      case .whole(let index, let needsLogits):
        if needsLogits { full.append((t, index)) } else { hidden.append((t, index)) }
      case .candidates(let index, let choice): screened.append((t, index, choice))
      }
    }
  }

  /// All of them, in the order of their normalised rows.
  var tokens: [Int] { full.map(\.token) + screened.map(\.token) + hidden.map(\.token) }
}

extension CPUForwardPass {
  /// The final norm of some rows, which are put side by side where q, k and v were.
  func normalize(_ x: inout Activations, rows: [Int]) -> Rows<Float> {
    let width = x.width
    let hidden = Rows(base: space.heads.base, stride: width)
    member.phase(rows.count) { row in
      weights.finalNorm.withUnsafeBufferPointer {
        kernels.normalize(
          complete(x, row: rows[row]), $0.baseAddress!, Float(configuration.normEpsilon), width, hidden[row])
      }
    }
    x.pending = .nothing
    return hidden
  }

  /// Scales the hidden states from which logits are computed.
  func scaleHidden(_ hidden: Rows<Float>, _ outputs: SliceOutputs) {
    let scale = Float(configuration.outputScale)
    guard scale != 1 else { return }
    member.phase(outputs.full.count + outputs.screened.count) { row in
      for i in 0..<hidden.stride { hidden[row][i] *= scale }
    }
  }

  /// The hidden states that are wanted themselves.
  func deliverHiddenStates(_ hidden: Rows<Float>, _ outputs: SliceOutputs) {
    guard member.index == 0 else { return }
    let first = outputs.full.count + outputs.screened.count
    for (row, output) in outputs.hidden.enumerated() {
      results.rows[output.index] = .values(Array(UnsafeBufferPointer(start: hidden[first + row], count: hidden.stride)))
    }
  }

  /// The results that need all logits.
  func deliverLogits(_ hidden: Rows<Float>, _ outputs: SliceOutputs) {
    let (width, vocabulary) = (hidden.stride, configuration.vocabularySize)
    // A few rows at a time: the logits of all of them may take more memory than the model.
    for start in stride(from: 0, to: outputs.full.count, by: space.logitRows) {
      let group = outputs.full[start..<min(start + space.logitRows, outputs.full.count)]
      let logits = space.logits
      member.phase(vocabulary, unit: 16, perMember: headPieces) { rows in
        let first = weights.head.row(rows.lowerBound).baseAddress!
        kernels.head(
          first, width, rows.count, first + rows.count * width, hidden[start], width, group.count,
          logits.base + rows.lowerBound, logits.stride)
      }
      member.phase(group.count) { row in
        let index = group[start + row].index
        results.rows[index] = results.plan.result(
          results.plan.outputs[index], logits: UnsafeBufferPointer(start: logits[row], count: vocabulary),
          kernels: kernels.sampler)
      }
    }
  }

  /// The tokens that are chosen from candidates.
  func deliverCandidates(_ hidden: Rows<Float>, _ outputs: SliceOutputs) {
    guard let screen = model.screen else { return }
    let (first, screened) = (outputs.full.count, outputs.screened)
    for start in stride(from: 0, to: screened.count, by: CPUScreenedHead.groupLength) {
      let group = screened[start..<min(start + CPUScreenedHead.groupLength, screened.count)]
      screen.screen(
        member, hidden: Rows(base: hidden[first + start], stride: hidden.stride), choices: group.map(\.choice),
        codes: space.codes, sums: space.sums)
      member.phase(group.count) { row in results.outcomes[group[start + row].index] = screen.outcome(row) }
    }
  }

  /// Pieces of the head for each member. Each piece of short rows turns the vectors of all tokens, so these are fewer.
  private var headPieces: Int { weights.head.columns <= Int(CTERNARY_TURNED_COLUMNS) ? 16 : 32 }

  /// The head from the start of the member's share on: of the int8 copy, if there is one.
  var headShare: UnsafeRawBufferPointer {
    if let screen = model.screen { return screen.share(of: member) }
    let head = weights.head
    let row = member.shareStart(head.rows, unit: 16, perMember: headPieces)
    return UnsafeRawBufferPointer(
      start: head.bytes.baseAddress + 2 * row * head.columns, count: 2 * (head.rows - row) * head.columns)
  }
}
