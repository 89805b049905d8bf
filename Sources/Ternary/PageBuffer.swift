#if canImport(Darwin)
  import Darwin
#elseif canImport(Musl)
  import Musl
#else
  import Glibc
#endif

/// Zeroed memory of whole pages, in huge pages if the system has them.
package final class PageBuffer: @unchecked Sendable {
  // Unchecked: only the owner fills the buffer; it is shared only as `SharedBytes`, which are read-only.
  package let bytes: UnsafeMutableRawBufferPointer

  /// Touches no page. On a NUMA machine each page is therefore placed near the thread that first writes it.
  ///
  /// - Parameter count: bytes, 1 or more.
  /// - Returns: nil, with the reason in `errno`, when the system has no memory.
  package init?(count: Int) {
    guard let address = mmap(nil, count, PROT_READ | PROT_WRITE, MAP_PRIVATE | Self.anonymous, -1, 0),
      address != UnsafeMutableRawPointer(bitPattern: -1)
    else { return nil }
    #if os(Linux)
      madvise(address, count, 14)  // MADV_HUGEPAGE, which some C libraries' Swift modules lack
    #endif
    bytes = UnsafeMutableRawBufferPointer(start: address, count: count)
  }

  deinit { munmap(bytes.baseAddress!, bytes.count) }

  /// The contents, read-only. Do not write to a part after it has been shared.
  package var shared: SharedBytes { SharedBytes(owner: self, bytes: UnsafeRawBufferPointer(bytes)) }

  private static var anonymous: Int32 {
    #if canImport(Darwin)
      MAP_ANON
    #else
      Int32(MAP_ANONYMOUS)
    #endif
  }
}
