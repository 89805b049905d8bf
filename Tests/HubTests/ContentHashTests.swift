import BitNetHash
import BitNetHub
import Testing

@Suite("Content hashes")
struct ContentHashTests {
  private func digits(_ hash: some HashFunction, _ text: String, pieces: Int) -> String {
    var hash = hash
    let bytes = Array(text.utf8)
    for start in stride(from: 0, to: bytes.count, by: pieces) {
      bytes[start..<min(start + pieces, bytes.count)].withUnsafeBytes { hash.update($0) }
    }
    return hash.digits()
  }

  @Test("equal the examples of FIPS 180", arguments: [1, 3, 64, 1000])
  func examples(pieces: Int) {
    let long = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"
    let million = String(repeating: "a", count: 100_000)
    let sha256 = [
      ("", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
      ("abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
      (long, "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"),
    ]
    for usesInstructions in [true, false] {
      let hash = SHA256(usesInstructions: usesInstructions)
      for (text, expected) in sha256 { #expect(digits(hash, text, pieces: pieces) == expected) }
    }
    let sha1 = [
      ("abc", "a9993e364706816aba3e25717850c26c9cd0d89d"), (long, "84983e441c3bd26ebaae4aa1f95129e5e54670f1"),
    ]
    for (text, expected) in sha1 { #expect(digits(SHA1(), text, pieces: pieces) == expected) }
    let plain = digits(SHA256(usesInstructions: false), million, pieces: 77)
    #expect(digits(SHA256(), million, pieces: pieces) == plain)
  }

  @Test("of git name a file as git does")
  func git() {
    var hash = ContentHash.gitSHA1("").hasher(size: 6)
    Array("hello\n".utf8).withUnsafeBytes { hash.update($0) }
    #expect(hash.digits() == "ce013625030ba8dba906f756967f9e9ca394464a")
  }
}
