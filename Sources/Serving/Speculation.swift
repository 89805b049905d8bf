/// Whether a model runs guesses of the next tokens along with the last one, so that one step can give several tokens.
///
/// The guesses are what followed the same tokens earlier in the text. A guess is kept only if it is the token that the
/// step chooses at its position anyway, so speculation changes no text, only the time that it takes.
public struct Speculation: Hashable, Sendable {
  /// The most tokens of a guess; 0 for none; nil if measurements decide.
  package let draftLength: Int?

  /// Guesses where it pays, by the share of guesses that have come true and the time that steps take with them.
  public static let automatic = Speculation(draftLength: nil)
  /// Never guesses.
  public static let off = Speculation(draftLength: 0)
  /// Guesses up to this many tokens wherever there is something to guess from, for measurements.
  ///
  /// - Parameter count: 1 to 7; other numbers are moved into this range.
  public static func always(_ count: Int) -> Speculation {
    Speculation(draftLength: min(max(count, 1), longestDraft))
  }

  /// A step verifies at most 8 rows of a sequence.
  package static let longestDraft = 7
}

/// What speculation has done.
package struct SpeculationCounts: Sendable, Equatable {
  /// Guesses that steps have verified.
  package var drafts = 0
  /// Their tokens.
  package var drafted = 0
  /// Those of them that came true.
  package var accepted = 0
  /// How often the first, the second, … token of a guess came true.
  package var acceptedAt = [Int](repeating: 0, count: Speculation.longestDraft)

  package init() {}

  mutating func add(drafted: Int, accepted: Int) {
    drafts += 1
    self.drafted += drafted
    self.accepted += accepted
    for place in 0..<accepted { acceptedAt[place] += 1 }
  }

  mutating func add(_ other: Self) {
    drafts += other.drafts
    drafted += other.drafted
    accepted += other.accepted
    for (place, count) in other.acceptedAt.enumerated() { acceptedAt[place] += count }
  }
}

/// The times that decode steps took, by their number of rows.
struct StepTimes {
  private static let largest = 64
  /// The share of a step's time that another row costs until it is measured: optimistic, so that it will be.
  private static let slope = 0.08
  private var times = [Double?](repeating: nil, count: largest + 1)
  private var counts = [Int](repeating: 0, count: largest + 1)

  /// - Parameters:
  ///   - rows: 1 or more.
  ///   - seconds: above 0.
  mutating func add(rows: Int, seconds: Double) {
    guard rows <= Self.largest else { return }
    counts[rows] += 1
    // The first steps find cold caches. Later ones can be delayed by other processes, which says nothing about rows.
    guard let known = times[rows], counts[rows] > 3 else {
      times[rows] = min(times[rows] ?? seconds, seconds)
      return
    }
    times[rows] = known + (min(seconds, 2 * known) - known) / 8
  }

  /// The expected time of a step; nil before steps have been measured.
  func expected(rows: Int) -> Double? {
    if rows <= Self.largest, let time = times[rows] { return time }
    let below = (1..<max(2, min(rows, Self.largest + 1))).last { times[$0] != nil }
    let above = rows < Self.largest ? (rows + 1...Self.largest).first { times[$0] != nil } : nil
    switch (below, above) {
    case (let low?, let high?):
      let (first, last) = (times[low]!, times[high]!)
      return first + (last - first) * Double(rows - low) / Double(high - low)
    case (let low?, nil): return times[low]! * (1 + Self.slope * Double(rows - low))
    case (nil, let high?): return times[high]! / (1 + Self.slope * Double(high - rows))
    case (nil, nil): return nil
    }
  }
}

/// The share of guessed tokens that come true, by the length of the context that spoke for them.
struct Acceptance {
  private var shares = [0.4, 0.5, 0.6, 0.7]

  private static func place(_ match: Int) -> Int { match <= 2 ? 0 : match <= 4 ? 1 : match <= 8 ? 2 : 3 }

