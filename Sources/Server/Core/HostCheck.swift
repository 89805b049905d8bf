/// Which names a server may be called by in the field Host.
///
/// A page of any site can have its name point to 127.0.0.1 and then use a server there as its own origin, without the
/// limits for other origins (DNS rebinding). Its requests still carry its name, so a server that only this computer can
/// reach, and that asks for no key, refuses names of others.
package struct HostCheck: Sendable {
  /// Nil admits all names.
  private let names: Set<String>?

  /// Admits all names.
  package static let none = HostCheck(names: nil)

  private init(names: Set<String>?) { self.names = names }

  /// Admits this computer's names, all addresses, and some other names, or all if one is `*`.
  package init(local names: [String]) {
    self.init(names: names.contains("*") ? nil : Set(names.map { $0.lowercased() }))
  }

  /// - Returns: the name that the server must not be called by; nil if it may be.
  package func fault(_ exchange: Exchange) -> String? {
    // Programs may leave the field out (HTTP/1.0), browsers cannot.
    guard let names, let host = exchange.header("host")?.lowercased(), !host.isEmpty else { return nil }
    guard let name = Self.name(host) else { return host }
    let isLocal = name == "localhost" || name.hasSuffix(".localhost") || name.hasSuffix(".internal")
    return isLocal || Self.isAddress(name) || names.contains(name) || names.contains(host) ? nil : host
  }

  /// The host without the port, and without the full stop that ends a complete name; nil for what is no host.
  private static func name(_ host: String) -> String? {
    let isBracketed = host.hasPrefix("[")
    let name = isBracketed ? host.prefix { $0 != "]" }.dropFirst() : host.prefix { $0 != ":" }
    var rest = host[name.endIndex...]
    if isBracketed {
      guard rest.first == "]" else { return nil }
      rest.removeFirst()
    }
    guard rest.isEmpty || rest.first == ":" && rest.dropFirst().allSatisfy({ "0"..."9" ~= $0 }) else { return nil }
    return String(name.hasSuffix(".") ? name.dropLast() : name)
  }

  /// Whether a name is an address, which no site can have as its name.
  private static func isAddress(_ name: String) -> Bool {
    if name.contains(":") { return name.allSatisfy { $0.isHexDigit || ":.".contains($0) } }
    let parts = name.split(separator: ".", omittingEmptySubsequences: false)
    return parts.count == 4 && parts.allSatisfy { UInt8($0) != nil }
  }
}
