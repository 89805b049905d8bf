/// The values of sampling parameters that people and clients may write, in flags, in lines of a batch and in requests.
/// Some go beyond what `SamplingParameters` has, because clients of other servers send them.
package enum SamplingLimits {
  package static let temperature = 0.0...100
  /// -1 means all, as 0 does.
  package static let topK = -1...Int(Int32.max)
  package static let topP = 0.0...1
  package static let minP = 0.0...1
  package static let repetitionPenalty = 0.01...100
  package static let otherPenalty = -2.0...2
}

extension SamplingParameters {
  /// - Parameter written: within `SamplingLimits.temperature`; below 0.000001, it stands for 0.
  package mutating func setTemperature(_ written: Float) { temperature = written < 1e-6 ? 0 : written }

  /// - Parameter written: within `SamplingLimits.topK`.
  package mutating func setTopK(_ written: Int) { topK = max(0, written) }

  /// - Parameter written: within `SamplingLimits.topP`; 0 stands for the most likely token alone.
  package mutating func setTopP(_ written: Float) { topP = max(written, .leastNormalMagnitude) }
}
