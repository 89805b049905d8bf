import CUDATestSupport
import CUDAOnCPU
import Testing

import BitNetCUDADriver

extension StandInTests {
  @Suite("Modules and kernels")
  struct KernelTests {
    @Test("A kernel receives every kind of argument")
    func arguments() throws {
      let context = try StandInTests.standIn.get().context()
      let kernel = try StandInTests.standIn.get().kernel("selftest_parameters", context)
      #expect(kernel.name == "selftest_parameters" && kernel.registerCount >= 0 && kernel.localByteCount >= 0)
      let (values, output) = (try CUDABuffer(context, byteCount: 12), try CUDABuffer(context, byteCount: 24))
      try [UInt32](arrayLiteral: 10, 20, 30).withUnsafeBytes { try values.copy(from: $0) }
      // SelftestParameters of Tests/CUDAOnCPU/kernels/selftest.cpp.
      struct Structure {
        let values: UInt64
        let factor: Float
        let count: Int32
        let small: (UInt16, UInt16, UInt16)
      }
      let structure = Structure(values: values.address, factor: 1.5, count: 3, small: (0, 0, 65535))
      let stream = try CUDAStream(context)
      try stream.launch(
        kernel, grid: 1, threads: 32,
        .value(output.address), .value(Int32(-3)), .value(UInt32(4_000_000_000)), .value(UInt64(5 << 32)),
        .value(Float(0.25)), .value(structure))
      try stream.synchronize()
      let floats = try output.contents().withUnsafeBytes { Array($0.bindMemory(to: Float.self)) }
      #expect(floats == [-3, 4e9, 5, 0.25, 45, 65535])
    }

    @Test("A kernel that sums in shared memory works alone and in a graph")
    func reduce() throws {
      let context = try StandInTests.standIn.get().context()
      let kernel = try StandInTests.standIn.get().kernel("selftest_reduce", context)
      let numbers = (0..<1000).map { Int32($0) }
      let (input, output) = (try CUDABuffer(context, byteCount: 4000), try CUDABuffer(context, byteCount: 16))
      try numbers.withUnsafeBytes { try input.copy(from: $0) }
      let stream = try CUDAStream(context)
      func launch() throws(CUDAError) {
        try stream.launch(
          kernel, grid: 4, threads: 256, sharedBytes: 32, .value(output.address), .value(input.address),
          .value(Int32(1000)))
      }
      func sums() throws -> [Int32] {
        try stream.synchronize()
        return try output.contents().withUnsafeBytes { Array($0.bindMemory(to: Int32.self)) }
      }
      let expected = [0..<256, 256..<512, 512..<768, 768..<1000].map { numbers[$0].reduce(0, +) }
      try launch()
      #expect(try sums() == expected)
      try output.fill(byte: 0)
      let graph = try stream.capture(launch)
      #expect(try sums() == [0, 0, 0, 0])
      try graph.launch(on: stream)
      #expect(try sums() == expected)
    }

    @Test("The blocks of a cooperative launch synchronise; a grid too large to be resident is refused")
    func cooperative() throws {
      let context = try StandInTests.standIn.get().context()
      let kernel = try StandInTests.standIn.get().kernel("selftest_grid_barrier", context)
      let fitting =
        try kernel.maximumBlocksPerMultiprocessor(threads: 64, sharedBytes: 0) * context.device.multiprocessorCount
      #expect(fitting > 0)
      let count = min(fitting, 4)
      let (numbers, state) = (
        try CUDABuffer(context, byteCount: 8 * fitting + 8), try CUDABuffer(context, byteCount: 4)
      )
      try numbers.fill(byte: 0)
      try [UInt32](repeating: 1, count: count).withUnsafeBytes { try numbers.copy(from: $0) }
      try state.fill(byte: 0)
      let stream = try CUDAStream(context)
      func launch(blocks: Int, rounds: Int32) throws(CUDAError) {
        try stream.launch(
          kernel, grid: CUDAGrid(blocks), threads: 64, cooperative: true,
          .value(numbers.address), .value(state.address), .value(Int32(rounds)))
      }
      try launch(blocks: count, rounds: 10)
      try stream.synchronize()
      let sums = try numbers.contents().withUnsafeBytes { Array($0.bindMemory(to: UInt32.self))[..<count] }
      #expect(sums.allSatisfy { $0 == 1024 })
      try expectCall(
        "cuLaunchCooperativeKernel", code: 720, naming: "selftest_grid_barrier, grid \(fitting + 1)×1×1, 64 threads"
      ) {
        try launch(blocks: fitting + 1, rounds: 0)
      }
    }

