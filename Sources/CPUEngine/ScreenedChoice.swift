import BitNetInference

extension CPUScreenedHead {
  /// How a token is going to be chosen.
  struct Choice {
    /// Without the repetition penalty.
    let sampling: SamplingParameters
    let adjustment: RowAdjustment?
    /// The repetition penalty, and the tokens that it applies to, ascending.
    let penalty: Float
    let penalized: [Int32]
    /// The position that the token will have.
    let position: Int

    init(_ sampling: SamplingParameters, _ adjustment: RowAdjustment?, history: ArraySlice<Int32>, position: Int) {
      (self.adjustment, self.position) = (adjustment, position)
      penalty = sampling.repetitionPenalty
      penalized = penalty == 1 ? [] : Set(history).sorted()
      var sampling = sampling
      sampling.repetitionPenalty = 1
      self.sampling = sampling
    }

    /// Whether the logits of all tokens are what the head computes.
    var keepsLogits: Bool { adjustment == nil && penalized.isEmpty }

    /// The penalised tokens of a range.
    func penalized(in rows: Range<Int>) -> ArraySlice<Int32> {
      func place(_ token: Int) -> Int {
        var (low, high) = (0, penalized.count)
        while low < high {
          let middle = (low + high) / 2
          if Int(penalized[middle]) < token { low = middle + 1 } else { high = middle }
        }
        return low
      }
      return penalized[place(rows.lowerBound)..<place(rows.upperBound)]
    }

    /// Changes the logits of some tokens before one is chosen.
    ///
    /// - Parameter ids: ascending, one for each logit.
    func adjust(_ logits: inout [Float], ids: [Int32]) {
      adjustment?.addBiases(to: &logits, ids: ids)
      var place = 0
      for token in penalized {
        while place < ids.count, ids[place] < token { place += 1 }
        guard place < ids.count else { return }
        if ids[place] == token { logits[place] = Sampler.penalized(logits[place], by: penalty) }
      }
    }
  }
}
