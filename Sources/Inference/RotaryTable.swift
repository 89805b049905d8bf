/// Cosines and sines of the rotary position embedding, for positions from 0 on.
///
/// Dimensions i and i + headSize/2 of a head form a pair that turns by position · frequency(i), frequency(i) =
/// theta^(-2i/headSize). Frequencies and angles are single precision, as in the models' reference implementations (an
/// angle at position 4000 is only good to about 1e-4, and models are trained with that); their cosines and sines are
/// taken in Double, once, on the host.
package struct RotaryTable: Sendable {
  /// Half the head size: values per position.
  package let pairs: Int
  /// Positions that the table covers.
  package private(set) var positions = 0
  /// `[positions][pairs]`.
  package private(set) var cosines: [Double] = []
  package private(set) var sines: [Double] = []
  private let frequencies: [Float]
  /// The factor of cosines and sines.
  private let amplitude: Double

  /// - Parameter theta: the base in layers that have one of their own, which is not scaled; nil for the model's.
  package init(_ configuration: ModelConfiguration, theta: Double? = nil) {
    pairs = configuration.headSize / 2
    var own = configuration
    if let theta { (own.ropeTheta, own.ropeScaling, own.yarnScaling) = (theta, nil, nil) }
    frequencies = Self.frequencies(own)
    amplitude = own.yarnScaling?.attentionFactor ?? 1
  }

  /// Makes the table cover at least `count` positions.
  package mutating func extend(to count: Int) {
    guard count > positions else { return }
    cosines.reserveCapacity(count * pairs)
    sines.reserveCapacity(count * pairs)
    for position in positions..<count {
      for frequency in frequencies {
        let angle = Double(Float(position) * frequency)
        cosines.append(cosine(angle) * amplitude)
        sines.append(sine(angle) * amplitude)
      }
    }
    positions = count
  }

  /// theta^(-2i/headSize) for each pair, scaled as Llama 3.1 or YaRN do if the model asks for it; single precision in
  /// every step.
  package static func frequencies(_ configuration: ModelConfiguration) -> [Float] {
    let powers = (0..<configuration.headSize / 2).map { pair in
      singlePrecisionPower(Float(configuration.ropeTheta), Float(2 * pair) / Float(configuration.headSize))
    }
    if let scaling = configuration.yarnScaling { return stretched(powers, by: scaling, of: configuration) }
    let plain = powers.map { 1 / $0 }
    guard let scaling = configuration.ropeScaling else { return plain }
    let original = Double(scaling.originalContextLength)
    let longest = Float(original / scaling.lowFrequencyFactor)
    let shortest = Float(original / scaling.highFrequencyFactor)
    let low = Float(scaling.lowFrequencyFactor)
    let width = Float(scaling.highFrequencyFactor - scaling.lowFrequencyFactor)
    let factor = Float(scaling.factor)
    return plain.map { frequency in
      let wavelength = Float(2 * Double.pi) / frequency
      if wavelength > longest { return frequency / factor }
      if wavelength >= shortest {
        let blend = (Float(original) / wavelength - low) / width
        return (1 - blend) * frequency / factor + blend * frequency
      }
      return frequency
    }
  }

  /// The frequencies of YaRN.
  ///
  /// - Parameter powers: theta^(2i/headSize) for each pair.
  private static func stretched(
    _ powers: [Float], by scaling: ModelConfiguration.YarnScaling, of configuration: ModelConfiguration
  ) -> [Float] {
    /// The pair, not necessarily whole, that turns so often within the original context.
    func pair(rotations: Double) -> Double {
      Double(configuration.headSize)
        * naturalLogarithm(Double(scaling.originalContextLength) / (rotations * 2 * Double.pi))
        / (2 * naturalLogarithm(configuration.ropeTheta))
    }
    var first = pair(rotations: scaling.fastRotations)
    var last = pair(rotations: scaling.slowRotations)
    if scaling.truncates { (first, last) = (first.rounded(.down), last.rounded(.up)) }
    first = max(first, 0)
    last = min(last, Double(configuration.headSize - 1))
    if first == last { last += 0.001 }
    let (start, width, factor) = (Float(first), Float(last - first), Float(scaling.factor))
    return powers.enumerated().map { pair, power in
      let kept = 1 - min(max((Float(pair) - start) / width, 0), 1)
      return 1 / (factor * power) * (1 - kept) + 1 / power * kept
    }
  }
}
