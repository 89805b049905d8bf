import BitNet
import BitNetModelFiles
import Foundation
import Testing

@Suite("The memory of digests")
struct DigestMemoryTests {
  private static func digest(_ number: Int) throws -> ModelDigest {
    let digits = String(number, radix: 16)
    return try #require(ModelDigest(String(repeating: "0", count: 64 - digits.count) + digits))
  }

  @Test("remembers the digests of the last models, and what is wrong with its file is no error")
  func saving() throws {
    let folder = FileManager.default.temporaryDirectory.appending(path: "bitnet-digests-\(UUID().uuidString)")
    defer { try? FileManager.default.removeItem(at: folder) }
    func memory(_ identity: String) throws -> DigestMemory {
      try #require(DigestMemory(identity: identity, folder: folder.appending(path: "a/b").path))
    }
    #expect(try memory("first").digest == nil)
    try memory("first").save(Self.digest(1))
    try memory("second").save(Self.digest(2))
    try memory("first").save(Self.digest(3))
    #expect(try memory("first").digest == Self.digest(3))
    #expect(try memory("second").digest == Self.digest(2))
    #expect(try memory("third").digest == nil)
    for index in 0..<255 { try memory("\(index)").save(Self.digest(index)) }
    #expect(try memory("second").digest == nil && memory("first").digest == Self.digest(3))
    #expect(try memory("254").digest == Self.digest(254))
    let file = folder.appending(path: "a/b/digests.txt")
    try Data("nonsense\n\u{0}\u{1F600} x y\n".utf8).write(to: file)
    #expect(try memory("first").digest == nil)
    try memory("first").save(Self.digest(4))
    #expect(try memory("first").digest == Self.digest(4))
    #expect(DigestMemory(identity: "first", folder: nil) == nil)
  }
}
