import CUDAOnCPU
import CUDATestSupport
import Foundation
import Testing

import BitNetCUDADriver

extension StandInTests {
  @Suite("Memory of the device")
  struct MemoryTests {
    @Test("Bytes can be copied to any part of a buffer and back")
    func copies() throws {
      let context = try StandInTests.standIn.get().context()
      let buffer = try CUDABuffer(context, byteCount: 1000)
      #expect(buffer.byteCount == 1000 && buffer.address % 256 == 0)
      try buffer.fill(byte: 7)
      let some = (0..<100).map { UInt8($0) }
      try some.withUnsafeBytes { try buffer.copy(from: $0, at: 900) }
      #expect(try buffer.contents() == [UInt8](repeating: 7, count: 900) + some)
      var part = [UInt8](repeating: 0, count: 10)
      try part.withUnsafeMutableBytes { try buffer.copy(to: $0, from: 895) }
      #expect(part == [7, 7, 7, 7, 7, 0, 1, 2, 3, 4])
    }

    @Test(
      "A copy that exceeds the buffer is refused and copies nothing",
      arguments: [(0, 17), (1, 16), (16, 1), (-1, 4), (.max, 1), (.min, 1)])
    func bounds(offset: Int, count: Int) throws {
      let buffer = try CUDABuffer(StandInTests.standIn.get().context(), byteCount: 16)
      try buffer.fill(byte: 9)
      var host = [UInt8](repeating: 1, count: count)
      let error = CUDAError.outOfBounds(offset: offset, count: count, size: 16)
      #expect(throws: error) { try host.withUnsafeBytes { try buffer.copy(from: $0, at: offset) } }
      #expect(throws: error) { try host.withUnsafeMutableBytes { try buffer.copy(to: $0, from: offset) } }
      #expect(host == [UInt8](repeating: 1, count: count))
      #expect(try buffer.contents() == [UInt8](repeating: 9, count: 16))
    }

    @Test("An abandoned device is never called again: calls throw, and memory is not freed")
    func abandoned() throws {
      let driver = try StandInTests.standIn.get().driver()
      let device = try driver.device(0)
      let other = try CUDAContext(driver.device(0))
      let free = try other.memory().free
      do {
        let buffer = try CUDABuffer(CUDAContext(device), byteCount: 1 << 20)
        device.abandon()
        #expect(throws: CUDAError.abandoned(device: device.name)) { try buffer.fill(byte: 0) }
        #expect(throws: CUDAError.abandoned(device: device.name)) { try CUDAContext(device) }
      }
      #expect(try other.memory().free <= free - (1 << 20))
    }

    @Test("New memory contains NaNs in every format")
    func fresh() throws {
      let buffer = try CUDABuffer(StandInTests.standIn.get().context(), byteCount: 1000)
      let contents = try buffer.contents()
      contents.withUnsafeBytes { bytes in
        #expect(
          bytes.bindMemory(to: Float.self).allSatisfy(\.isNaN) && bytes.bindMemory(to: Double.self).allSatisfy(\.isNaN))
        // A bfloat16 number is the upper half of a Float.
        #expect(bytes.bindMemory(to: UInt16.self).allSatisfy { Float(bitPattern: UInt32($0) << 16).isNaN })
      }
    }

    @Test("Zero bytes can be allocated, filled and copied")
    func nothing() throws {
      let context = try StandInTests.standIn.get().context()
      let buffer = try CUDABuffer(context, byteCount: 0)
      #expect(buffer.address != 0 && buffer.byteCount == 0)
      try buffer.fill(byte: 1)
      try buffer.copy(from: UnsafeRawBufferPointer(start: nil, count: 0))
      try buffer.copy(to: UnsafeMutableRawBufferPointer(start: nil, count: 0))
      #expect(throws: CUDAError.outOfBounds(offset: 1, count: 0, size: 0)) {
        try buffer.copy(from: UnsafeRawBufferPointer(start: nil, count: 0), at: 1)
      }
      let host = try CUDAHostBuffer(context, byteCount: 0)
      #expect(host.bytes.isEmpty && host.deviceAddress != 0)
      let stream = try CUDAStream(context)
      try stream.copy(from: UnsafeRawBufferPointer(start: nil, count: 0), to: 0)
      try stream.copy(from: 0, to: UnsafeMutableRawBufferPointer(start: nil, count: 0))
      try stream.copy(device: 0, to: 0, byteCount: 0)
      try stream.fill(0, byte: 1, count: 0)
      try stream.synchronize()
    }

    @Test("A negative number of bytes is refused")
    func negative() throws {
      let context = try StandInTests.standIn.get().context()
      let stream = try CUDAStream(context)
      let error = CUDAError.parameter(name: "the number of bytes", found: "-3", expected: "0 or more")
      #expect(throws: error) { _ = try CUDABuffer(context, byteCount: -3) }
      #expect(throws: error) { _ = try CUDAHostBuffer(context, byteCount: -3) }
      #expect(throws: error) { try stream.copy(device: 0, to: 0, byteCount: -3) }
      #expect(throws: error) { try stream.fill(0, byte: 0, count: -3) }
    }

    @Test("An out-of-memory error has the requested and the free bytes; freed memory can be allocated again")
    func outOfMemory() throws {
      let context = try StandInTests.standIn.get().context { $0.memoryByteCount = 1 << 20 }
      for _ in 0..<3 {
        let before = try context.memory()
        #expect(before.total == 1 << 20 && before.free >= 900_000)
        let buffer = try CUDABuffer(context, byteCount: 600_000)
        let free = try context.memory().free
        #expect(free <= before.free - 600_000)
        #expect(throws: CUDAError.outOfMemory(requested: 600_001, free: free)) {
          _ = try CUDABuffer(context, byteCount: 600_001)
        }
        withExtendedLifetime(buffer) {}
      }
    }

    @Test("A thread can use objects that another thread created")
    func threads() async throws {
      let buffer = try CUDABuffer(StandInTests.standIn.get().context(), byteCount: 16)
      try buffer.fill(byte: 3)
      // The thread may end after the test, so it must not own the device's objects.
      let contents = await withCheckedContinuation { continuation in
        Thread.detachNewThread { [unowned buffer] in
          let contents = Result { try buffer.contents() }
          continuation.resume(returning: contents)
        }
      }
      #expect(try contents.get() == [UInt8](repeating: 3, count: 16))
      try buffer.fill(byte: 4)
      #expect(try buffer.contents() == [UInt8](repeating: 4, count: 16))
    }

    @Test("Host and device share page-locked memory")
    func hostBuffer() throws {
      let context = try StandInTests.standIn.get().context()
      let host = try CUDAHostBuffer(context, byteCount: 300)
      for index in host.bytes.indices { host.bytes[index] = UInt8(truncatingIfNeeded: index) }
      let buffer = try CUDABuffer(context, byteCount: 300)
      let stream = try CUDAStream(context)
      try stream.copy(device: host.deviceAddress, to: buffer.address, byteCount: 300)
      try stream.fill(host.deviceAddress + 100, byte: 55, count: 2)
      try stream.synchronize()
      #expect(try buffer.contents() == (0..<300).map { UInt8(truncatingIfNeeded: $0) })
      #expect(host.bytes[99...102].elementsEqual([99, 55, 55, 102]))
    }
  }
}
