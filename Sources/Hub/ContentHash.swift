package import BitNetHash

/// The hash of a file's content that a hub states: SHA-256 for large files, git's SHA-1 for others, in hexadecimal
/// digits.
package enum ContentHash: Hashable, Sendable {
  case sha256(String)
  /// Of `blob SIZE\0` and the content.
  case gitSHA1(String)

  /// The digits, which name the blob in the cache.
  package var digits: String {
    switch self {
    case .sha256(let digits), .gitSHA1(let digits): digits
    }
  }

  package var name: String {
    switch self {
    case .sha256: "SHA-256"
    case .gitSHA1: "git SHA-1"
    }
  }

  /// A computation of such a hash.
  package func hasher(size: Int) -> any HashFunction {
    switch self {
    case .sha256: return SHA256()
    case .gitSHA1:
      var hash = SHA1()
      Array("blob \(size)\0".utf8).withUnsafeBytes { hash.update($0) }
      return hash
    }
  }
}
