package import BitNetCUDADriver
@_exported import CUDAOnCPU
import Foundation
import TestSupport

/// A stand-in for the driver's library that runs kernels on the CPU.
package struct StandIn: Sendable {
  package let libraryPath: String
  private let library: SharedLibrary

  /// - Parameter copy: The name of a copy of the library. Each has its own variables, so that suites with different
  ///   copies do not interfere.
  package init(copy: String) throws {
    let copy = StandInDriver.products.appending(path: "\(copy)-libCUDAOnCPU.so")
    try StandInDriver.link(to: copy)
    libraryPath = copy.path
    library = try SharedLibrary(libraryPath)
  }

  /// Starts the driver in the state that a new process finds. Nothing on the device may still be in use.
  ///
  /// - Parameter change: Changes the configuration of the default device.
  package func driver(_ change: (inout CUDAOnCPUConfiguration) -> Void = { _ in }) throws -> CUDADriver {
    let reset: @convention(c) () -> Void = try library.function("cuda_on_cpu_reset")
    let configure: @convention(c) (CUDAOnCPUConfiguration) -> Void = try library.function("cuda_on_cpu_configure")
    var configuration = cuda_on_cpu_default_configuration()
    change(&configuration)
    reset()
    configure(configuration)
    return try CUDADriver.load(library: libraryPath)
  }

  /// Starts the driver and uses its device.
  package func context(_ change: (inout CUDAOnCPUConfiguration) -> Void = { _ in }) throws -> CUDAContext {
    try CUDAContext(driver(change).device(0))
  }

  /// Shuffles the order in which threads run from now on; 0 restores plain order.
  package func setSeed(_ seed: UInt64) throws {
    let set: @convention(c) (UInt64) -> Void = try library.function("cuda_on_cpu_set_seed")
    set(seed)
  }

  /// Returns the counters since the driver was started or the counters were last reset.
  package func counters() throws -> CUDAOnCPUCounters {
    let counters: @convention(c) () -> CUDAOnCPUCounters = try library.function("cuda_on_cpu_counters")
    return counters()
  }

  package func resetCounters() throws {
    let reset: @convention(c) () -> Void = try library.function("cuda_on_cpu_reset_counters")
    reset()
  }

  /// Returns one of the library's own kernels.
  package func kernel(_ name: String, _ context: CUDAContext) throws -> CUDAFunction {
    try module(context).function(name)
  }

  /// Loads the module of the library's own kernels.
  package func module(_ context: CUDAContext) throws -> CUDAModule {
    let ptx = cuda_on_cpu_selftest_ptx()
    return try CUDAModule(context, ptx: UnsafeRawBufferPointer(start: ptx, count: strlen(ptx) + 1), name: "selftest")
  }
}
