import BitNetCUDADriver
import BitNetInference

/// Cosines and sines of the positions so far, in device memory that has room for the whole context.
final class DeviceRotaryTable {
  private var table: RotaryTable
  private let cosineBuffer: CUDABuffer
  private let sineBuffer: CUDABuffer
  private let capacity: Int
  var cosines: UInt64 { cosineBuffer.address }
  var sines: UInt64 { sineBuffer.address }
  var byteCount: Int { 2 * cosineBuffer.byteCount }

  /// - Parameter theta: the base of layers that have one of their own; nil for the model's.
  init(
    _ context: CUDAContext, _ configuration: ModelConfiguration, theta: Double?, contextLength: Int
  ) throws(CUDAError) {
    table = RotaryTable(configuration, theta: theta)
    capacity = contextLength
    cosineBuffer = try CUDABuffer(context, byteCount: 4 * contextLength * table.pairs)
    sineBuffer = try CUDABuffer(context, byteCount: 4 * contextLength * table.pairs)
  }

  /// Makes the table cover `count` positions, `capacity` at most.
  func extend(to count: Int) throws(CUDAError) {
    guard count > table.positions else { return }
    // In steps, so that decoding does not extend it at every token.
    let start = table.positions * table.pairs
    table.extend(to: min(capacity, max(count, table.positions + 256)))
    for (buffer, values) in [(cosineBuffer, table.cosines), (sineBuffer, table.sines)] {
      let new = values[start...].map { Float($0) }
      try new.withUnsafeBufferPointer { (new) throws(CUDAError) in
        try buffer.copy(from: UnsafeRawBufferPointer(new), at: 4 * start)
      }
    }
  }
}
