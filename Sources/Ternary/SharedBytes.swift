/// Read-only bytes that keep their owner (a mapped file, an allocation) alive.
///
/// Weights are raw memory only here; all other code takes slices of a `SharedBytes`.
package struct SharedBytes: @unchecked Sendable {
  // Unchecked: the bytes are never written after a value of this type exists.
  private let owner: AnyObject
  package let baseAddress: UnsafeRawPointer
  package let count: Int

  /// - Parameters:
  ///   - owner: the object that frees the memory when it is released.
  ///   - bytes: memory valid, and not written, for as long as `owner` lives.
  package init(owner: AnyObject, bytes: UnsafeRawBufferPointer) {
    self.owner = owner
    self.baseAddress = bytes.baseAddress ?? UnsafeRawPointer(bitPattern: 64)!
    self.count = bytes.count
  }

  /// The bytes in `range`, or nil if the range is not inside `0..<count`.
  package func slice(_ range: Range<Int>) -> SharedBytes? {
    guard range.lowerBound >= 0, range.upperBound <= count else { return nil }
    return SharedBytes(
      owner: owner, bytes: UnsafeRawBufferPointer(start: baseAddress + range.lowerBound, count: range.count))
  }

  /// Releases the memory of bytes that will not be read soon, if they belong to a mapped file. Later reads read the
  /// file again.
  package func releasePages() {
    (owner as? any PageReleasing)?.releasePages(of: UnsafeRawBufferPointer(start: baseAddress, count: count))
  }

  /// Whether the owner can release the bytes' memory, as a mapped file can.
  package var canReleasePages: Bool { owner is any PageReleasing }

  package func withUnsafeBytes<Result, Failure: Error>(
    _ body: (UnsafeRawBufferPointer) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    defer { withExtendedLifetime(owner) {} }
    return try body(UnsafeRawBufferPointer(start: baseAddress, count: count))
  }
}

/// Memory that can be released and read again, such as a mapped file's.
package protocol PageReleasing: AnyObject {
  /// Releases the memory of whole pages.
  ///
  /// - Parameter bytes: part of the memory; only whole pages inside it are released.
  func releasePages(of bytes: UnsafeRawBufferPointer)
}

/// Memory aligned to a cache line, freed with the object.
package final class AlignedBuffer: @unchecked Sendable {
  // Unchecked: only the owner fills the buffer; it is shared only as `SharedBytes`, which are read-only.
  package static let alignment = 64
  package let bytes: UnsafeMutableRawBufferPointer

  /// Zeroed memory.
  ///
  /// - Parameter count: bytes, 0 or more; the allocation is rounded up to whole cache lines.
  package convenience init(count: Int) {
    self.init(uninitializedCount: count)
    bytes.baseAddress!.initializeMemory(as: UInt8.self, repeating: 0, count: Self.wholeLines(count))
  }

  /// Memory that holds anything.
  ///
  /// - Parameter count: as of `init(count:)`.
  package init(uninitializedCount count: Int) {
    let base = UnsafeMutableRawPointer.allocate(byteCount: Self.wholeLines(count), alignment: Self.alignment)
    bytes = UnsafeMutableRawBufferPointer(start: base, count: count)
  }

  private static func wholeLines(_ count: Int) -> Int {
    max(alignment, (count + alignment - 1) / alignment * alignment)
  }

  deinit { bytes.baseAddress?.deallocate() }

  /// The contents, read-only. Do not write after the first call.
  package var shared: SharedBytes { SharedBytes(owner: self, bytes: UnsafeRawBufferPointer(bytes)) }
}
