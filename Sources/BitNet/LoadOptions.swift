import BitNetCPUEngine
import BitNetCUDADriver
import BitNetCUDAEngine
import BitNetDeviceCheck
package import BitNetInference
public import BitNetServing
package import BitNetTernary

extension LanguageModel {
  /// How to load a model.
  public struct LoadOptions: Sendable {
    /// What the model runs on. The tokens are the same everywhere.
    public var device: Device
    /// Positions that a sequence can hold, 1 or more; nil takes the model's own context length.
    public var contextLength: Int?
    /// Whether to keep an int8 copy of the LM head that rules out most of the vocabulary, so that decoding reads less
    /// memory. Results are the same. nil keeps one where it pays and fits.
    public var screensHead: Bool?
    /// Bytes for the keys and values of all sequences, and of earlier ones whose beginnings later ones may share: 0 or
    /// more. One whole context always has room. nil takes a quarter of the process's memory on the CPU, and nine
    /// tenths of the free memory on a GPU.
    public var cacheBytes: Int?
    /// Whether guesses of the next tokens run along with the last one. Texts are the same.
    public var speculation = Speculation.automatic
    /// Whether the weights are hashed even if the model's digest is stated or remembered.
    package var computesDigest = false
    /// Whether the CPU engine keeps keys and values for later sequences with the same beginning.
    package var sharesCache = true
    /// The block length of I2_S in a GGUF file, which files do not record.
    package var i2sBlock = TilePacker.I2SBlock.x86
    /// How many generations run and wait at a time. `speculation` takes the place of its speculation.
    package var policy = Scheduler.Policy()

    /// Makes options; see the properties.
    public init(
      device: Device = .automatic(), contextLength: Int? = nil, screensHead: Bool? = nil, cacheBytes: Int? = nil
    ) {
      self.device = device
      self.contextLength = contextLength
      self.screensHead = screensHead
      self.cacheBytes = cacheBytes
    }
  }
}

extension LanguageModel.LoadOptions {
  /// The engine that these options ask for, and why it is not on a GPU if that was left open.
  ///
  /// - Throws: `CUDAError` when the GPU that was asked for cannot be used; `EngineError` for an option out of range.
  package func makeEngine(for weights: ModelWeights) throws -> (engine: any Engine, fallbackReason: String?) {
    switch device.kind {
    case .cpu(let options): return (try cpuEngine(weights, options), nil)
    case .cuda(let number, let options): return (try cudaEngine(weights, number, options), nil)
    case .automatic(let cpu, let cuda):
      do {
        return (try cudaEngine(weights, 0, cuda), nil)
      } catch CUDAError.driverMissing {
        return (try cpuEngine(weights, cpu), "no NVIDIA driver")
      } catch {
        return (try cpuEngine(weights, cpu), "\(error)")
      }
    }
  }

  private func cpuEngine(_ weights: ModelWeights, _ options: LanguageModel.CPUOptions) throws -> CPUEngine {
    try CPUEngine(
      weights: weights, contextLength: contextLength, threads: options.threads,
      instructionSet: options.instructionSet, screensHead: screensHead, copiesTiles: options.copiesWeights,
      cacheBytes: cacheBytes, sharesPages: sharesCache)
  }

  private func cudaEngine(
    _ weights: ModelWeights, _ number: Int, _ options: LanguageModel.CUDAOptions
  ) throws -> CUDAEngine {
    let device = try CUDADriver.load().device(number)
    if options.checksDevice {
      try DeviceCheck(device) { try CPUEngine(weights: $0) }.run { options.checkWillStart?($0) }
    }
    return try CUDAEngine(
      weights: weights, device: device,
      options: .init(
        contextLength: contextLength, screensHead: screensHead, isCooperative: options.usesCooperativeKernel,
        cacheBytes: cacheBytes, sharesPages: sharesCache))
  }
}
