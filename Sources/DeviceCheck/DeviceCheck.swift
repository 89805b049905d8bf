package import BitNetCUDADriver
import BitNetCUDAEngine
package import BitNetInference
import BitNetRandomModels
import Synchronization

/// Checks a GPU before its first use, so that an untested GPU neither computes wrong tokens nor hangs: compares every
/// kernel with scalar code, and the engine in all its forms with another engine on small models.
///
/// A GPU that passes is remembered in the cache folder and not checked again with the same driver and kernels. A GPU
/// that fails is remembered only until the process ends, because the fault may be temporary.
package struct DeviceCheck: Sendable {
  package typealias MakeEngine = @Sendable (ModelWeights) throws -> any Engine

  private let device: CUDADevice
  private let folder: String?
  private let expected: MakeEngine

  /// A kernel of the check takes microseconds. Blocks that wait for each other in vain give up after about six seconds
  /// and report the place; this limit leaves time for that.
  private static let patience = Duration.seconds(15)
  /// A small model on an emulated GPU takes seconds, and longer when other programs use the CPU.
  private static let emulatedPatience = Duration.seconds(120)
  /// The driver compiles an image in one to a few seconds.
  private static let compilationPatience = Duration.seconds(120)
  /// The bytes that must be free on the GPU.
  private static let memory = 256_000_000
  private static let seed: UInt64 = 1

  /// The results in this process. The key holds everything that a result depends on.
  private static let results = Mutex<[String: Result<Void, CUDAError>]>([:])
  private static let threadsLeftBehind = Atomic(0)

  /// Whether a check was given up while a driver call waited for the GPU. At the end of the process the driver may wait
  /// for the GPU again, unless the process ends with `_exit`.
  package static var leftWorkBehind: Bool { threadsLeftBehind.load(ordering: .acquiring) > 0 }

  /// - Parameters:
  ///   - folder: the folder that remembers GPUs that passed; nil for none.
  ///   - expected: makes the engine whose results are taken to be right.
  package init(_ device: CUDADevice, folder: String? = Self.cacheFolder, expected: @escaping MakeEngine) {
    (self.device, self.folder, self.expected) = (device, folder, expected)
  }

  /// The folder "swift-bitnet" in the user's cache folder (`XDG_CACHE_HOME` or ~/.cache; ~/Library/Caches on macOS);
  /// nil if the environment names none.
  package static var cacheFolder: String? { DeviceCheckRecord.cacheFolder }

  /// Checks the GPU unless it has passed before. This takes about a second, plus some seconds the first time, in which
  /// the driver compiles the kernels. Concurrent calls in one process take turns.
  ///
  /// - Parameter willStart: called with the GPU's name before the kernels are compiled. It is not called for a GPU that
  ///   has passed before.
  /// - Throws: `CUDAError.untrusted` for a GPU that computes wrong numbers, fails or hangs. Errors that prevent its use
  ///   altogether, such as `.deviceTooOld` or `.outOfMemory`, are thrown unchanged.
  package func run(willStart: @escaping @Sendable (String) -> Void = { _ in }) throws(CUDAError) {
    let record = DeviceCheckRecord(device, folder: folder)
    let key = record.text + (folder ?? "")
    let result = Self.results.withLock { results in
      if let known = results[key] { return known }
      if record.isPassed { return .success(()) }
      let result = checked(willStart)
      switch result {
      case .success:
        record.save()
        results[key] = result
      case .failure(.untrusted): results[key] = result
      // Next time there may be more memory.
      case .failure: break
      }
      return result
    }
    try result.get()
  }

  private func checked(_ willStart: @escaping @Sendable (String) -> Void) -> Result<Void, CUDAError> {
    do {
      try WatchedWork.run(giveUp: {
        device.abandon()
        Self.threadsLeftBehind.add(1, ordering: .releasing)
      }) { try check($0, willStart) }
      return .success(())
    } catch let error as CUDAError {
      return .failure(error)
    } catch {
      return .failure(untrusted(error))
    }
  }

  private func untrusted(_ error: any Error) -> CUDAError {
    // Keep it one sentence: messages of the driver's compiler have several lines.
    .untrusted(
      device: device.name, ordinal: device.ordinal,
      reason: "\(error)".split(whereSeparator: \.isNewline).joined(separator: "; "))
  }

  /// - Throws: `CUDAError` when the GPU cannot be used, another error when it cannot be trusted.
  private func check(_ work: WatchedWork, _ willStart: (String) -> Void) throws {
    try work.begin("the start of the GPU", patience: Self.compilationPatience)
    let library = try KernelLibrary(CUDAContext(device))
    let free = try library.context.memory().free
    guard free >= Self.memory else { throw CUDAError.outOfMemory(requested: Self.memory, free: free) }
    willStart(device.name)
    do {
      let kernels = KernelCheckList.kernels + [.decodeOne, .decodeOneSmall, .decodeResident, .decodeFew]
      for kernel in kernels where kernel.capability <= device.computeCapability {
        try work.begin("the compilation of \(kernel.image)", patience: Self.compilationPatience)
        try library.function(kernel)
      }
      try checkKernels(work, library)
      try checkEngines(work, library)
    } catch let error as CUDAError {
      if case .outOfMemory = error { throw error }
      throw untrusted(error)
    }
  }

  private func checkKernels(_ work: WatchedWork, _ library: KernelLibrary) throws {
    var rest = KernelCheckList.kernels[...]
    func beginNext() throws {
      if let next = rest.popFirst() { try work.begin("the kernel \(next.rawValue)", patience: Self.patience) }
    }
    try beginNext()
    let shapes = device.isEmulated ? 1 : 2
    try KernelCheckList(shapes: shapes, isShort: true, seed: Self.seed).run(on: { KernelCheckDevice(library) }) {
      check in
      try Self.require(check)
      try beginNext()
    }
  }

  /// Checks the engine on models with a separate LM head, because models with a tied one mostly repeat their input:
  /// a small model of awkward widths, and two layers as large as those of BitNet b1.58 2B-4T, for which some kernels
  /// have separate code. The latter would take an emulated GPU minutes.
  private func checkEngines(_ work: WatchedWork, _ library: KernelLibrary) throws {
    var generator = SplitMix64(seed: Self.seed)
    var small = ModelConfiguration.random(using: &generator), large = ModelConfiguration.bitNet2B4T
    (small.layerCount, small.vocabularySize, small.tiedEmbedding) = (2, 300, false)
    (large.layerCount, large.vocabularySize, large.tiedEmbedding) = (2, 4096, false)
    try checkEngines(work, library, small, label: "a small model")
    if !device.isEmulated { try checkEngines(work, library, large, label: "two layers of 2B-4T's size") }
  }

  /// Compares the engine that launches a kernel per operation first, because it is simpler.
  private func checkEngines(_ work: WatchedWork, _ library: KernelLibrary, _ shape: ModelConfiguration, label: String)
    throws
  {
    try work.begin("making \(label)", patience: Self.patience)
    let weights = try ModelWeights(random: shape, seed: Self.seed)
    let patience = device.isEmulated ? Self.emulatedPatience : Self.patience
    for (isCooperative, screensHead) in [(false, true), (true, false)] {
      let form = CUDAEngineForm(isCooperative: isCooperative, screensHead: screensHead)
      let candidate = form.candidate { try CUDAEngine(weights: $0, library: library, options: $1) }
      let comparison = EngineComparison(
        expected: .init(name: "the CPU engine", make: expected), candidates: [candidate], seed: Self.seed)
      let step = "\(label) with \(candidate.name),"
      try work.begin(step, patience: patience)
      try comparison.model(weights, label: label, tokens: 6) { check in
        try Self.require(check)
        try work.begin(step, patience: patience)
      }
    }
  }

  /// The result of a failed check, as a sentence.
  private struct Failure: Error, CustomStringConvertible {
    let description: String
  }

  private static func require(_ check: EqualityCheck) throws {
    guard !check.isEqual else { return }
    let reason = check.error ?? check.first ?? "\(check.differing) of \(check.compared) numbers differ"
    // Sentences about kernels already begin with the kernel's name.
    throw Failure(description: check.candidate == nil ? reason : "\(check.name): \(reason)")
  }
}
