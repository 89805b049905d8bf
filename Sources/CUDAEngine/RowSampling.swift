package import BitNetInference
package import CBitNetCUDAKernels

extension RowSampling {
  package init(_ parameters: SamplingParameters) {
    self.init(
      temperature: parameters.temperature, topP: parameters.topP, topK: Int32(clamping: parameters.topK), unused: 0,
      leastWeight: max(1, UInt64((parameters.minP * 0x1p40).rounded(.up))), seed: parameters.seed)
  }
}

extension SamplingParameters {
  /// Whether the screened head needs fewer rows for such a token than the temperature's window has.
  var narrowsScreen: Bool { temperature > 0 && (topK > 0 || topP < 1) }
}
