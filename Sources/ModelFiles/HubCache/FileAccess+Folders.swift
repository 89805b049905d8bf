import BitNetTernary

#if canImport(Darwin)
  import Darwin
#elseif canImport(Musl)
  import Musl
#else
  import Glibc
#endif

extension FileAccess {
  /// The names in a folder, sorted; empty if it cannot be read.
  package static func names(in folder: String) -> [String] {
    guard let entries = opendir(folder) else { return [] }
    defer { closedir(entries) }
    var names: [String] = []
    while let entry = readdir(entries) {
      let name = withUnsafeBytes(of: entry.pointee.d_name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
      if name != ".", name != ".." { names.append(name) }
    }
    return names.sorted()
  }

  /// The paths, relative to a folder, of the files and links in it and in its subfolders. Does not follow links.
  package static func files(below folder: String) -> [String] {
    names(in: folder).flatMap { name in
      let path = join(folder, name)
      return isPlainFolder(path) ? files(below: path).map { "\(name)/\($0)" } : [name]
    }
  }

  /// Whether the path is a folder and not a link to one.
  package static func isPlainFolder(_ path: String) -> Bool {
    var status = stat()
    return lstat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR
  }

  /// The target of a symbolic link; nil if the path is none.
  package static func target(ofLink path: String) -> String? {
    var bytes = [UInt8](repeating: 0, count: Int(PATH_MAX))
    let count = bytes.withUnsafeMutableBytes {
      readlink(path, $0.baseAddress!.assumingMemoryBound(to: CChar.self), $0.count)
    }
    return count < 0 ? nil : String(decoding: bytes[..<count], as: UTF8.self)
  }

  /// The bytes of a file, following links; nil if there is no regular file.
  package static func size(of path: String) -> Int? {
    var status = stat()
    guard stat(path, &status) == 0, status.st_mode & S_IFMT == S_IFREG else { return nil }
    return Int(status.st_size)
  }

  /// The text of a file of at most 4,096 bytes; nil if it cannot be read. Spaces and line ends around it are left out.
  package static func shortText(_ path: String) -> String? {
    // Opening a pipe would wait for its writer.
    guard isRegularFile(path) else { return nil }
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return nil }
    defer { close(descriptor) }
    var bytes = [UInt8](repeating: 0, count: 4096)
    let count = read(descriptor, &bytes, bytes.count)
    guard count >= 0 else { return nil }
    let isSpace = { (byte: UInt8) in byte <= 0x20 }
    let text = bytes[..<count].drop(while: isSpace)
    return String(decoding: text.reversed().drop(while: isSpace).reversed(), as: UTF8.self)
  }

  /// Creates a folder and those above it.
  ///
  /// - Throws: `ModelFileError` of kind `.system`.
  package static func createFolder(_ path: String) throws(ModelFileError) {
    if isFolder(path) { return }
    let parent = folder(path)
    if parent != path, parent != "." { try createFolder(parent) }
    guard mkdir(path, 0o777) == 0 || isFolder(path) else {
      throw ModelFileError(
        .system, file: path, subject: "the folder", finding: "cannot be created: \(lastSystemError())")
    }
  }

  /// Writes a short file that appears under its name only when it is complete, replacing one that exists.
  ///
  /// - Throws: `ModelFileError` of kind `.system`.
  package static func write(_ text: String, to path: String) throws(ModelFileError) {
    try createFolder(folder(path))
    let file = try OutputFile(path: path, overwrite: true)
    try file.append(Array(text.utf8))
    try file.commit()
  }

  /// Removes a folder with all that is in it, without following links.
  ///
  /// - Throws: `ModelFileError` of kind `.system` with the first path that cannot be removed.
  package static func remove(_ path: String) throws(ModelFileError) {
    if isPlainFolder(path) {
      for name in names(in: path) { try remove(join(path, name)) }
      guard rmdir(path) == 0 || errno == ENOENT else { throw refusal(path) }
    } else {
      guard unlink(path) == 0 || errno == ENOENT else { throw refusal(path) }
    }
  }

  private static func refusal(_ path: String) -> ModelFileError {
    ModelFileError(.system, file: path, finding: "cannot be removed: \(lastSystemError())")
  }
}

extension FileAccess {
  /// Whether the path is a regular file and not a link to one.
  package static func isPlainFile(_ path: String) -> Bool {
    var status = stat()
    return lstat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFREG
  }

  /// The lines of a file of at most 1 MiB; nil if it cannot be read.
  static func lines(_ path: String) -> [String]? {
    guard let size = size(of: path), size <= 1 << 20, let bytes = try? MappedFile(path: path).bytes else { return nil }
    return bytes.withUnsafeBytes { String(decoding: $0, as: UTF8.self) }.split(separator: "\n").map(String.init)
  }

  /// The bytes that a file takes on the disk, following links: unfinished downloads have holes.
  package static func blockBytes(_ path: String) -> Int {
    var status = stat()
    guard stat(path, &status) == 0 else { return 0 }
    return min(Int(status.st_size), Int(status.st_blocks) * 512)
  }
}
