import BitNetModelFiles
import Synchronization

#if canImport(Darwin)
  import Darwin
#elseif canImport(Musl)
  import Musl
#else
  import Glibc
#endif

/// A file that is being downloaded, in segments that arrive in any order.
///
/// A journal beside it says how many bytes of each segment are written, so that another process continues after the
/// last of them. The journal is ahead of the file only if the machine lost power; the hash of the whole finds that.
/// Neither file has a name under which other programs look for a beginning of the content.
final class PartialFile: Sendable {
  /// Bytes of a segment but the last.
  static let segmentLength = 32 << 20
  private static let magic = Array("bitnet-journal1\n".utf8)
  private static let headerLength = 32

  private struct State {
    /// Written bytes of each segment.
    var received: [Int]
    var isClaimed: [Bool]
    /// Whether the server sends whole files only, so that one connection writes all segments.
    var isSequential = false
    /// How often everything was discarded.
    var generation = 0
  }

  let path: String
  let journalPath: String
  let size: Int
  private let descriptor: Int32
  private let journal: Int32
  private let state: Mutex<State>

  /// Opens the files that an earlier process left, or creates them.
  ///
  /// - Parameters:
  ///   - blob: the path of the finished file, whose lock the caller holds.
  ///   - size: its bytes.
  /// - Throws: `HubError` if the files cannot be created.
  init(blob: String, size: Int) throws(HubError) {
    path = "\(blob).ranges.incomplete"
    journalPath = "\(blob).journal.incomplete"
    self.size = size
    descriptor = try Self.open(path)
    do throws(HubError) {
      journal = try Self.open(journalPath)
    } catch {
      close(descriptor)
      throw error
    }
    let count = (size + Self.segmentLength - 1) / Self.segmentLength
    let received = Self.readJournal(journal, segments: count, size: size, of: descriptor)
    state = Mutex(
      State(received: received ?? Array(repeating: 0, count: count), isClaimed: Array(repeating: false, count: count)))
    if received == nil { try discard() }
  }

  deinit {
    close(descriptor)
    close(journal)
  }