    @Test("More than 48 KiB of shared memory need permission, up to the device's limit")
    func sharedMemory() throws {
      let context = try StandInTests.standIn.get().context { $0.sharedMemoryByteCount = 100_000 }
      let kernel = try StandInTests.standIn.get().kernel("selftest_shared_overrun", context)
      let output = try CUDABuffer(context, byteCount: 4)
      let stream = try CUDAStream(context)
      func launch() throws(CUDAError) {
        try stream.launch(
          kernel, grid: 1, threads: 32, sharedBytes: 100_000, .value(output.address), .value(Int32(100_000)))
      }
      try expectCall("cuLaunchKernel", code: 1, naming: "100000 bytes of shared memory", launch)
      for bytes in [-1, 100_001] {
        #expect(
          throws: CUDAError.parameter(
            name: "the shared memory of the kernel selftest_shared_overrun", found: "\(bytes) bytes",
            expected: "0 to 100000")
        ) { try kernel.allowSharedMemory(bytes) }
      }
      try kernel.allowSharedMemory(100_000)
      #expect(try kernel.maximumBlocksPerMultiprocessor(threads: 32, sharedBytes: 100_000) >= 1)
      try launch()
      try stream.synchronize()
    }

    @Test("Launch numbers out of range are refused before the driver is called")
    func launchNumbers() throws {
      let context = try StandInTests.standIn.get().context()
      let kernel = try StandInTests.standIn.get().kernel("selftest_hang", context)
      let stream = try CUDAStream(context)
      func refuses(
        _ what: String, _ found: Int, _ expected: String, grid: CUDAGrid = 1, threads: Int = 1, shared: Int = 0
      ) {
        #expect(
          throws: CUDAError.parameter(
            name: "the number of \(what) of the kernel selftest_hang", found: "\(found)", expected: expected)
        ) { try stream.launch(kernel, grid: grid, threads: threads, sharedBytes: shared) }
      }
      refuses("blocks in x", 0, "1 to 2147483647", grid: 0)
      refuses("blocks in x", 1 << 31, "1 to 2147483647", grid: .init(1 << 31))
      refuses("blocks in y", -1, "1 to 65535", grid: .init(1, -1))
      refuses("blocks in z", 65536, "1 to 65535", grid: .init(1, 1, 65536))
      refuses("threads of a block", 0, "1 to 1024", threads: 0)
      refuses("threads of a block", 1025, "1 to 1024", threads: 1025)
      refuses("bytes of shared memory", -1, "0 to 2147483647", shared: -1)
      #expect(throws: CUDAError.self) { _ = try kernel.maximumBlocksPerMultiprocessor(threads: 0, sharedBytes: 0) }
      #expect(throws: CUDAError.self) { _ = try kernel.maximumBlocksPerMultiprocessor(threads: 1, sharedBytes: .max) }
    }

    @Test("PTX that the driver refuses is an error with its reason")
    func badModule() throws {
      let context = try StandInTests.standIn.get().context()
      let text = Array("nothing like PTX\0".utf8)
      let error = #expect(throws: CUDAError.self) {
        try text.withUnsafeBytes { _ = try CUDAModule(context, ptx: $0, name: "broken") }
      }
      guard case .moduleRefused("broken", let result, let log) = error else {
        Issue.record("\(String(describing: error))")
        return
      }
      #expect(result.code == 218 && result.name == "CUDA_ERROR_INVALID_PTX")
      #expect(!log.isEmpty && !log.contains(where: \.isNewline))
      #expect(
        throws: CUDAError.parameter(name: "the last byte of the PTX broken", found: "88", expected: "0")
      ) { try text.dropLast().withUnsafeBytes { _ = try CUDAModule(context, ptx: $0, name: "broken") } }
      #expect(
        throws: CUDAError.parameter(name: "the last byte of the PTX broken", found: "missing", expected: "0")
      ) { _ = try CUDAModule(context, ptx: UnsafeRawBufferPointer(start: nil, count: 0), name: "broken") }
    }

    @Test("PTX that is newer than the driver is refused")
    func newModule() throws {
      let context = try StandInTests.standIn.get().context()
      let text = Array(".version 99.0\n.target sm_80\n.address_size 64\n\0".utf8)
      let error = #expect(throws: CUDAError.self) {
        try text.withUnsafeBytes { _ = try CUDAModule(context, ptx: $0, name: "future") }
      }
      guard case .moduleRefused("future", let result, _) = error else {
        Issue.record("\(String(describing: error))")
        return
      }
      #expect(result.code == 222)
    }

    @Test("A kernel that the module lacks is an error that names it")
    func unknownFunction() throws {
      let module = try StandInTests.standIn.get().module(StandInTests.standIn.get().context())
      try expectCall("cuModuleGetFunction", code: 500, naming: "selftest_missing of selftest") {
        _ = try module.function("selftest_missing")
      }
    }

    @Test("A kernel that uses an invalid address ends the context")
    func illegalAddress() throws {
      let context = try StandInTests.standIn.get().context()
      let kernel = try StandInTests.standIn.get().kernel("selftest_out_of_bounds", context)
      let buffer = try CUDABuffer(context, byteCount: 1024)
      let stream = try CUDAStream(context)
      try stream.launch(
        kernel, grid: 1, threads: 32, .value(buffer.address), .value(buffer.address), .value(Int32(256)),
        .value(Int32(0)))
      try expectCall("cuStreamSynchronize", code: 700, naming: "") { try stream.synchronize() }
      try expectCall("cuStreamQuery", code: 700, naming: "") { _ = try stream.isIdle() }
      try expectCall("cuMemAlloc", code: 700, naming: "16 bytes") { _ = try CUDABuffer(context, byteCount: 16) }
      try expectCall("cuCtxSynchronize", code: 700, naming: "") { try context.synchronize() }
    }

    @Test(
      "A prefetch of a line outside of all allocations is detected, although it changes nothing",
      arguments: [0, 999, 1023, -1, 1024, 4096])
    func prefetch(offset: Int) throws {
      let context = try StandInTests.standIn.get().context()
      let kernel = try StandInTests.standIn.get().kernel("selftest_prefetch_at", context)
      // The buffer ends within a line, but its allocation is rounded up to whole lines.
      let buffer = try CUDABuffer(context, byteCount: 1000)
      let stream = try CUDAStream(context)
      try stream.launch(
        kernel, grid: 1, threads: 32, .value(buffer.address), .value(Int64(offset)))
      if 0..<1024 ~= offset {
        try stream.synchronize()
      } else {
        try expectCall("cuStreamSynchronize", code: 700, naming: "") { try stream.synchronize() }
      }
    }

    @Test("A multiprocessor runs at most the configured number of blocks", arguments: [1, 2])
    func blocks(limit: Int) throws {
      let context = try StandInTests.standIn.get().context { $0.blocksPerMultiprocessor = Int32(limit) }
      let kernel = try StandInTests.standIn.get().kernel("selftest_grid_barrier", context)
      #expect(try kernel.maximumBlocksPerMultiprocessor(threads: 64, sharedBytes: 0) == limit)
      let buffer = try CUDABuffer(context, byteCount: 256)
      let blocks = limit * context.device.multiprocessorCount + 1
      try expectCall(
        "cuLaunchCooperativeKernel", code: 720, naming: "selftest_grid_barrier, grid \(blocks)×1×1, 64 threads"
      ) {
        try CUDAStream(context).launch(
          kernel, grid: CUDAGrid(blocks), threads: 64, cooperative: true, .value(buffer.address),
          .value(buffer.address), .value(Int32(0)))
      }
    }

    /// Expects a call of the driver to fail with a code, and the error to name its arguments.
    private func expectCall(
      _ function: String, code: UInt32, naming text: String, _ body: () throws -> Void,
      at location: SourceLocation = #_sourceLocation
    ) throws {
      let error = #expect(throws: CUDAError.self, sourceLocation: location, performing: body)
      guard case .call(function, let result, let detail) = error, result.code == code,
        text.isEmpty || detail.contains(text)
      else {
        Issue.record("\(error.map(\.description) ?? "no error")", sourceLocation: location)
        return
      }
      #expect(result.name.hasPrefix("CUDA_ERROR_"), sourceLocation: location)
    }
  }
}
