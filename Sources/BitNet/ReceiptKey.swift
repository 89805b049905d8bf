#if Signing
  import Crypto
#endif

/// An Ed25519 key of an operator, who signs receipts with it or lets others check them.
package struct ReceiptKey: Sendable {
  package enum Kind: Sendable { case secret, open }

  /// 32 bytes.
  private let bytes: [UInt8]
  package let kind: Kind

  /// Whether this build can sign and check signatures.
  package static var isAvailable: Bool {
    #if Signing
      true
    #else
      false
    #endif
  }

  /// The error of a build that cannot.
  package static let unavailable = AuditError(
    "this program was built without signatures; build it with: swift build -c release --traits Signing")

  /// Reads a key in PEM: the private key that `openssl genpkey -algorithm ed25519` writes, or the public key that
  /// `openssl pkey -pubout` makes of it.
  ///
  /// - Throws: `AuditError`, which never shows the text.
  package init(pem text: String, kind: Kind) throws(AuditError) {
    let label = kind == .secret ? "PRIVATE KEY" : "PUBLIC KEY"
    let prefix = kind == .secret ? Self.privatePrefix : Self.publicPrefix
    let lines = text.split(whereSeparator: \.isNewline).map { $0.filter { $0 != " " && $0 != "\t" } }
    let (first, last) = ("-----BEGIN \(label)-----".filter { $0 != " " }, "-----END \(label)-----".filter { $0 != " " })
    guard let start = lines.firstIndex(of: first), let end = lines[start...].firstIndex(of: last),
      let decoded = Self.base64(lines[(start + 1)..<end].joined()), decoded.starts(with: prefix),
      decoded.count == prefix.count + 32
    else {
      throw AuditError(
        "the key is not an Ed25519 \(label) in PEM; expected what `openssl genpkey -algorithm ed25519` writes, or "
          + "`openssl pkey -pubout` for the public key")
    }
    bytes = Array(decoded.dropFirst(prefix.count))
    self.kind = kind
  }

  /// What stands before the 32 bytes of a key in PKCS #8 and in a SubjectPublicKeyInfo (RFC 8410).
  private static let privatePrefix: [UInt8] = [
    0x30, 0x2E, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2B, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
  ]
  private static let publicPrefix: [UInt8] = [
    0x30, 0x2A, 0x30, 0x05, 0x06, 0x03, 0x2B, 0x65, 0x70, 0x03, 0x21, 0x00,
  ]

  private static func base64(_ text: String) -> [UInt8]? {
    var (bytes, bits, count): ([UInt8], UInt32, Int) = ([], 0, 0)
    for character in text.utf8.reversed().drop(while: { $0 == UInt8(ascii: "=") }).reversed() {
      let value: UInt8
      switch character {
      case UInt8(ascii: "A")...UInt8(ascii: "Z"): value = character - UInt8(ascii: "A")
      case UInt8(ascii: "a")...UInt8(ascii: "z"): value = character - UInt8(ascii: "a") + 26
      case UInt8(ascii: "0")...UInt8(ascii: "9"): value = character - UInt8(ascii: "0") + 52
      case UInt8(ascii: "+"): value = 62
      case UInt8(ascii: "/"): value = 63
      default: return nil
      }
      bits = bits << 6 | UInt32(value)
      count += 6
      if count >= 8 {
        count -= 8
        bytes.append(UInt8(truncatingIfNeeded: bits >> UInt32(count)))
      }
    }
    return bytes
  }

  /// The receipt with a signature in place of the one that it may have.
  ///
  /// - Throws: `AuditError` in a build without signatures, and for a key that cannot sign.
  package func sign(_ receipt: Receipt) throws(AuditError) -> Receipt {
    #if Signing
      guard kind == .secret else { throw AuditError("the key is a public key; expected a private key") }
      do {
        let key = try Curve25519.Signing.PrivateKey(rawRepresentation: bytes)
        var signed = receipt
        signed.signature = ReceiptSignature(
          publicKey: Self.hexadecimal(Array(key.publicKey.rawRepresentation)),
          value: Self.hexadecimal(Array(try key.signature(for: receipt.signedBytes))))
        return signed
      } catch {
        throw AuditError("the key cannot sign: \(error)")
      }
    #else
      throw Self.unavailable
    #endif
  }

  /// - Throws: `AuditError` unless the receipt has a signature of this public key over its contents, and in a build
  ///   without signatures.
  package func check(_ receipt: Receipt) throws(AuditError) {
    #if Signing
      guard let signature = receipt.signature else {
        throw AuditError("the receipt's signature is missing; expected one of the public key that was given")
      }
      guard signature.publicKey == Self.hexadecimal(bytes) else {
        throw AuditError(
          "the receipt is signed by \(signature.publicKey.prefix(64)); expected \(Self.hexadecimal(bytes))")
      }
      guard let value = Self.bytes(signature.value),
        let key = try? Curve25519.Signing.PublicKey(rawRepresentation: bytes),
        key.isValidSignature(value, for: receipt.signedBytes)
      else { throw AuditError("the receipt's signature is not one of its contents; expected it as it was signed") }
    #else
      throw Self.unavailable
    #endif
  }

  private static func hexadecimal(_ bytes: [UInt8]) -> String {
    bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
  }

  /// The bytes of lower-case hexadecimal digits; nil for anything else.
  private static func bytes(_ text: String) -> [UInt8]? {
    let digits = text.utf8.map { digit -> UInt8? in
      switch digit {
      case UInt8(ascii: "0")...UInt8(ascii: "9"): digit - UInt8(ascii: "0")
      case UInt8(ascii: "a")...UInt8(ascii: "f"): digit - UInt8(ascii: "a") + 10
      default: nil
      }
    }
    guard digits.count % 2 == 0, !digits.contains(nil) else { return nil }
    return stride(from: 0, to: digits.count, by: 2).map { digits[$0]! << 4 | digits[$0 + 1]! }
  }
}
