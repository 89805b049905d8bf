/// How many blocks a launch has in each direction.
package struct CUDAGrid: Sendable, Equatable, ExpressibleByIntegerLiteral, CustomStringConvertible {
  /// 1 to 2³¹ - 1.
  package var x: Int
  /// 1 to 65535.
  package var y: Int
  /// 1 to 65535.
  package var z: Int

  package init(_ x: Int, _ y: Int = 1, _ z: Int = 1) {
    self.x = x
    self.y = y
    self.z = z
  }

  package init(integerLiteral x: Int) { self.init(x) }

  package var description: String { "\(x)×\(y)×\(z)" }
}

/// The value of one of a kernel's parameters, byte by byte as the kernel's compiler lays it out.
package struct CUDAArgument: Sendable {
  private let bytes: [UInt8]

  /// A number, an address of the device, or a structure of a C header.
  package static func value<Value: BitwiseCopyable>(_ value: Value) -> CUDAArgument {
    CUDAArgument(bytes: withUnsafeBytes(of: value) { Array($0) })
  }

  /// Every value starts at a multiple of this: the widest alignment a parameter can have.
  fileprivate static let alignment = 16

  /// Bytes that it takes, with the gap to the next.
  fileprivate var paddedByteCount: Int { (bytes.count + Self.alignment - 1) / Self.alignment * Self.alignment }

  fileprivate func store(to slot: UnsafeMutableRawPointer) {
    bytes.withUnsafeBytes { if let start = $0.baseAddress { slot.copyMemory(from: start, byteCount: $0.count) } }
  }
}

extension [CUDAArgument] {
  /// The values in memory as the driver takes them: an array of pointers to them, valid inside `body`.
  fileprivate func withPointers(_ body: (UnsafeMutablePointer<UnsafeMutableRawPointer?>?) -> CUresult) -> CUresult {
    let byteCount = Swift.max(reduce(0) { $0 + $1.paddedByteCount }, 1)
    return withUnsafeTemporaryAllocation(byteCount: byteCount, alignment: CUDAArgument.alignment) { values in
      withUnsafeTemporaryAllocation(of: UnsafeMutableRawPointer?.self, capacity: count) { pointers in
        var slot = values.baseAddress!
        for (index, argument) in enumerated() {
          argument.store(to: slot)
          pointers.initializeElement(at: index, to: slot)
          slot += argument.paddedByteCount
        }
        return body(pointers.baseAddress)
      }
    }
  }
}

extension CUDAStream {
  /// Starts a kernel.
  ///
  /// - Parameters:
  ///   - threads: threads of a block, in one direction: 1 to 1024.
  ///   - sharedBytes: dynamic shared memory of a block; beyond 48 KiB at most the bytes that
  ///     `CUDAFunction.allowSharedMemory` was given.
  ///   - cooperative: whether all blocks must run at the same time, as they wait for each other.
  ///   - arguments: one value for each parameter of the kernel, of its size. The driver reads as many as the kernel has
  ///     and checks nothing.
  /// - Throws: `CUDAError.parameter` for a number out of range, `.call` when the driver refuses the launch.
  package func launch(
    _ function: CUDAFunction, grid: CUDAGrid, threads: Int, sharedBytes: Int = 0, cooperative: Bool = false,
    _ arguments: CUDAArgument...
  ) throws(CUDAError) {
    let x = try function.launchNumber("blocks in x", grid.x, 1...Int(Int32.max))
    let y = try function.launchNumber("blocks in y", grid.y, 1...65535)
    let z = try function.launchNumber("blocks in z", grid.z, 1...65535)
    let threadCount = try function.launchNumber("threads of a block", threads, 1...1024)
    let sharedByteCount = try function.launchNumber("bytes of shared memory", sharedBytes, 0...Int(Int32.max))
    try context.call(
      cooperative ? "cuLaunchCooperativeKernel" : "cuLaunchKernel",
      "\(function.name), grid \(grid), \(threads) threads, \(sharedBytes) bytes of shared memory"
    ) { functions in
      arguments.withPointers { pointers in
        cooperative
          ? functions.cuLaunchCooperativeKernel(
            function.handle, x, y, z, threadCount, 1, 1, sharedByteCount, handle, pointers)
          : functions.cuLaunchKernel(
            function.handle, x, y, z, threadCount, 1, 1, sharedByteCount, handle, pointers, nil)
      }
    }
  }
}
