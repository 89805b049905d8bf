import CUDATestSupport
import CUDAOnCPU
import Testing

import BitNetCUDADriver

extension StandInTests {
  @Suite("Devices")
  struct DeviceTests {
    @Test("A device is described by the driver's attributes")
    func description() throws {
      let driver = try StandInTests.standIn.get().driver {
        $0.driverVersion = 12040
        $0.capability = 89
        $0.multiprocessorCount = 7
        $0.memoryByteCount = 3 << 20
        $0.sharedMemoryByteCount = 101_376
        $0.l2ByteCount = 12_345
        $0.memoryClock = 1_000_000
        $0.memoryBusWidth = 256
      }
      #expect(driver.version == 12040)
      let devices = try driver.devices()
      try #require(devices.count == 1)
      let device = devices[0]
      #expect(device.ordinal == 0)
      #expect(!device.name.isEmpty)
      #expect(device.capability == (8, 9))
      #expect(device.multiprocessorCount == 7)
      #expect(device.memoryByteCount == 3 << 20)
      #expect(device.sharedMemoryPerBlock == 101_376)
      #expect(device.l2ByteCount == 12_345)
      #expect(device.memoryBytesPerSecond == 64e9)
      #expect(device.supportsCooperativeLaunch)
      #expect(device.isEmulated)
    }

    @Test("A driver that does not report the memory clock gives no bandwidth")
    func unknownSpeed() throws {
      let driver = try StandInTests.standIn.get().driver { $0.memoryClock = 0 }
      #expect(try driver.device(0).memoryBytesPerSecond == nil)
    }

    @Test(
      "A driver that fails to report the memory clock or bus width gives everything except the bandwidth",
      arguments: [36, 37] as [Int32])
    func failingSpeed(attribute: Int32) throws {
      let driver = try StandInTests.standIn.get().driver {
        $0.memoryClock = 1_000_000
        $0.memoryBusWidth = 256
        $0.failingAttribute = attribute
      }
      let device = try driver.device(0)
      #expect(device.memoryBytesPerSecond == nil && device.capability == (8, 0))
      _ = try CUDAContext(device)
    }

    @Test("Failing to query any other attribute is an error that names it")
    func failingAttribute() throws {
      let driver = try StandInTests.standIn.get().driver { $0.failingAttribute = 16 }
      let error = #expect(throws: CUDAError.self) { _ = try driver.device(0) }
      #expect(error?.description.hasPrefix("cuDeviceGetAttribute (attribute 16 of device 0) failed: ") == true)
    }

    @Test("A driver without a GPU is an error")
    func noDevice() {
      #expect(throws: CUDAError.noDevice) { _ = try StandInTests.standIn.get().driver { $0.deviceCount = 0 } }
    }

    @Test("A driver that is too old is refused, and the error has its version")
    func oldDriver() {
      #expect(throws: CUDAError.driverTooOld(found: 12000, needed: 12010)) {
        _ = try StandInTests.standIn.get().driver { $0.driverVersion = 12000 }
      }
    }

    @Test("A device that does not exist is refused, and the error has the number of devices", arguments: [-1, 1])
    func outOfRange(ordinal: Int) throws {
      let driver = try StandInTests.standIn.get().driver()
      #expect(throws: CUDAError.deviceOutOfRange(ordinal, count: 1)) { _ = try driver.device(ordinal) }
    }

    @Test("A device below compute capability 8.0 is listed, but refuses a context")
    func oldDevice() throws {
      let driver = try StandInTests.standIn.get().driver { $0.capability = 75 }
      let device = try driver.device(0)
      #expect(throws: CUDAError.deviceTooOld(name: device.name, capability: "7.5", needed: "8.0")) {
        _ = try CUDAContext(device)
      }
    }
  }
}