  subscript(match: Int) -> Double { shares[Self.place(match)] }

  /// - Parameter weight: how much one token counts, 0 to 1.
  mutating func add(match: Int, drafted: Int, accepted: Int, weight: Double) {
    let place = Self.place(match)
    for token in 0..<min(drafted, accepted + 1) {
      shares[place] += ((token < accepted ? 1 : 0) - shares[place]) * weight
    }
  }
}

/// Decides about the guesses for one sequence.
struct SequenceSpeculation {
  private var drafter: any SequenceDrafter
  private var acceptance: Acceptance
  private(set) var counts = SpeculationCounts()
  /// How many guesses have been left alone since the last one, and after how many one is tried all the same.
  private var leftAlone = 0
  private var patience = Self.shortestPatience
  private static let (shortestPatience, longestPatience) = (32, 1024)
  /// What a guess has to gain: measurements are not exact.
  private static let margin = 1.02

  init(_ drafter: any SequenceDrafter, _ acceptance: Acceptance) {
    self.drafter = drafter
    self.acceptance = acceptance
  }

  mutating func append(_ token: Int32) { drafter.append(token) }

  /// A step that guesses can join: the expected number of its tokens and of its rows.
  struct Step {
    var tokens: Double
    var rows: Int
  }

  /// The guess to verify in a step, which then has more rows; nil for none.
  ///
  /// - Parameters:
  ///   - length: the most tokens that are wanted.
  ///   - option: how the model speculates.
  mutating func draft(
    atMost length: Int, _ option: Speculation, _ times: StepTimes, joining step: inout Step
  ) -> Draft? {
    guard let draft = best(atMost: length, option, times, step) else { return nil }
    guard !draft.tokens.isEmpty else {
      leftAlone += 1
      return nil
    }
    if leftAlone >= patience { patience = min(2 * patience, Self.longestPatience) }
    leftAlone = 0
    step.tokens += gain(acceptance[draft.match], draft.tokens.count)
    step.rows += draft.tokens.count
    return draft
  }

  /// Whether there is a guess to verify in a step of the sequence and others.
  func hasDraft(atMost length: Int, _ option: Speculation, _ times: StepTimes, joining step: Step) -> Bool {
    best(atMost: length, option, times, step).map { !$0.tokens.isEmpty } ?? false
  }

  /// The expected number of tokens of a guess that come true.
  private func gain(_ share: Double, _ length: Int) -> Double {
    var (sum, power) = (0.0, 1.0)
    for _ in 0..<length {
      power *= share
      sum += power
    }
    return sum
  }

  /// The guess, cut to the length that pays best, which is 0 if none pays; nil if there is nothing to guess from.
  private func best(atMost limit: Int, _ option: Speculation, _ times: StepTimes, _ step: Step) -> Draft? {
    let limit = min(limit, option.draftLength ?? Speculation.longestDraft)
    guard limit > 0, var draft = drafter.draft(atMost: limit) else { return nil }
    guard option.draftLength == nil else { return draft }
    var best = (length: 0, rate: 0.0)
    if let alone = times.expected(rows: step.rows) {
      best.rate = step.tokens / alone * Self.margin
      for length in 1...draft.tokens.count {
        guard let time = times.expected(rows: step.rows + length) else { continue }
        let rate = (step.tokens + gain(acceptance[draft.match], length)) / time
        if rate > best.rate { best = (length, rate) }
      }
      if best.length == 0, leftAlone >= patience { best.length = 2 }
    }
    draft.tokens.removeLast(max(0, draft.tokens.count - best.length))
    return draft
  }

  /// Learns from a verified guess.
  mutating func learn(_ draft: Draft, accepted: Int) {
    counts.add(drafted: draft.tokens.count, accepted: accepted)
    acceptance.add(match: draft.match, drafted: draft.tokens.count, accepted: accepted, weight: 0.15)
    if accepted == draft.tokens.count { patience = Self.shortestPatience }
  }
}
