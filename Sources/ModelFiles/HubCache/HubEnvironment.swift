#if canImport(Darwin)
  import Darwin
#elseif canImport(Musl)
  import Musl
#else
  import Glibc
#endif

/// The environment variables that decide where the cache is, as the Python client reads them.
package struct HubEnvironment: Sendable {
  private let values: [String: String]

  package init(_ values: [String: String]) { self.values = values }

  /// The process's variables.
  package static var process: HubEnvironment {
    var values: [String: String] = [:]
    var entry = environ
    while let text = entry.pointee {
      // Other bytes than UTF-8 are replaced; such a path is not found, which an error says.
      let parts = String(cString: text).split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      if parts.count == 2 { values[String(parts[0])] = String(parts[1]) }
      entry += 1
    }
    return HubEnvironment(values)
  }

  /// A variable's value; nil if it is empty or missing.
  package subscript(name: String) -> String? { values[name].flatMap { $0.isEmpty ? nil : $0 } }

  /// The folder for tokens and caches: HF_HOME, else `huggingface` in XDG_CACHE_HOME or ~/.cache.
  package var home: String {
    expanded(self["HF_HOME"] ?? FileAccess.join(self["XDG_CACHE_HOME"] ?? "~/.cache", "huggingface"))
  }

  /// The folder of the cache: HF_HUB_CACHE, its old name HUGGINGFACE_HUB_CACHE, or `hub` in `home`.
  package var cacheFolder: String {
    (self["HF_HUB_CACHE"] ?? self["HUGGINGFACE_HUB_CACHE"]).map(expanded) ?? FileAccess.join(home, "hub")
  }

  /// A path with `~`, `$NAME` and `${NAME}` replaced. Unknown variables stay as they are written.
  package func expanded(_ path: String) -> String {
    var text = Substring(path)
    var result = ""
    if text.first == "~", text.count == 1 || text.dropFirst().first == "/" {
      result = userFolder
      text = text.dropFirst()
    }
    while let dollar = text.firstIndex(of: "$") {
      result += text[..<dollar]
      let rest = text[text.index(after: dollar)...]
      let name: Substring
      let end: Substring.Index
      if rest.first == "{", let brace = rest.firstIndex(of: "}") {
        name = rest[..<brace].dropFirst()
        end = rest.index(after: brace)
      } else {
        name = rest.prefix { $0.isASCII && ($0.isLetter || $0.isNumber || $0 == "_") }
        end = name.endIndex
      }
      result += name.isEmpty ? String(text[dollar..<end]) : values[String(name)] ?? String(text[dollar..<end])
      text = text[end...]
    }
    return result + text
  }

  private var userFolder: String {
    if let home = self["HOME"] { return home }
    guard let entry = getpwuid(getuid()), let folder = entry.pointee.pw_dir else { return "/" }
    return String(cString: folder)
  }
}
