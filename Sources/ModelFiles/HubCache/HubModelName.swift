/// The name of a model on a hub, `org/name`.
package struct HubModelName: Sendable, Hashable, CustomStringConvertible {
  package let organization: String
  package let name: String

  package var description: String { "\(organization)/\(name)" }

  /// The folder of the model in the cache, `models--org--name`.
  package var folderName: String { "models--\(organization)--\(name)" }

  /// Nil if the text is not such a name: two parts of at most 96 letters, digits, `-`, `_` and `.` together. A part
  /// neither begins nor ends with `-` or `.`, nor has two of them in a row; so it cannot lead out of a folder.
  package init?(_ text: String) {
    let parts = text.split(separator: "/", omittingEmptySubsequences: false)
    guard parts.count == 2, text.utf8.count <= 96, parts.allSatisfy(Self.isPart), !text.hasSuffix(".git") else {
      return nil
    }
    organization = String(parts[0])
    name = String(parts[1])
  }

  /// The model of a folder in the cache; nil for other folders.
  package init?(folderName: String) {
    let prefix = "models--"
    guard folderName.hasPrefix(prefix) else { return nil }
    // A part has no two hyphens in a row, so the first pair separates organization and name.
    let rest = Array(folderName.utf8.dropFirst(prefix.utf8.count))
    guard let split = rest.indices.dropLast().first(where: { rest[$0] == 45 && rest[$0 + 1] == 45 }) else { return nil }
    self.init(String(decoding: rest[..<split] + [47] + rest[(split + 2)...], as: UTF8.self))
  }

  private static func isPart(_ part: Substring) -> Bool {
    func isEdge(_ byte: UInt8) -> Bool { byte == UInt8(ascii: "-") || byte == UInt8(ascii: ".") }
    let bytes = Array(part.utf8)
    guard let first = bytes.first, let last = bytes.last, !isEdge(first), !isEdge(last) else { return false }
    return bytes.indices.allSatisfy { index in
      switch bytes[index] {
      case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
        UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"):
        true
      case let byte where isEdge(byte): bytes[index - 1] != byte
      default: false
      }
    }
  }
}

/// A reference to a model on a hub in the form that users write: `org/name`, `org/name@revision` or `org/name/file`. A
/// revision has no slash, unless it is a full name such as `refs/pr/7`.
package struct HubReference: Sendable, Hashable, CustomStringConvertible {
  package let model: HubModelName
  /// A branch, a tag or a commit of 40 hexadecimal digits.
  package let revision: String
  /// A file, if the repository holds several models.
  package let file: String?

  package static let mainRevision = "main"

  package init(_ model: HubModelName, revision: String = mainRevision, file: String? = nil) {
    self.model = model
    self.revision = revision
    self.file = file
  }

  /// Nil if the text has none of these forms, or is the name of a file in a folder, such as models/2b.safetensors.
  package init?(_ text: String) {
    let parts = text.split(separator: "/", maxSplits: 2, omittingEmptySubsequences: false)
    guard parts.count >= 2 else { return nil }
    let named = parts[1].split(separator: "@", maxSplits: 1, omittingEmptySubsequences: false)
    var revision = named.count == 2 ? String(named[1]) : Self.mainRevision
    var file = parts.count == 3 ? String(parts[2]) : nil
    if named.count == 2, revision == "refs", let rest = file {
      // refs/pr/7, refs/convert/parquet: two more parts.
      let parts = rest.split(separator: "/", maxSplits: 2, omittingEmptySubsequences: false)
      guard parts.count >= 2 else { return nil }
      revision += "/\(parts[0])/\(parts[1])"
      file = parts.count == 3 ? String(parts[2]) : nil
    }
    guard let model = HubModelName("\(parts[0])/\(named[0])"), HubPath.isSafe(revision),
      file.map(HubPath.isSafe) ?? true, ![".safetensors", ".gguf", ".json"].contains(where: model.name.hasSuffix)
    else { return nil }
    self.init(model, revision: revision, file: file)
  }

  package var description: String {
    model.description + (revision == Self.mainRevision ? "" : "@\(revision)") + (file.map { "/\($0)" } ?? "")
  }
}

/// Checks of names from a hub before they become paths.
package enum HubPath {
  /// Whether a relative path stays inside the folder it is appended to: no empty, `.` or `..` components, and neither
  /// backslashes nor control characters.
  package static func isSafe(_ path: String) -> Bool {
    !path.isEmpty && path.utf8.count <= 1024
      && path.utf8.allSatisfy { $0 >= 0x20 && $0 != 0x7F && $0 != UInt8(ascii: "\\") }
      && path.split(separator: "/", omittingEmptySubsequences: false).allSatisfy {
        !$0.isEmpty && $0 != "." && $0 != ".." && $0.utf8.count <= 255
      }
  }

  /// Whether the text is `count` lowercase hexadecimal digits: 40 for a commit, 40 or 64 for a blob.
  package static func isHexadecimal(_ text: String, count: Int) -> Bool {
    text.utf8.count == count
      && text.utf8.allSatisfy { 48...57 ~= $0 || 97...102 ~= $0 }
  }
}
