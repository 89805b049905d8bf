import BitNetDeviceCheck
import BitNetHash
import BitNetInference
package import BitNetModelFiles
import BitNetTokenization

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// What determines the tokens that a model gives: the version of the arithmetic, and the digest of the model.
package struct ModelFingerprint: Sendable, Equatable, CustomStringConvertible {
  package let arithmetic: Int
  package let digest: ModelDigest

  package init(arithmetic: Int = arithmeticVersion, digest: ModelDigest) {
    self.arithmetic = arithmetic
    self.digest = digest
  }

  /// Such as `a1-3f9c0d2e4b5a6978`: the version, and the first 16 digits of the digest.
  package var description: String { "a\(arithmetic)-\(digest.description.prefix(16))" }
}

extension LoadedModel {
  /// The digest of the model: the one that its file states, else the remembered one, else computed.
  ///
  /// - Parameter tokenizer: returns the text of `Tokenizer.serialized()`; called if it is needed.
  func digest(tokenizer: () -> String?) -> ModelDigest {
    if let storedDigest { return storedDigest }
    // Small models are hashed faster than a file is read, and leave no trace.
    let remembered = weights.byteCount < 64_000_000 ? nil : identity
    let memory = remembered.flatMap { DigestMemory(identity: $0, folder: DeviceCheck.cacheFolder) }
    if let known = memory?.digest { return known }
    let digest = ModelDigest(weights, tokenizer: tokenizer())
    memory?.save(digest)
    return digest
  }
}

/// Remembers the digests of models whose files have no room for one, in a file of the user's cache folder: a line for
/// each of the last 256 models, with the hash of the identity of its files (device, inode, size, times of change) and
/// the digest.
///
/// The memory saves time and proves nothing: who can write to the cache folder can change it. So can who writes to a
/// model's file and sets the clock back. `bitnet audit` and `bitnet inspect --verify` compute digests anew.
package struct DigestMemory {
  private static let largestFile = 1 << 16
  private static let longest = 256
  private let key: String
  private let folder: String
  private var path: String { folder + "/digests.txt" }

  /// - Parameter folder: the user's cache folder; nil if there is none.
  package init?(identity: String, folder: String?) {
    guard let folder else { return nil }
    self.folder = folder
    key = SHA256().digits(of: identity)
  }

  /// The remembered digest; nil if there is none, or the file cannot be read.
  package var digest: ModelDigest? { lines.last { $0.key == key }?.digest }

  private var lines: [(key: String, digest: ModelDigest)] {
    guard let file = fopen(path, "r") else { return [] }
    defer { fclose(file) }
    var bytes = [UInt8](repeating: 0, count: Self.largestFile)
    let count = fread(&bytes, 1, bytes.count, file)
    return String(decoding: bytes[..<count], as: UTF8.self).split(separator: "\n").compactMap { line in
      let words = line.split(separator: " ")
      guard words.count == 2, let digest = ModelDigest(String(words[1])) else { return nil }
      return (String(words[0]), digest)
    }
  }

  /// Remembers a digest. A folder or file that cannot be written is not an error; the digest is then computed again.
  package func save(_ digest: ModelDigest) {
    let kept = lines.filter { $0.key != key }.suffix(Self.longest - 1) + [(key, digest)]
    var parent = ""
    for name in folder.split(separator: "/") {
      parent += "/" + name
      mkdir(parent, 0o700)
    }
    // Of two processes that save at once, one line is lost. A reader finds all of a file or none.
    let text = kept.map { "\($0.key) \($0.digest)\n" }.joined()
    guard let file = try? OutputFile(path: path, overwrite: true) else { return }
    try? file.append(Array(text.utf8))
    try? file.commit()
  }
}

extension ModelFingerprint {
  /// The fingerprint of a model's files, without an engine.
  ///
  /// - Parameters:
  ///   - path: a path as for ``LanguageModel/load(_:options:progress:)``.
  ///   - computes: whether the weights are read and hashed even if the digest is stated or remembered.
  ///   - isSmall: whether the weights are read if it is neither.
  /// - Returns: nil if the weights would have to be read.
  /// - Throws: ``BitNetError`` when the computed digest is not the one that the file states, and for files that cannot
  ///   be
  ///   read.
  package static func find(
    path: String, options: BitNetModelFiles.LoadOptions = .init(), computes: Bool, isSmall: Bool
  ) throws -> ModelFingerprint? {
    let (stored, identity) = try ModelLoader.digestOnHand(path: path, options: options)
    let memory = identity.flatMap { DigestMemory(identity: $0, folder: DeviceCheck.cacheFolder) }
    if !computes, let known = stored ?? memory?.digest { return ModelFingerprint(digest: known) }
    guard computes || isSmall else { return nil }
    let digest = try ModelLoader.load(path: path, options: options).computedDigest(name: path)
    if stored == nil, !isSmall { memory?.save(digest) }
    return ModelFingerprint(digest: digest)
  }

  /// The fingerprint of a converted model in memory, computed.
  ///
  /// - Parameter bytes: the contents of a converted file, which must not change or be freed while the program runs.
  package static func compute(embedded bytes: UnsafeRawBufferPointer) throws -> ModelFingerprint {
    try ModelFingerprint(digest: ModelLoader.load(embedded: bytes).computedDigest(name: ModelLoader.embeddedName))
  }
}

extension LoadedModel {
  /// Hashes the weights and the tokenizer.
  ///
  /// - Throws: ``BitNetError`` when the file states another digest.
  package func computedDigest(name: String) throws -> ModelDigest {
    let text: String? =
      switch tokenizer {
      case .serialized(let text): text
      case let source?: try Tokenizer(source).serialized()
      case nil: nil
      }
    let digest = ModelDigest(weights, tokenizer: text)
    if let storedDigest, storedDigest != digest {
      throw BitNetError(
        .invalidModel, subject: "\(name): the digest of its contents", found: "\(digest)",
        expected: "\(storedDigest), which the file states: it was changed after it was converted")
    }
    return digest
  }
}
