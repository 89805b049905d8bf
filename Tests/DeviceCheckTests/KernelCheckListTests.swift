import BitNetCUDADriver
import BitNetCUDAEngine
import BitNetDeviceCheck
import Testing

extension KernelTests {
  @Suite("The list of all kernels' checks")
  struct ListTests {
    private func checks(_ planted: [Kernel: String] = [:]) throws -> [EqualityCheck] {
      let device = try DeviceUnderTest.start(seed: 0, planted: planted)
      var checks: [EqualityCheck] = []
      KernelCheckList(shapes: 2, isShort: true, seed: 1).run(on: { device }) { checks.append($0) }
      return checks
    }

    @Test("Every kernel except the cooperative ones has a check, and correct kernels pass it")
    func right() throws {
      let checks = try checks()
      let single = Kernel.allCases.map(\.rawValue).filter { !$0.hasPrefix("decode_") }
      #expect(checks.map(\.name).sorted() == single.sorted())
      for check in checks {
        #expect(
          check.isEqual && check.compared > 0 && check.cases == "2 shapes",
          "\(check.name): \(check.first ?? check.error ?? "")")
      }
    }

    @Test("A wrong kernel is reported with shape, place, found and expected number; the others pass")
    func wrong() throws {
      let checks = try checks([.fewProject: "selftest_planted_swapped_fragments"])
      #expect(checks.count == KernelCheckList.kernels.count)
      #expect(checks.filter { !$0.isEqual }.map(\.name) == ["few_project"])
      let check = try #require(checks.first { !$0.isEqual })
      let number = #"\S+ \(0x[0-9a-f]{8}\)"#
      let pattern = try Regex(
        #"few_project, case \d of seed 1: rows [\d+]+ × \d+, \d+ tokens, .*: "#
          + #"output\[\d+\]\[\d+\] is \#(number); expected \#(number); \d+ of \d+ differ"#)
      #expect(try pattern.wholeMatch(in: #require(check.first)) != nil, "\(check.first ?? "")")
      #expect(check.differing > 0 && check.differing < check.compared && check.error == nil)
    }

    @Test("A driver error fails only one kernel's check")
    func error() throws {
      let checks = try checks([.quantizeRows: "selftest_planted_unreached_barrier"])
      #expect(checks.map(\.name) == KernelCheckList.kernels.map(\.rawValue))
      #expect(checks[0].isEqual)
      let error = try #require(checks[1].error)
      #expect(error.hasPrefix("quantize_rows, case 0 of seed 1: "), "\(error)")
      #expect(!checks[1].isEqual)
    }
  }
}
