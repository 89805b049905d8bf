package import BitNetCUDADriver
import BitNetCUDAEngine

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// Remembers that a GPU has passed its check, in a file for each GPU, driver and build of the kernels.
///
/// A folder or file that cannot be read or written is not an error; the check is then repeated.
package struct DeviceCheckRecord {
  /// Everything that the result depends on. This is also the contents of the file.
  package let text: String
  private let folder: String?
  private static let longest = 4096

  package init(_ device: CUDADevice, folder: String?) {
    self.folder = folder
    text = """
      This GPU computes what the CPU does; swift-bitnet checks it again when a line differs.
      name: \(device.name)
      compute capability: \(device.capability.major).\(device.capability.minor)
      identifier: \(device.identifier)
      driver: \(CUDADriver.versionName(device.driverVersion)) \(Self.driverBuild)
      kernels: \(hexadecimal(KernelImages.fingerprint))

      """
  }

  /// The user's cache folder; nil if the environment names none.
  static var cacheFolder: String? {
    func variable(_ name: String) -> String? {
      // The XDG specification ignores relative paths.
      getenv(name).map { String(cString: $0) }.flatMap { $0.hasPrefix("/") ? $0 : nil }
    }
    #if canImport(Darwin)
      return variable("HOME").map { "\($0)/Library/Caches/swift-bitnet" }
    #else
      return (variable("XDG_CACHE_HOME") ?? variable("HOME").map { "\($0)/.cache" }).map { "\($0)/swift-bitnet" }
    #endif
  }

  /// The version of the kernel module, which changes more often than the CUDA version that it supports; empty if
  /// unknown.
  private static var driverBuild: String {
    let text = read("/proc/driver/nvidia/version") ?? ""
    return text.split(separator: "\n").first.map { $0.split(whereSeparator: \.isWhitespace).joined(separator: " ") }
      ?? ""
  }

  private var path: String? { folder.map { "\($0)/gpu-\(hexadecimal(fnv(text.utf8))).txt" } }

  package var isPassed: Bool { path.flatMap(Self.read) == text }

  package func save() {
    guard let folder, let path else { return }
    var parent = ""
    for name in folder.split(separator: "/") {
      parent += "/" + name
      mkdir(parent, 0o700)
    }
    // Rename the file when it is complete, so that another process reads all of it or nothing.
    let draft = "\(path).\(getpid())"
    guard let file = fopen(draft, "w") else { return }
    let isWritten = fputs(text, file) >= 0
    if fclose(file) != 0 || !isWritten || rename(draft, path) != 0 { unlink(draft) }
  }

  private static func read(_ path: String) -> String? {
    guard let file = fopen(path, "r") else { return nil }
    defer { fclose(file) }
    var bytes = [UInt8](repeating: 0, count: longest)
    let count = fread(&bytes, 1, longest, file)
    return String(decoding: bytes[..<count], as: UTF8.self)
  }
}

extension KernelImages {
  /// A hash that changes with any byte of the kernels in use.
  static var fingerprint: UInt64 {
    var all: UInt64 = 0
    for name in names {
      // Images in use can be read, so nothing is thrown here.
      try? withImage(name) { image in all = fnv(image, after: all) }
    }
    return all
  }
}

/// The FNV-1a hash of bytes.
///
/// - Parameter after: the hash of the preceding bytes; 0 for none.
private func fnv(_ bytes: some Sequence<UInt8>, after: UInt64 = 0) -> UInt64 {
  bytes.reduce(after ^ 0xCBF2_9CE4_8422_2325) { ($0 ^ UInt64($1)) &* 0x100_0000_01B3 }
}

private func hexadecimal(_ value: UInt64) -> String { KernelComparison.hexadecimal(value, digits: 16) }
