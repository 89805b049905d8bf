package import BitNetTernary

#if canImport(Darwin)
  import Darwin
#elseif canImport(Musl)
  import Musl
#else
  import Glibc
#endif

/// A regular file, mapped read-only.
///
/// The mapping stays valid when the file is renamed or deleted. If another process shortens the file, later reads
/// fault, as with every mapped file.
package final class MappedFile: PageReleasing, @unchecked Sendable {
  // Unchecked: the mapping is read-only and lives as long as the object.
  package let path: String
  private let address: UnsafeMutableRawPointer
  /// The bytes of the file, 1 or more.
  package let count: Int
  /// The file's identity on this machine, however its path is spelt.
  let identity: Identity
  /// When the file's contents, and anything about it, last changed, in nanoseconds.
  let changed: (contents: Int, any: Int)

  struct Identity: Equatable {
    let device: UInt64
    let inode: UInt64
  }

  /// - Throws: `ModelFileError` of kind `.system` when the path is missing, unreadable, not a regular file, or empty.
  package init(path: String) throws(ModelFileError) {
    func refusal(_ finding: String, expected: String? = nil) -> ModelFileError {
      ModelFileError(.system, file: path, finding: finding, expected: expected)
    }
    // Without O_NONBLOCK, opening a pipe would wait for a writer.
    let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
    guard descriptor >= 0 else { throw refusal("cannot be opened: \(lastSystemError())") }
    defer { close(descriptor) }
    var status = stat()
    guard fstat(descriptor, &status) == 0 else { throw refusal("cannot be examined: \(lastSystemError())") }
    guard status.st_mode & S_IFMT == S_IFREG else {
      throw refusal(
        status.st_mode & S_IFMT == S_IFDIR ? "is a folder" : "is not a regular file", expected: "a regular file")
    }
    guard status.st_size > 0 else { throw refusal("is empty") }
    guard let address = mmap(nil, Int(status.st_size), PROT_READ, MAP_PRIVATE, descriptor, 0),
      address != UnsafeMutableRawPointer(bitPattern: -1)
    else { throw refusal("cannot be mapped: \(lastSystemError())") }
    self.path = path
    self.address = address
    self.count = Int(status.st_size)
    func nanoseconds(_ time: timespec) -> Int { Int(time.tv_sec) &* 1_000_000_000 &+ Int(time.tv_nsec) }
    #if canImport(Darwin)
      changed = (nanoseconds(status.st_mtimespec), nanoseconds(status.st_ctimespec))
    #else
      changed = (nanoseconds(status.st_mtim), nanoseconds(status.st_ctim))
    #endif
    self.identity = Identity(
      device: UInt64(truncatingIfNeeded: status.st_dev), inode: UInt64(truncatingIfNeeded: status.st_ino))
  }

  deinit { munmap(address, count) }

  /// The whole file.
  package var bytes: SharedBytes {
    SharedBytes(owner: self, bytes: UnsafeRawBufferPointer(start: address, count: count))
  }

  /// Asks the kernel to start reading `range` (in bytes, clamped to the file), because waiting for one page after the
  /// other is slow.
  package func prefetch(_ range: Range<Int>) {
    let page = Int(getpagesize())
    let range = range.clamped(to: 0..<count)
    let first = range.lowerBound / page * page
    if first < range.upperBound { madvise(address + first, range.upperBound - first, MADV_WILLNEED) }
  }

  package func releasePages(of bytes: UnsafeRawBufferPointer) {
    guard let base = bytes.baseAddress else { return }
    let start = base - UnsafeRawPointer(address)
    release(start..<start + bytes.count)
  }

  /// Releases the memory of the pages that are wholly inside `range` (in bytes, clamped to the file). Reading them
  /// again reads the file again.
  package func release(_ range: Range<Int>) {
    let page = Int(getpagesize())
    let range = range.clamped(to: 0..<count)
    let first = (range.lowerBound + page - 1) / page * page
    // The file's last page counts as whole: nothing follows it.
    let last = range.upperBound == count ? count : range.upperBound / page * page
    if first < last { madvise(address + first, last - first, MADV_DONTNEED) }
  }
}

extension MappedFile {
  /// A text that changes when one of the files is replaced or written to; nil if one is not a file.
  static func identity(of files: [MappedFile?]) -> String? {
    var text = ""
    for file in files {
      guard let file else { return nil }
      let (id, changed) = (file.identity, file.changed)
      text += "\(id.device) \(id.inode) \(file.count) \(changed.contents) \(changed.any)\n"
    }
    return text
  }
}

/// The C library's text for `errno`.
func lastSystemError() -> String { String(cString: strerror(errno)) }
