#if canImport(Darwin)
  import Darwin
#elseif canImport(Musl)
  import Musl
#else
  import Glibc
#endif

/// Zeroed memory of whole pages, in huge pages where the system has them.
package final class PageBuffer: @unchecked Sendable {
  // Unchecked: whoever fills the buffer has it alone; it is shared only as `SharedBytes`, read-only.
  package let bytes: UnsafeMutableRawBufferPointer

  /// No page is touched until it is written; on a machine with several memories it then lies near the thread that
  /// writes it.
  ///
  /// - Parameter count: bytes, 1 or more.
  /// - Returns: nil, with the reason in `errno`, when the system has no room.
  package init?(count: Int) {
    guard let address = mmap(nil, count, PROT_READ | PROT_WRITE, MAP_PRIVATE | Self.anonymous, -1, 0),
      address != UnsafeMutableRawPointer(bitPattern: -1)
    else { return nil }
    #if os(Linux)
      madvise(address, count, 14)  // MADV_HUGEPAGE, which not every C library's Swift module shows
    #endif
    bytes = UnsafeMutableRawBufferPointer(start: address, count: count)
  }

  deinit { munmap(bytes.baseAddress!, bytes.count) }

  /// The contents, read-only; write no more to a part that has been shared.
  package var shared: SharedBytes { SharedBytes(owner: self, bytes: UnsafeRawBufferPointer(bytes)) }

  private static var anonymous: Int32 {
    #if canImport(Darwin)
      MAP_ANON
    #else
      Int32(MAP_ANONYMOUS)
    #endif
  }
}
