import BitNetInference
import BitNetTernary

extension Checkpoint {
  /// The sizes of products, relative to a normalised input, that trained models have. Weight scales are the means of |w|
  /// or their reciprocals, and a file that means the other one than it says gives fluent nonsense.
  private static let plausibleGains = 0.01...100.0
  /// The share of weights that are not zero in published models is 0.5 to 0.7.
  private static let nonzeroShare = 0.6

  /// A sentence if the stored scales are implausible and their reciprocals are not.
  func scaleWarning() throws(ModelFileError) -> String? {
    var gains: [Double] = []
    var reciprocals: [Double] = []
    for layer in layers {
      for (role, norm) in [(MatrixRole.queryKeyValue, NormRole.attention), (.gateUp, .feedForward)] {
        let weights = try layer.norm(layer.norms[role.partNorms[0]] == nil ? norm : role.partNorms[0]).floats()
        let meanSquare = weights.reduce(0) { $0 + Double($1) * Double($1) } / Double(weights.count)
        let size = (meanSquare * Self.nonzeroShare * Double(weights.count)).squareRoot()
        for scale in layer.stacks[role.rawValue].parts.compactMap(\.storedScale) {
          gains.append(size * scale)
          reciprocals.append(size / scale)
        }
      }
    }
    guard !gains.isEmpty else { return nil }
    let (gain, reciprocal) = (gains.sorted()[gains.count / 2], reciprocals.sorted()[gains.count / 2])
    guard !Self.plausibleGains.contains(gain), Self.plausibleGains.contains(reciprocal) else { return nil }
    func rounded(_ value: Double) -> String { "\(Float((value * 100).rounded() / 100))" }
    return "\(name): the weight scales look inverted: projections multiply the size of their input by "
      + "\(rounded(gain)), and would by \(rounded(reciprocal)) with reciprocal scales; if texts are nonsense, check "
      + "linear_class in config.json, or convert the file again from its checkpoint"
  }
}
