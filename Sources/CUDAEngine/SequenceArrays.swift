import BitNetCUDADriver
import BitNetInference
import CBitNetCUDAKernels

/// The sequences of a decode step in device memory. The arrays keep their addresses, and the sampler writes the next
/// tokens and positions into them.
struct SequenceArrays {
  /// A sequence's state at the start of a run.
  struct Start {
    let id: Int32
    let position: Int
    let pages: [UInt64]
    let sampling: SamplingParameters
  }

  /// `[capacity]` each of tokens, positions, slots, rows, windows and RowSampling: DecodeSequences where `capacity` is
  /// `outputGroup`.
  private let state: CUDABuffer
  /// Page tables, `[capacity][pageCapacity]` addresses.
  private let tables: CUDABuffer
  private let capacity: Int
  private let pageCapacity: Int
  private let stream: CUDAStream

  init(_ library: KernelLibrary, capacity: Int, pageCapacity: Int) throws(CUDAError) {
    (self.capacity, self.pageCapacity, stream) = (capacity, pageCapacity, library.stream)
    state = try CUDABuffer(
      library.context, byteCount: capacity * (5 * MemoryLayout<Int32>.stride + MemoryLayout<RowSampling>.stride))
    tables = try CUDABuffer(library.context, byteCount: 8 * capacity * pageCapacity)
  }

  /// DecodeSequences, where `capacity` is `outputGroup`.
  var address: UInt64 { state.address }
  /// The sequences' rows of the page table: 0, 1, ….
  var slots: UInt64 { array(2) }
  var pages: Pages { Pages(addresses: tables.address, capacity: Int32(pageCapacity), unused: 0) }

  /// The arrays that the head and the sampler take.
  var outputs: OutputArrays {
    OutputArrays(rows: array(3), sampling: array(5), windows: array(4), tokens: array(0), positions: array(1))
  }

  /// The array after `count` others, which have elements of four bytes.
  private func array(_ count: Int) -> UInt64 { state.address + UInt64(4 * capacity * count) }

  /// Writes the sequences' state to the device. No step is running.
  func write(_ starts: [Start]) throws(CUDAError) {
    var bytes: [UInt8] = []
    func add<Element: BitwiseCopyable>(_ values: [Element]) {
      let end = bytes.count + capacity * MemoryLayout<Element>.stride
      values.withUnsafeBytes { bytes.append(contentsOf: $0) }
      bytes.append(contentsOf: repeatElement(0, count: end - bytes.count))
    }
    let places = starts.indices.map { Int32($0) }
    add(starts.map(\.id))
    add(starts.map { Int32($0.position) })
    add(places)
    add(places)
    add(starts.map(\.sampling.window))
    add(starts.map { RowSampling($0.sampling) })
    try bytes.withUnsafeBufferPointer { (bytes) throws(CUDAError) in
      try state.copy(from: UnsafeRawBufferPointer(bytes))
    }
    guard starts.count * pageCapacity <= Self.fewPages else {
      for (index, start) in starts.enumerated() { try setPages(start.pages, of: index, from: 0) }
      return
    }
    var all = [UInt64](repeating: 0, count: starts.count * pageCapacity)
    for (index, start) in starts.enumerated() {
      let place = index * pageCapacity
      all.replaceSubrange(place..<place + start.pages.count, with: start.pages)
    }
    try setPages(all, of: 0, from: 0)
  }

  /// Pages of all tables up to which one copy of them takes less time than a copy for each sequence: 128 KiB.
  private static let fewPages = 16 << 10

  /// Adds pages to a sequence's table, in stream order: steps launched earlier do not see them, later steps do.
  func setPages(_ addresses: [UInt64], of index: Int, from first: Int) throws(CUDAError) {
    let place = tables.address + UInt64(8 * (index * pageCapacity + first))
    // Ordinary memory is copied aside before the call returns.
    try addresses.withUnsafeBufferPointer { (addresses) throws(CUDAError) in
      try stream.copy(from: UnsafeRawBufferPointer(addresses), to: place)
    }
  }
}
