import BitNetCUDADriver
import CUDATestSupport
import Testing

/// Tests that use the stand-in for the driver, one after another, because each sets up the only device again.
@Suite("The driver's wrapper", .serialized)
enum StandInTests {
  static let standIn = Result { try StandIn(copy: "driver-tests") }
}

extension CUDABuffer {
  /// Returns all bytes of the buffer.
  func contents() throws -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: byteCount)
    try bytes.withUnsafeMutableBytes { try copy(to: $0) }
    return bytes
  }
}
