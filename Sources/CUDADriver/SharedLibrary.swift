#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// A library opened while the program runs. It is never closed: a driver keeps threads that run its code.
package struct SharedLibrary: @unchecked Sendable {
  // Unchecked: the handle is only ever read.
  private let handle: UnsafeMutableRawPointer

  /// - Parameter name: a path, or a name that the system's loader looks for.
  package init(_ name: String) throws(CUDAError) {
    guard let handle = dlopen(name, RTLD_NOW) else {
      var reason = dlerror().map { String(cString: $0) } ?? "unknown reason"
      // The loader's sentence usually begins with the name, which the error says already.
      if reason.hasPrefix("\(name): ") { reason.removeFirst(name.count + 2) }
      throw .driverMissing(library: name, reason: reason)
    }
    self.handle = handle
  }

  /// The address of a function of the library.
  ///
  /// - Parameter Function: its `@convention(c)` type, which nothing can check.
  package func function<Function>(_ name: String) throws(CUDAError) -> Function {
    guard let address = dlsym(handle, name) else { throw .functionMissing(name) }
    return unsafeBitCast(address, to: Function.self)
  }

  /// Whether the library, or one that it needs, exports a function.
  func hasFunction(_ name: String) -> Bool { dlsym(handle, name) != nil }
}
