package import BitNetModelFiles

#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

/// How to reach a hub, by the environment variables of the Python client.
package struct HubSettings: Sendable {
  /// The hub's address without a final slash, such as `https://huggingface.co`.
  package var endpoint: String
  package var origin: HubOrigin
  /// The user's token; nil for an anonymous user.
  package var token: String?
  /// Whether the network must not be used.
  package var isOffline: Bool
  /// Seconds without a byte after which a connection is given up.
  package var idleSeconds: Double
  package var proxies: HubProxies
  /// A file of certificates to trust instead of the system's.
  package var certificates: String?

  /// - Throws: `HubError` for an endpoint that is not a safe address, or a token that cannot be sent.
  package init(_ environment: HubEnvironment = .process) throws(HubError) {
    var endpoint = environment["HF_ENDPOINT"] ?? "https://huggingface.co"
    while endpoint.hasSuffix("/") { endpoint.removeLast() }
    guard let url = URL(string: endpoint), let origin = HubOrigin(url), url.query() == nil, url.user() == nil,
      origin.scheme == "https" || origin.isLoopback
    else {
      throw HubError(
        "HF_ENDPOINT is \(endpoint); expected an https address, or an http address of this machine such as "
          + "http://localhost:8080")
    }
    self.endpoint = endpoint
    self.origin = origin
    isOffline = Self.isTrue(environment["HF_HUB_OFFLINE"] ?? environment["TRANSFORMERS_OFFLINE"])
    let idle = environment["HF_HUB_DOWNLOAD_TIMEOUT"].flatMap(Double.init) ?? 0
    idleSeconds = idle > 0 ? min(idle, 3600) : 10
    proxies = HubProxies(environment)
    certificates = environment["SSL_CERT_FILE"]
    let found = environment["HF_TOKEN"] ?? environment["HUGGING_FACE_HUB_TOKEN"]
    let path = environment["HF_TOKEN_PATH"].map(environment.expanded) ?? "\(environment.home)/token"
    token = Self.clean(found) ?? (found == nil ? Self.clean(FileAccess.shortText(path)) : nil)
    guard token?.utf8.allSatisfy({ 0x21...0x7E ~= $0 }) ?? true else {
      throw HubError("the hub's token has spaces or characters other than ASCII; expected one as in hf_AbCd")
    }
  }

  private static func clean(_ token: String?) -> String? {
    guard let token else { return nil }
    let visible = token.filter { $0 != "\r" && $0 != "\n" && $0 != "\r\n" }
    let text = visible.drop { $0 == " " || $0 == "\t" }.reversed().drop { $0 == " " || $0 == "\t" }.reversed()
    return text.isEmpty ? nil : String(text)
  }

  private static func isTrue(_ value: String?) -> Bool {
    value.map { ["1", "ON", "YES", "TRUE"].contains($0.uppercased()) } ?? false
  }
}

/// Which requests go through a proxy: HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY, in capitals or not.
package struct HubProxies: Sendable {
  /// By scheme.
  private var addresses: [String: String] = [:]
  private var excluded: [Substring] = []

  package init(_ environment: HubEnvironment) {
    func value(_ name: String) -> String? { environment[name.lowercased()] ?? environment[name] }
    for scheme in ["http", "https"] { addresses[scheme] = value("\(scheme.uppercased())_PROXY") ?? value("ALL_PROXY") }
    excluded = (value("NO_PROXY") ?? "").split { $0 == "," || $0 == " " }
  }

  /// A proxy's address and the name and password that it asks for.
  package struct Proxy: Hashable, Sendable {
    package let host: String
    package let port: Int
    package let user: String?
    package let password: String?
  }

  /// The proxy for an origin; nil to connect directly.
  ///
  /// - Throws: `HubError` for an address that is no http proxy.
  package func proxy(for origin: HubOrigin) throws(HubError) -> Proxy? {
    guard let address = addresses[origin.scheme], !isExcluded(origin) else { return nil }
    guard let url = URL(string: address.contains("://") ? address : "http://\(address)"),
      url.scheme?.lowercased() == "http", let host = url.host(percentEncoded: false), !host.isEmpty
    else {
      // Without the address, which may hold a password.
      throw HubError("the proxy for \(origin.scheme) is not an http address; expected one as in http://host:3128")
    }
    return Proxy(
      host: host, port: url.port ?? 80, user: url.user(percentEncoded: false),
      password: url.password(percentEncoded: false))
  }

  private func isExcluded(_ origin: HubOrigin) -> Bool {
    excluded.contains { entry in
      if entry == "*" { return true }
      var name = entry.lowercased()[...]
      if let colon = name.lastIndex(of: ":"), let port = Int(name[name.index(after: colon)...]), !name.contains("::") {
        guard port == origin.port else { return false }
        name = name[..<colon]
      }
      if name.hasPrefix("*") { name = name.dropFirst() }
      if name.hasPrefix(".") { name = name.dropFirst() }
      return !name.isEmpty && (origin.host == name || origin.host.hasSuffix(".\(name)"))
    }
  }
}
