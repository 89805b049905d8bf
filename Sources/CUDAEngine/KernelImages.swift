package import BitNetCUDADriver
import CBitNetCUDAKernels
import Synchronization

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// The kernels' PTX: built into the program, or from files that take its place, so that variants of a kernel can be
/// compared without building anything.
package enum KernelImages {
  private static let replacements = Mutex<[String: [UInt8]]>([:])
  private static let longest = 64 << 20

  /// Names of the images that are built in, such as "decode".
  package static var names: [String] { builtIn.map { String(cString: $0.name) } }

  private static var builtIn: UnsafeBufferPointer<KernelImage> {
    var count = 0
    return UnsafeBufferPointer(start: cuda_kernel_images(&count), count: count)
  }

  /// From now on, uses `folder/NAME.ptx` in place of each image NAME of which the folder has one, in the whole process.
  ///
  /// - Throws: `CUDAError.parameter` when the folder has none, or a file cannot be read.
  package static func replace(from folder: String) throws(CUDAError) {
    var found: [String: [UInt8]] = [:]
    for name in names {
      if let bytes = try read("\(folder)/\(name).ptx") { found[name] = bytes }
    }
    guard !found.isEmpty else {
      throw .parameter(
        name: "the kernel folder \(folder)", found: "without kernels",
        expected: "one or more of \(names.map { "\($0).ptx" }.joined(separator: ", "))")
    }
    replacements.withLock { $0 = found }
  }

  /// The bytes of a file and a NUL; nil if the file does not exist.
  private static func read(_ path: String) throws(CUDAError) -> [UInt8]? {
    guard let file = fopen(path, "rb") else {
      if errno == ENOENT { return nil }
      throw .parameter(name: path, found: "unreadable (\(String(cString: strerror(errno))))", expected: "a PTX file")
    }
    defer { fclose(file) }
    var bytes: [UInt8] = []
    var piece = [UInt8](repeating: 0, count: 1 << 16)
    while true {
      let count = fread(&piece, 1, piece.count, file)
      if count == 0 { break }
      bytes += piece[..<count]
      guard bytes.count <= longest else {
        throw .parameter(name: path, found: "longer than \(longest) bytes", expected: "a PTX file")
      }
    }
    // A folder of that name opens, but cannot be read.
    guard ferror(file) == 0 else {
      throw .parameter(name: path, found: "unreadable (\(String(cString: strerror(errno))))", expected: "a PTX file")
    }
    guard !bytes.isEmpty, !bytes.contains(0) else {
      throw .parameter(name: path, found: bytes.isEmpty ? "empty" : "not text", expected: "a PTX file")
    }
    return bytes + [0]
  }

  /// Calls `body` with an image's PTX, NUL included.
  package static func withImage<Result>(
    _ name: String, _ body: (UnsafeRawBufferPointer) throws(CUDAError) -> Result
  ) throws(CUDAError) -> Result {
    if let bytes = replacements.withLock({ $0[name] }) {
      return try bytes.withUnsafeBufferPointer { (bytes) throws(CUDAError) in try body(UnsafeRawBufferPointer(bytes)) }
    }
    guard let image = builtIn.first(where: { String(cString: $0.name) == name }) else {
      preconditionFailure("there is no kernel image called \(name)")
    }
    return try body(UnsafeRawBufferPointer(start: image.ptx, count: image.byteCount))
  }
}
