/// The result of a driver function.
package struct CUDAResult: Equatable, Sendable, CustomStringConvertible {
  /// The driver's number: 700.
  package let code: UInt32
  /// The driver's name for it: `CUDA_ERROR_ILLEGAL_ADDRESS`.
  package let name: String
  /// The driver's words for it: "an illegal memory access was encountered".
  package let text: String

  package init(code: UInt32, name: String, text: String) {
    self.code = code
    self.name = name
    self.text = text
  }

  package var description: String { "\(text) (\(name), \(code))" }
}

/// An error that prevents the use of a GPU, or work on it.
package enum CUDAError: Error, Equatable, CustomStringConvertible {
  /// The driver's library is not on this system.
  case driverMissing(library: String, reason: String)
  /// The library has not a function that every driver since R530 has: it is another library.
  case functionMissing(String)
  /// Both as `cuDriverGetVersion` counts: 12010 is 12.1.
  case driverTooOld(found: Int, needed: Int)
  /// The driver is installed, but there is no GPU, or none that this process may see.
  case noDevice
  case deviceOutOfRange(Int, count: Int)
  /// Compute capabilities, as in "7.5".
  case deviceTooOld(name: String, capability: String, needed: String)
  /// The GPU's memory is too small for an allocation. Bytes; `free` is nil when the driver does not say.
  case outOfMemory(requested: Int, free: Int?)
  /// The system gives no more page-locked memory. Bytes.
  case outOfHostMemory(requested: Int)
  /// A copy or fill beyond its buffer; nothing has been copied. Bytes.
  case outOfBounds(offset: Int, count: Int, size: Int)
  case parameter(name: String, found: String, expected: String)
  /// The driver does not take a module's PTX. `log` is the beginning of its compiler's message.
  case moduleRefused(name: String, result: CUDAResult, log: String)
  /// Blocks of a cooperative launch waited in vain for each other, or the launch did not end in time. `place` names the
  /// hand-over.
  case stalled(kernel: String, place: String)
  /// The GPU computed a wrong number, failed or hung when it was checked before its first use. `reason` has the
  /// details.
  case untrusted(device: String, ordinal: Int, reason: String)
  /// An earlier kernel on the GPU did not end, so that this process does not call it any more.
  case abandoned(device: String)
  /// Any other call that failed. `detail` has its arguments, where they help.
  case call(function: String, result: CUDAResult, detail: String)

  package var description: String {
    switch self {
    case .driverMissing(let library, let reason): "no NVIDIA driver: \(library) could not be opened (\(reason))"
    case .functionMissing(let name):
      "the CUDA driver library has no function \(name); expected an NVIDIA driver R530 or newer"
    case .driverTooOld(let found, let needed):
      "the NVIDIA driver is too old: it supports CUDA \(CUDADriver.versionName(found)); "
        + "expected \(CUDADriver.versionName(needed)) (R530) or newer"
    case .noDevice: "no NVIDIA GPU: the driver is installed but finds none"
    case .deviceOutOfRange(let ordinal, 1): "there is no GPU \(ordinal); expected 0, the only one"
    case .deviceOutOfRange(let ordinal, let count): "there is no GPU \(ordinal); expected 0 to \(count - 1)"
    case .deviceTooOld(let name, let capability, let needed):
      "\(name) is too old: its compute capability is \(capability); expected \(needed) or newer"
    case .outOfMemory(let requested, let free):
      "out of GPU memory: \(Self.size(requested)) asked for" + (free.map { ", \(Self.size($0)) free" } ?? "")
    case .outOfHostMemory(let requested): "out of page-locked memory: \(Self.size(requested)) asked for"
    case .outOfBounds(let offset, let count, let size):
      "\(count) bytes at offset \(offset) do not lie within a GPU buffer of \(size) bytes"
    case .parameter(let name, let found, let expected): "\(name) is \(found); expected \(expected)"
    case .moduleRefused(let name, let result, let log):
      "the driver does not take the GPU code \(name): \(result)" + (log.isEmpty ? "" : ": \(log)")
    case .stalled(let kernel, let place): "the GPU kernel \(kernel) stalled: \(place)"
    case .untrusted(let device, let ordinal, let reason):
      "\(device) failed the check before its first use (\(reason)); "
        + "run `bitnet verify --device cuda\(ordinal == 0 ? "" : ":\(ordinal)")` for details"
    case .abandoned(let device): "\(device) is out of use: a kernel on it did not end; expected a new process"
    case .call(let function, let result, let detail):
      "\(function)\(detail.isEmpty ? "" : " (\(detail))") failed: \(result)"
    }
  }

  /// A number of bytes in decimal units, with two places, rounded down.
  private static func size(_ bytes: Int) -> String {
    func places(_ unit: Int) -> String {
      let hundredths = String(bytes % unit / (unit / 100))
      return "\(bytes / unit).\(hundredths.count < 2 ? "0" : "")\(hundredths)"
    }
    return switch bytes {
    case 1_000_000_000...: "\(places(1_000_000_000)) GB"
    case 1_000_000...: "\(places(1_000_000)) MB"
    default: "\(bytes) bytes"
    }
  }
}
