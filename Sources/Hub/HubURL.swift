#if canImport(FoundationEssentials)
  package import FoundationEssentials
#else
  package import Foundation
#endif

/// Scheme, host and port of an address. A token is sent to one origin only.
package struct HubOrigin: Hashable, Sendable, CustomStringConvertible {
  package let scheme: String
  package let host: String
  package let port: Int

  /// Nil unless the address is http or https and has a host.
  package init?(_ url: URL) {
    guard let scheme = url.scheme?.lowercased(), scheme == "http" || scheme == "https",
      let host = url.host(percentEncoded: false)?.lowercased(), !host.isEmpty
    else { return nil }
    self.scheme = scheme
    self.host = host
    port = url.port ?? (scheme == "https" ? 443 : 80)
  }

  /// Whether the host is this machine by name or number.
  package var isLoopback: Bool {
    host == "localhost" || host == "::1" || host == "[::1]"
      || (host.hasPrefix("127.") && host.split(separator: ".").count == 4
        && host.utf8.allSatisfy { 48...57 ~= $0 || $0 == UInt8(ascii: ".") })
  }

  package var description: String {
    let isUsual = port == (scheme == "https" ? 443 : 80)
    let name = host.contains(":") && !host.hasPrefix("[") ? "[\(host)]" : host
    return "\(scheme)://\(name)" + (isUsual ? "" : ":\(port)")
  }
}

extension HubSettings {
  /// The address of a part of the hub, such as `/api/models/org/name`.
  package func url(_ path: String) throws(HubError) -> URL {
    guard let url = URL(string: endpoint + path) else {
      throw HubError("\(endpoint)\(path) is not an address; expected one of a hub")
    }
    return url
  }

  /// The address of a file at a commit.
  func url(of file: String, in commit: String, of model: String) throws(HubError) -> URL {
    try url("/\(model)/resolve/\(commit)/\(Self.quoted(file, keeping: "/"))")
  }

  /// Text for one part of a path: all but unreserved characters become %XX.
  ///
  /// - Parameter kept: a character that stays as well.
  package static func quoted(_ text: String, keeping kept: Character? = nil) -> String {
    let digits = Array("0123456789ABCDEF")
    return text.utf8.reduce(into: "") { result, byte in
      let character = Character(Unicode.Scalar(byte))
      let isPlain = byte < 0x80 && (character.isLetter || character.isNumber || "-._~".contains(character))
      if isPlain || character == kept {
        result.append(character)
      } else {
        result += "%\(digits[Int(byte >> 4)])\(digits[Int(byte & 15)])"
      }
    }
  }
}

/// The address of the next page in a Link header, such as `<https://…?cursor=x>; rel="next"`; nil if there is none.
package func nextPage(_ header: String) -> String? {
  for link in header.split(separator: ",") {
    let parts = link.split(separator: ";").map { $0.drop { $0 == " " } }
    guard let target = parts.first, target.hasPrefix("<"), let end = target.firstIndex(of: ">") else { continue }
    if parts.dropFirst().contains(where: { $0.lowercased() == "rel=\"next\"" || $0.lowercased() == "rel=next" }) {
      return String(target[..<end].dropFirst())
    }
  }
  return nil
}
