import BitNetCommand
import Testing

@Suite("The rate of a transfer")
struct TransferRateTests {
  @Test("is that of the last seconds")
  func rate() {
    let rate = TransferRate()
    let start = ContinuousClock.now
    #expect(rate.text(transferred: 0, left: 100_000_000, now: start) == "")
    #expect(rate.text(transferred: 1_000_000, left: 99_000_000, now: start + .milliseconds(10)) == "")
    #expect(rate.text(transferred: 10_000_000, left: 90_000_000, now: start + .seconds(1)) == "10.0 MB/s, 0:09 left")
    #expect(rate.text(transferred: 10_000_000, left: 90_000_000, now: start + .seconds(10)) == "")
    #expect(rate.text(transferred: 12_000_000, left: 88_000_000, now: start + .seconds(12)) == "1.0 MB/s, 1:28 left")
  }

  @Test(
    "shows hours only where there are any",
    arguments: [
      (0.2, "0:01"), (59.5, "1:00"), (3599, "59:59"), (3600, "1:00:00"), (36_061, "10:01:01"), (1e9, "days"),
    ])
  func clock(_ seconds: Double, _ text: String) {
    #expect(TransferRate.clock(seconds) == text)
  }
}
