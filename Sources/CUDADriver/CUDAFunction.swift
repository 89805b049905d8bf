/// A kernel. It keeps its module.
package final class CUDAFunction {
  package let module: CUDAModule
  package let name: String
  /// Registers of a thread.
  package let registerCount: Int
  /// Bytes of a thread that did not fit into registers and are in memory.
  package let localByteCount: Int
  let handle: CUfunction?

  private enum Attribute {
    static let localByteCount: Int32 = 3
    static let registerCount: Int32 = 4
    static let maximumDynamicSharedBytes: Int32 = 8
  }

  init(_ module: CUDAModule, name: String) throws(CUDAError) {
    let context = module.context
    let detail = "\(name) of \(module.name)"
    var handle: CUfunction?
    try context.call("cuModuleGetFunction", detail) { $0.cuModuleGetFunction(&handle, module.handle, name) }
    var (registers, localBytes): (Int32, Int32) = (0, 0)
    try context.call("cuFuncGetAttribute", detail) {
      $0.cuFuncGetAttribute(&registers, Attribute.registerCount, handle)
    }
    try context.call("cuFuncGetAttribute", detail) {
      $0.cuFuncGetAttribute(&localBytes, Attribute.localByteCount, handle)
    }
    self.module = module
    self.name = name
    self.handle = handle
    registerCount = Int(registers)
    localByteCount = Int(localBytes)
  }

  /// Lets launches use more shared memory than the 48 KiB that every kernel may.
  ///
  /// - Parameter bytes: 0 to the device's `sharedMemoryPerBlock`.
  package func allowSharedMemory(_ bytes: Int) throws(CUDAError) {
    let limit = module.context.device.sharedMemoryPerBlock
    guard 0...max(limit, 0) ~= bytes else {
      throw .parameter(
        name: "the shared memory of the kernel \(name)", found: "\(bytes) bytes", expected: "0 to \(limit)")
    }
    try module.context.call("cuFuncSetAttribute", "\(bytes) bytes of shared memory for \(name)") {
      $0.cuFuncSetAttribute(handle, Attribute.maximumDynamicSharedBytes, Int32(bytes))
    }
  }

  /// How many blocks of the kernel a multiprocessor runs at a time. A cooperative launch may have this many on each and
  /// no more.
  ///
  /// - Parameters:
  ///   - threads: threads of a block: 1 to 1024.
  ///   - sharedBytes: dynamic shared memory of a block: 0 to the bytes that `allowSharedMemory` was given.
  package func maximumBlocksPerMultiprocessor(threads: Int, sharedBytes: Int) throws(CUDAError) -> Int {
    let threadCount = try launchNumber("threads of a block", threads, 1...1024)
    let sharedByteCount = try launchNumber("bytes of shared memory", sharedBytes, 0...Int(Int32.max))
    var blocks: Int32 = 0
    try module.context.call(
      "cuOccupancyMaxActiveBlocksPerMultiprocessor",
      "\(name), \(threads) threads, \(sharedBytes) bytes of shared memory"
    ) {
      $0.cuOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, handle, Int32(threadCount), Int(sharedByteCount))
    }
    return Int(blocks)
  }

  /// A number of a launch, if it is in its range.
  func launchNumber(_ what: String, _ value: Int, _ range: ClosedRange<Int>) throws(CUDAError) -> UInt32 {
    guard range ~= value else {
      throw .parameter(
        name: "the number of \(what) of the kernel \(name)", found: "\(value)",
        expected: "\(range.lowerBound) to \(range.upperBound)")
    }
    return UInt32(value)
  }
}