  private static func open(_ path: String) throws(HubError) -> Int32 {
    #if canImport(Darwin)
      let descriptor = Darwin.open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o644)
    #elseif canImport(Musl)
      let descriptor = Musl.open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o644)
    #else
      let descriptor = Glibc.open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o644)
    #endif
    guard descriptor >= 0 else { throw HubError("\(path) cannot be created: \(systemError())") }
    return descriptor
  }

  /// The written bytes of each segment; nil if the journal is not one of this file.
  private static func readJournal(_ journal: Int32, segments: Int, size: Int, of descriptor: Int32) -> [Int]? {
    var bytes = [UInt8](repeating: 0, count: headerLength + 4 * segments)
    guard pread(journal, &bytes, bytes.count, 0) == bytes.count, Array(bytes[..<16]) == magic else { return nil }
    var status = stat()
    guard fstat(descriptor, &status) == 0 else { return nil }
    return bytes.withUnsafeBytes { raw in
      guard raw.loadUnaligned(fromByteOffset: 16, as: UInt64.self).littleEndian == UInt64(size),
        raw.loadUnaligned(fromByteOffset: 24, as: UInt64.self).littleEndian == UInt64(segmentLength)
      else { return nil }
      var received: [Int] = []
      for segment in 0..<segments {
        let count = Int(raw.loadUnaligned(fromByteOffset: headerLength + 4 * segment, as: UInt32.self).littleEndian)
        let start = segment * segmentLength
        guard count <= min(segmentLength, size - start), count == 0 || start + count <= Int(status.st_size) else {
          return nil
        }
        received.append(count)
      }
      return received
    }
  }

  /// Begins anew.
  func discard() throws(HubError) {
    try state.withLock { (state) throws(HubError) in
      for segment in state.received.indices {
        state.received[segment] = 0
        state.isClaimed[segment] = false
      }
      state.isSequential = false
      state.generation += 1
      var header = Self.magic
      withUnsafeBytes(of: UInt64(size).littleEndian) { header += $0 }
      withUnsafeBytes(of: UInt64(Self.segmentLength).littleEndian) { header += $0 }
      header += [UInt8](repeating: 0, count: 4 * state.received.count)
      guard ftruncate(journal, 0) == 0, ftruncate(descriptor, 0) == 0 else {
        throw HubError("\(path) cannot be written: \(Self.systemError())")
      }
      try Self.write(header[...], to: journal, at: 0, journalPath)
    }
  }

  func removeFiles() {
    unlink(path)
    unlink(journalPath)
  }

  /// The bytes of a segment within the file.
  func range(of segment: Int) -> Range<Int> {
    segment * Self.segmentLength..<min(size, (segment + 1) * Self.segmentLength)
  }

  /// Claims the first segment that is neither complete nor claimed, and returns it; nil if there is none.
  func claim() -> Int? {
    state.withLock { state in
      let found = state.received.indices.first {
        !state.isClaimed[$0] && state.received[$0] < range(of: $0).count && !state.isSequential
      }
      if let found { state.isClaimed[found] = true }
      return found
    }
  }

  /// Where a segment's next byte belongs.
  func position(of segment: Int) -> Int { state.withLock { range(of: segment).lowerBound + $0.received[segment] } }

  /// Gives the whole file to one connection.
  ///
  /// - Returns: false if it was given to another one before.
  func claimAll() -> Bool {
    state.withLock { state in
      defer { state.isSequential = true }
      return !state.isSequential
    }
  }

  /// Written bytes.
  var received: Int { state.withLock { $0.received.reduce(0, +) } }

  /// How many bytes at the beginning are complete, and of which generation they are.
  var prefix: (count: Int, generation: Int) {
    state.withLock { state in
      var count = 0
      for segment in state.received.indices {
        count += state.received[segment]
        if state.received[segment] < range(of: segment).count { break }
      }
      return (count, state.generation)
    }
  }

  /// Writes bytes that begin at `position`, except those that are there already.
  ///
  /// - Returns: how many bytes were new.
  /// - Throws: `HubError` if the disk is full or broken.
  func write(_ bytes: [UInt8], at position: Int) throws(HubError) -> Int {
    var rest = bytes[...]
    var new = 0
    while !rest.isEmpty {
      let at = position + bytes.count - rest.count
      let segment = at / Self.segmentLength
      let inSegment = rest.prefix(range(of: segment).upperBound - at)
      let known = self.position(of: segment)
      guard known >= at else { throw HubError("\(path) has a gap before byte \(at); remove it") }
      let missing = inSegment.dropFirst(known - at)
      if !missing.isEmpty {
        try Self.write(missing, to: descriptor, at: known, path)
        let count = state.withLock { state in
          state.received[segment] += missing.count
          return state.received[segment]
        }
        let bytes = withUnsafeBytes(of: UInt32(count).littleEndian) { Array($0) }
        try Self.write(bytes[...], to: journal, at: Self.headerLength + 4 * segment, journalPath)
        new += missing.count
      }
      rest = rest.dropFirst(inSegment.count)
    }
    return new
  }

  /// Reads written bytes.
  ///
  /// - Returns: as many of the buffer's bytes as could be read, at least one.
  func read(into buffer: UnsafeMutableRawBufferPointer, at position: Int) throws(HubError) -> Int {
    let count = pread(descriptor, buffer.baseAddress!, buffer.count, off_t(position))
    guard count > 0 else {
      throw HubError("\(path) cannot be read: \(count == 0 ? "it became shorter" : Self.systemError())")
    }
    return count
  }

  /// Makes the content durable and gives it its name.
  func commit(as blob: String) throws(HubError) {
    guard fsync(descriptor) == 0 else { throw HubError("\(path) cannot be written to disk: \(Self.systemError())") }
    guard rename(path, blob) == 0 else { throw HubError("\(blob) cannot be given its name: \(Self.systemError())") }
    unlink(journalPath)
  }

  private static func write(
    _ bytes: ArraySlice<UInt8>, to descriptor: Int32, at position: Int, _ path: String
  ) throws(HubError) {
    var written = 0
    while written < bytes.count {
      let count = bytes.withUnsafeBytes {
        pwrite(descriptor, $0.baseAddress! + written, $0.count - written, off_t(position + written))
      }
      guard count > 0 || errno == EINTR else {
        throw HubError("\(path) cannot be written: \(systemError())")
      }
      written += max(count, 0)
    }
  }

  private static func systemError() -> String { String(cString: strerror(errno)) }
}
