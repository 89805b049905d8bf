import BitNetTernary
import BitNetModelFiles
import TestSupport

/// One of the committed block fixtures, which an independent implementation made.
struct BlockFixture {
  private let file: SafetensorsFile

  init(_ name: String) throws {
    file = try SafetensorsFile(path: Repository.path("Tests/Fixtures/blocks/\(name).safetensors"))
  }

  func shape(_ name: String) -> [Int] { file[name]?.shape ?? [] }

  func bytes(_ name: String) -> [UInt8] { file[name]?.bytes.withUnsafeBytes { Array($0) } ?? [] }

  func int8(_ name: String) -> [Int8] { bytes(name).map { Int8(bitPattern: $0) } }

  func float32(_ name: String) -> [Float] {
    let bytes = bytes(name)
    return bytes.withUnsafeBytes { raw in
      (0..<bytes.count / 4).map {
        Float(bitPattern: UInt32(littleEndian: raw.loadUnaligned(fromByteOffset: 4 * $0, as: UInt32.self)))
      }
    }
  }
}
