import CUDATestSupport
import CUDAOnCPU
import Foundation
import Testing

import BitNetCUDADriver

extension StandInTests {
  @Suite("Streams, events and graphs")
  struct StreamTests {
    @Test("A stream executes its operations in order")
    func order() throws {
      let context = try StandInTests.standIn.get().context()
      let stream = try CUDAStream(context)
      let (first, second) = (try CUDABuffer(context, byteCount: 64), try CUDABuffer(context, byteCount: 64))
      let (source, target) = (try CUDAHostBuffer(context, byteCount: 32), try CUDAHostBuffer(context, byteCount: 64))
      source.bytes.initializeMemory(as: UInt8.self, repeating: 3)
      try stream.fill(first.address, byte: 1, count: 64)
      try stream.copy(from: UnsafeRawBufferPointer(source.bytes), to: first.address + 16)
      try stream.copy(device: first.address, to: second.address, byteCount: 64)
      try stream.fill(second.address + 32, byte: 9, count: 1)
      try stream.copy(from: second.address, to: target.bytes)
      try stream.synchronize()
      #expect(try stream.isIdle())
      let expected =
        [UInt8](repeating: 1, count: 16) + [UInt8](repeating: 3, count: 32) + [UInt8](repeating: 1, count: 16)
      #expect(try first.contents() == expected)
      #expect(target.bytes.elementsEqual(expected[..<32] + [9] + expected[33...]))
    }

    @Test("A stream is busy while a kernel waits for the host")
    func busy() throws {
      let context = try StandInTests.standIn.get().context { $0.spinLimit = .max }
      let kernel = try StandInTests.standIn.get().kernel("selftest_flag", context)
      let flags = try CUDAHostBuffer(context, byteCount: 8)
      flags.bytes.storeBytes(of: 0, as: UInt64.self)
      let stream = try CUDAStream(context)
      try stream.launch(kernel, grid: 1, threads: 32, .value(flags.deviceAddress), .value(UInt32(7)), .value(Int32(1)))
      let start = ContinuousClock.now
      while flags.bytes.load(as: UInt32.self) != 7, ContinuousClock.now - start < .seconds(60) { usleep(100) }
      #expect(flags.bytes.load(as: UInt32.self) == 7)
      #expect(try !stream.isIdle())
      flags.bytes.storeBytes(of: 7, toByteOffset: 4, as: UInt32.self)
      try stream.synchronize()
      #expect(try stream.isIdle())
    }

    @Test("Events complete in stream order and measure the time between them")
    func events() throws {
      let context = try StandInTests.standIn.get().context()
      let stream = try CUDAStream(context)
      let buffer = try CUDABuffer(context, byteCount: 1 << 20)
      let (start, end) = (try CUDAEvent(context), try CUDAEvent(context))
      try start.record(on: stream)
      try stream.fill(buffer.address, byte: 2, count: buffer.byteCount)
      try end.record(on: stream)
      try end.synchronize()
      #expect(0..<10 ~= (try end.seconds(since: start)))
      #expect(try buffer.contents().allSatisfy { $0 == 2 })
      let untimed = try CUDAEvent(context, timing: false)
      try untimed.record(on: stream)
      try untimed.synchronize()
      #expect(throws: CUDAError.self) { _ = try untimed.seconds(since: start) }
    }

    @Test("A capture executes nothing; its graph executes the operations at each launch")
    func capture() throws {
      let context = try StandInTests.standIn.get().context()
      let stream = try CUDAStream(context)
      let buffer = try CUDABuffer(context, byteCount: 64)
      try buffer.fill(byte: 1)
      let graph = try stream.capture { () throws(CUDAError) in
        try stream.copy(device: buffer.address, to: buffer.address + 32, byteCount: 16)
        try stream.fill(buffer.address, byte: 5, count: 16)
      }
      try stream.synchronize()
      #expect(try buffer.contents() == [UInt8](repeating: 1, count: 64))
      let (fives, ones) = ([UInt8](repeating: 5, count: 16), [UInt8](repeating: 1, count: 16))
      try graph.launch(on: stream)
      try stream.synchronize()
      #expect(try buffer.contents() == fives + ones + ones + ones)
      try graph.launch(on: stream)
      try stream.synchronize()
      #expect(try buffer.contents() == fives + ones + fives + ones)
      #expect(try StandInTests.standIn.get().counters().graphLaunches == 2)
    }

    @Test("A failed capture throws the error, and the stream remains usable")
    func failedCapture() throws {
      let context = try StandInTests.standIn.get().context()
      let stream = try CUDAStream(context)
      let buffer = try CUDABuffer(context, byteCount: 16)
      #expect(throws: CUDAError.noDevice) { _ = try stream.capture { () throws(CUDAError) in throw .noDevice } }
      // A capture cannot contain an allocation.
      let error = #expect(throws: CUDAError.self) {
        _ = try stream.capture { () throws(CUDAError) in _ = try CUDABuffer(context, byteCount: 16) }
      }
      guard case .call("cuMemAlloc", let result, _) = error, 900..<910 ~= result.code else {
        Issue.record("\(String(describing: error))")
        return
      }
      try stream.fill(buffer.address, byte: 4, count: 16)
      try stream.synchronize()
      #expect(try buffer.contents() == [UInt8](repeating: 4, count: 16))
      _ = try stream.capture { () throws(CUDAError) in try stream.fill(buffer.address, byte: 4, count: 16) }
    }

    @Test("Released handles free their memory")
    func release() throws {
      let driver = try StandInTests.standIn.get().driver { $0.memoryByteCount = 1 << 20 }
      for _ in 0..<50 {
        let context = try CUDAContext(driver.device(0))
        let stream = try CUDAStream(context)
        let buffer = try CUDABuffer(context, byteCount: 700_000)
        let graph = try stream.capture { () throws(CUDAError) in try stream.fill(buffer.address, byte: 1, count: 100) }
        try graph.launch(on: stream)
        try stream.synchronize()
      }
    }
  }
}
