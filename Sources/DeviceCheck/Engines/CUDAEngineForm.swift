import BitNetCUDADriver
package import BitNetCUDAEngine
package import BitNetInference

/// A form of the engine on a GPU. All forms give the same results.
package struct CUDAEngineForm: Sendable {
  package let isCooperative: Bool
  package let screensHead: Bool

  package init(isCooperative: Bool, screensHead: Bool) {
    self.isCooperative = isCooperative
    self.screensHead = screensHead
  }

  /// The engine as a candidate for a comparison, made by `make` with the form's options.
  package func candidate(_ make: @escaping (ModelWeights, CUDAEngine.Options) throws -> any Engine)
    -> EngineComparison.Candidate
  {
    let options = CUDAEngine.Options(screensHead: screensHead, isCooperative: isCooperative)
    return .init(name: name) { try make($0, options) }
  }

  private var name: String {
    (isCooperative ? "one cooperative kernel" : "a kernel an operation")
      + (screensHead ? ", screened head" : ", full head")
  }
}
