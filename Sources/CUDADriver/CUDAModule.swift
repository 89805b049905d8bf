/// Compiled code on the GPU.
package final class CUDAModule {
  package let context: CUDAContext
  package let name: String
  let handle: CUmodule?

  private enum JITOption {
    static let errorLogBuffer: UInt32 = 5
    static let errorLogBufferSize: UInt32 = 6
  }

  /// Compiles PTX for the context's device.
  ///
  /// - Parameters:
  ///   - ptx: the text, whose last byte is 0.
  ///   - name: its name in errors.
  /// - Throws: `CUDAError.moduleRefused` with the beginning of the compiler's log.
  package init(_ context: CUDAContext, ptx: UnsafeRawBufferPointer, name: String) throws(CUDAError) {
    guard ptx.last == 0 else {
      throw .parameter(
        name: "the last byte of the PTX \(name)", found: ptx.last.map { "\($0)" } ?? "missing", expected: "0")
    }
    var handle: CUmodule?
    var log = [UInt8](repeating: 0, count: 8192)
    let result = try context.result { functions in
      log.withUnsafeMutableBytes { log in
        // The driver takes the size as a pointer's value.
        var options = [JITOption.errorLogBuffer, JITOption.errorLogBufferSize]
        var values = [log.baseAddress, UnsafeMutableRawPointer(bitPattern: log.count)]
        return functions.cuModuleLoadDataEx(&handle, ptx.baseAddress, UInt32(options.count), &options, &values)
      }
    }
    guard result == ResultCode.success else {
      throw .moduleRefused(
        name: name, result: context.device.driver.functions.describe(result), log: Self.firstLines(log))
    }
    self.context = context
    self.name = name
    self.handle = handle
  }

  deinit { context.release { $0.cuModuleUnload(handle) } }

  /// A kernel of the module.
  ///
  /// - Throws: `CUDAError.call` when there is none of that name.
  package func function(_ name: String) throws(CUDAError) -> CUDAFunction { try CUDAFunction(self, name: name) }

  /// The first three lines of a log that ends with a zero, as one.
  private static func firstLines(_ log: [UInt8]) -> String {
    let lines = String(decoding: log.prefix { $0 != 0 }, as: UTF8.self).split(whereSeparator: \.isNewline)
    return lines.prefix(3).joined(separator: "; ")
  }
}
