import CUDADriver
@_exported import CUDAOnCPU
import Foundation

/// A library like the driver's that runs kernels on the processor.
public struct StandIn: Sendable {
  public let libraryPath: String
  private let library: SharedLibrary

  /// - Parameter copy: names a copy of the library, which has variables of its own: suites with different copies do not disturb one another.
  ///   The library lies beside the test bundle. The bundle holds its code too, for the types of its header, but drivers come as libraries.
  public init(copy: String) throws {
    #if canImport(Darwin)
      let bundle = Bundle.allBundles.first { $0.bundlePath.hasSuffix(".xctest") }?.bundleURL ?? Bundle.main.bundleURL
      let name = "libCUDAOnCPU.dylib"
    #else
      let bundle = URL(filePath: CommandLine.arguments[0])
      let name = "libCUDAOnCPU.so"
    #endif
    let folder = bundle.deletingLastPathComponent()
    let (new, copy) = (folder.appending(path: "\(UUID().uuidString)-\(name)"), folder.appending(path: "\(copy)-\(name)"))
    try FileManager.default.copyItem(at: folder.appending(path: name), to: new)
    // Another run of the tests may be using the copy that was there: it keeps what it has opened.
    guard rename(new.path, copy.path) == 0 else { throw CocoaError(.fileWriteUnknown) }
    libraryPath = copy.path
    library = try SharedLibrary(libraryPath)
  }

  /// Starts the driver as a new process would find it. Nothing on the device may be in use any more.
  ///
  /// - Parameter change: what differs from the usual device.
  public func driver(_ change: (inout CUDAOnCPUConfiguration) -> Void = { _ in }) throws -> CUDADriver {
    let reset: @convention(c) () -> Void = try library.function("cuda_on_cpu_reset")
    let configure: @convention(c) (CUDAOnCPUConfiguration) -> Void = try library.function("cuda_on_cpu_configure")
    var configuration = cuda_on_cpu_default_configuration()
    change(&configuration)
    reset()
    configure(configuration)
    return try CUDADriver.load(library: libraryPath)
  }

  /// Starts the driver and uses its device.
  public func context(_ change: (inout CUDAOnCPUConfiguration) -> Void = { _ in }) throws -> CUDAContext {
    try CUDAContext(driver(change).device(0))
  }

  /// Shuffles the order in which threads run from now on; 0 for plain order.
  public func setSeed(_ seed: UInt64) throws {
    let set: @convention(c) (UInt64) -> Void = try library.function("cuda_on_cpu_set_seed")
    set(seed)
  }

  /// What has been done since the driver was started, or since the counters were last reset.
  public func counters() throws -> CUDAOnCPUCounters {
    let counters: @convention(c) () -> CUDAOnCPUCounters = try library.function("cuda_on_cpu_counters")
    return counters()
  }

  public func resetCounters() throws {
    let reset: @convention(c) () -> Void = try library.function("cuda_on_cpu_reset_counters")
    reset()
  }

  /// A kernel of the library's own.
  public func kernel(_ name: String, _ context: CUDAContext) throws -> CUDAFunction { try module(context).function(name) }

  /// The module of the library's own kernels.
  public func module(_ context: CUDAContext) throws -> CUDAModule {
    let ptx = cuda_on_cpu_selftest_ptx()
    return try CUDAModule(context, ptx: UnsafeRawBufferPointer(start: ptx, count: strlen(ptx) + 1), name: "selftest")
  }
}
