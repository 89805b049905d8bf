import Testing

import BitNetCUDADriver

@Suite("Loading the driver")
struct LoadingTests {
  #if canImport(Darwin)
    private static let otherLibrary = "/usr/lib/libSystem.B.dylib"
  #elseif canImport(Musl)
    private static let otherLibrary = "libc.so"
  #else
    private static let otherLibrary = "libm.so.6"
  #endif

  @Test("A missing library is an error with its path and the loader's reason")
  func missingLibrary() {
    let error = #expect(throws: CUDAError.self) { _ = try CUDADriver.load(library: "libcuda-not-there.so.1") }
    guard case .driverMissing("libcuda-not-there.so.1", let reason) = error else {
      Issue.record("\(String(describing: error))")
      return
    }
    #expect(!reason.isEmpty && !reason.hasPrefix("libcuda-not-there.so.1:"))
  }

  @Test("A library other than the driver is refused, and the error names the first missing function")
  func otherLibrary() {
    #expect(throws: CUDAError.functionMissing("cuDriverGetVersion")) {
      _ = try CUDADriver.load(library: Self.otherLibrary)
    }
  }
}
