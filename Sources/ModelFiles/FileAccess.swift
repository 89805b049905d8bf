import BitNetTernary

#if canImport(Darwin)
  import Darwin
#elseif canImport(Musl)
  import Musl
#else
  import Glibc
#endif

/// Access to the small files around the weights.
package enum FileAccess {
  package static func exists(_ path: String) -> Bool { access(path, F_OK) == 0 }

  package static func isFolder(_ path: String) -> Bool { isKind(S_IFDIR, path) }

  package static func isRegularFile(_ path: String) -> Bool { isKind(S_IFREG, path) }

  /// Whether both paths lead to one file or folder, which exists.
  package static func isSame(_ first: String, _ second: String) -> Bool {
    var (a, b) = (stat(), stat())
    return stat(first, &a) == 0 && stat(second, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino
  }

  /// Whether the path itself is a symbolic link, whatever it leads to.
  static func isLink(_ path: String) -> Bool {
    var status = stat()
    return lstat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFLNK
  }

  /// The path of the file that a symbolic link leads to in the end; nil if the path is no link or leads to nothing.
  static func resolved(link path: String) -> String? {
    guard isLink(path), let resolved = realpath(path, nil) else { return nil }
    defer { free(resolved) }
    return String(cString: resolved)
  }

  private static func isKind(_ kind: mode_t, _ path: String) -> Bool {
    var status = stat()
    return stat(path, &status) == 0 && status.st_mode & S_IFMT == kind
  }

  package static func join(_ folder: String, _ name: String) -> String {
    folder.hasSuffix("/") ? folder + name : folder + "/" + name
  }

  /// The last component of a path.
  package static func name(_ path: String) -> String { path.split(separator: "/").last.map(String.init) ?? path }

  /// The name of a model by the path of its folder or file: `org/name` or `org/name/file` in the cache of the hub, where
  /// the folder's own name is a commit, otherwise the last component.
  package static func modelName(_ path: String) -> String {
    let parts = path.split(separator: "/").map(String.init)
    if let index = parts.lastIndex(of: "snapshots"), index > 0, index + 1 < parts.count,
      let model = HubModelName(folderName: parts[index - 1])
    {
      return ([model.description] + parts[(index + 2)...]).joined(separator: "/")
    }
    guard let last = parts.last, last != ".", last != ".." else {
      guard let resolved = realpath(path, nil) else { return path }
      defer { free(resolved) }
      return name(String(cString: resolved))
    }
    return last
  }

  /// The folder that contains the path.
  package static func folder(_ path: String) -> String {
    guard let slash = path.lastIndex(of: "/") else { return "." }
    return slash == path.startIndex ? "/" : String(path[..<slash])
  }

  /// The file's bytes, or nil if there is no such file.
  static func contentsIfPresent(_ path: String) throws(ModelFileError) -> SharedBytes? {
    try exists(path) ? MappedFile(path: path).bytes : nil
  }
}
