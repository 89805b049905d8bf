import BitNetInference
import BitNetTernary
import CBitNetTernary

/// A model with its buffers and its team of threads; runs steps, slice by slice, through `CPUForwardPass`.
final class CPUModel {
  /// Tokens that go through the layers together: enough to make reading the weights cheap, few enough that their
  /// activations stay in the second-level cache.
  static let sliceLength = 64

  /// A slice that multiplies fewer weight bytes than this is left to one thread. Below it, the fifty-odd barriers of a
  /// small model cost more than the second core brings, and much more on a busy machine (the demo model's token is 1.2
  /// MB).
  private static let smallWork = 8 << 20

  let team: ThreadTeam
  let layout: CachePage.Layout
  let screen: CPUScreenedHead?
  private(set) var weights: ModelWeights
  let kernels: TernaryKernels
  private(set) var space: Workspace
  /// Whether products are added to the residual stream as they are.
  let hasPlainBranches: Bool
  /// Whether stacked projections have norms of their own.
  let hasPartNorms: Bool
  private let isBidirectional: Bool
  let attention = AttentionPlan()
  private let copiedTiles: CopiedTiles?
  /// By the base of the rotary embedding, those of the layers with one of their own last.
  private let rotary: [CPURotaryTable]
  /// `[entries of the configuration's attention]`, of `rotary`.
  private let rotaryIndices: [Int]

  /// - Parameters:
  ///   - screensHead: nil to have the screened head where it saves time and fits.
  ///   - copiesTiles: nil to copy the tiles where that saves time; without room for the copy they are read in place.
  init(_ weights: ModelWeights, team: ThreadTeam, kernels: TernaryKernels, screensHead: Bool?, copiesTiles: Bool?)
    throws(EngineError)
  {
    self.weights = weights
    copiedTiles = copiesTiles ?? CopiedTiles.pay(for: weights) ? CopiedTiles(for: weights) : nil
    self.team = team
    self.kernels = kernels
    layout = CachePage.Layout(weights.configuration)
    let configuration = weights.configuration
    hasPlainBranches = !configuration.has(.postNorms) && !configuration.has(.residualScale)
    hasPartNorms = configuration.has(.projectionNorms)
    isBidirectional = configuration.isBidirectional
    let thetas = configuration.attention.map(\.ropeTheta)
    let distinct = thetas.reduce(into: [Double?]()) { if !$0.contains($1) { $0.append($1) } }
    rotary = distinct.map { CPURotaryTable(RotaryTable(weights.configuration, theta: $0)) }
    rotaryIndices = thetas.map { distinct.firstIndex(of: $0) ?? 0 }
    space = Workspace(weights, tokens: Self.sliceLength, threads: team.count)
    let head = weights.head
    if head.columns > CPUScreenedHead.longestRow || screensHead == false {
      screen = nil
    } else if screensHead == true {
      screen = try CPUScreenedHead(head, team: team, kernels: kernels)
    } else {
      // Without room for the copy the model runs all the same.
      screen =
        head.rows * head.columns >= CPUScreenedHead.worthwhile
        ? try? CPUScreenedHead(head, team: team, kernels: kernels) : nil
    }
  }

  var copiedByteCount: Int { copiedTiles?.byteCount ?? 0 }
  func finishCopying() { copiedTiles?.finish(&weights, team: team) }

  /// The results of a step besides the cache, filled in by the members of the team.
  struct Results {
    let plan: StepPlan
    /// `[outputs]`
    let rows: UnsafeMutableBufferPointer<RowResult>
    /// `[outputs]`, of those that are chosen from candidates.
    let outcomes: UnsafeMutableBufferPointer<CPUScreenedHead.Outcome>
  }

  /// The angles of a layer, valid until the next step.
  func angles(ofLayer index: Int) -> CPURotaryTable.Angles { rotary[rotaryIndices[index % rotaryIndices.count]].angles }

  /// Runs all rows of a plan, in order, and returns what is wanted of them.
  func run(_ plan: StepPlan) -> [RowResult] {
    copiedTiles?.advance(&weights, team: team)
    let end = (plan.rows.map(\.position).max() ?? -1) + 1
    for table in rotary { table.extend(to: end) }
    let wanted = plan.rows.map { row in row.output.map { output($0, of: plan) } ?? .none }
    var firstPages: [Int] = []
    var pages: [UnsafeMutablePointer<UInt16>] = []
    for entry in plan.entries {
      firstPages.append(pages.count)
      pages += entry.pages.lazy.map { unsafeDowncast($0, to: CachePage.self).base }
    }
    var outcomes = [CPUScreenedHead.Outcome](repeating: .init(), count: plan.outputs.count)
    var results = [RowResult](repeating: .values([]), count: plan.outputs.count)
    outcomes.withUnsafeMutableBufferPointer { outcomes in
      results.withUnsafeMutableBufferPointer { rows in
        let results = Results(plan: plan, rows: rows, outcomes: outcomes)
        pages.withUnsafeBufferPointer { pages in
          let tokens = plan.rows.indices.map { index in
            let row = plan.rows[index]
            let entry = plan.entries[row.entry]
            return CPUForwardPass.Token(
              id: Int(row.token), position: row.position,
              end: isBidirectional ? entry.start + entry.count : row.position + 1,
              pages: pages.baseAddress! + firstPages[row.entry], output: wanted[index])
          }
          for slice in plan.slices(of: Self.sliceLength, holdingWholeEntries: isBidirectional) {
            run(Array(tokens[slice]), results)
          }
        }
      }
    }
    for case .candidates(let index, let choice) in wanted {
      // What a mask leaves says nothing about the rows that survive without one.
      if choice.adjustment == nil { screen?.record(outcomes[index], choice.sampling) }
      results[index] = .token(SampledToken(token: outcomes[index].token))
    }
    return results
  }

  private func output(_ index: Int, of plan: StepPlan) -> CPUForwardPass.Token.Output {
    let output = plan.outputs[index]
    return switch output.want {
    // Where the screened head can serve and is likely to save time.
    case .token(let sampling, nil, let adjustment) where screen?.pays(sampling) == true:
      .candidates(
        index: index,
        .init(
          sampling, adjustment, history: plan.entries[output.entry].history.prefix(output.position),
          position: output.position))
    case .hidden: .whole(index: index, needsLogits: false)
    case .token, .surprise, .logits: .whole(index: index, needsLogits: true)
    }
  }

  private func run(_ slice: [CPUForwardPass.Token], _ results: Results) {
    if slice.count > space.tokens { space = Workspace(weights, tokens: slice.count, threads: team.count) }
    attention.prepare(for: slice, layout, threads: team.count)
    team.run(alone: slice.count * weights.tileByteCount < Self.smallWork) { member in
      CPUForwardPass(self, member, slice, results).forward()
    }
  }
}
