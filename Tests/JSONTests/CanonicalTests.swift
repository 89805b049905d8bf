import BitNetJSON
import Testing

@Suite("Canonical JSON")
struct CanonicalTests {
  private func canonical(_ tree: JSONTree) throws -> String { String(decoding: try tree.canonical(), as: UTF8.self) }

  @Test(
    "writes numbers as ECMAScript does",
    arguments: [
      // Appendix B of RFC 8785.
      (0x0000_0000_0000_0000, "0"), (0x8000_0000_0000_0000, "0"), (0x0000_0000_0000_0001, "5e-324"),
      (0x8000_0000_0000_0001, "-5e-324"), (0x7FEF_FFFF_FFFF_FFFF, "1.7976931348623157e+308"),
      (0xFFEF_FFFF_FFFF_FFFF, "-1.7976931348623157e+308"), (0x4340_0000_0000_0000, "9007199254740992"),
      (0xC340_0000_0000_0000, "-9007199254740992"), (0x4430_0000_0000_0000, "295147905179352830000"),
      (0x44B5_2D02_C7E1_4AF5, "9.999999999999997e+22"), (0x44B5_2D02_C7E1_4AF6, "1e+23"),
      (0x44B5_2D02_C7E1_4AF7, "1.0000000000000001e+23"), (0x444B_1AE4_D6E2_EF4E, "999999999999999700000"),
      (0x444B_1AE4_D6E2_EF4F, "999999999999999900000"), (0x444B_1AE4_D6E2_EF50, "1e+21"),
      (0x3EB0_C6F7_A0B5_ED8C, "9.999999999999997e-7"), (0x3EB0_C6F7_A0B5_ED8D, "0.000001"),
      (0x41B3_DE43_5555_5553, "333333333.3333332"), (0x41B3_DE43_5555_5554, "333333333.33333325"),
      (0xBECB_F647_612F_3696, "-0.0000033333333333333333"), (0x4314_3FF3_C1CB_0959, "1424953923781206.2"),
    ] as [(UInt64, String)])
  func numbers(bits: UInt64, text: String) throws {
    let value = Double(bitPattern: bits)
    #expect(try canonical(.number(value)) == text)
    #expect(Double(text)?.bitPattern == (value == 0 ? 0 : bits))
  }

  @Test("reads back random numbers")
  func randomNumbers() throws {
    var generator = SystemRandomNumberGenerator()
    for _ in 0..<10_000 {
      let value = Double(bitPattern: generator.next())
      if value.isFinite, value != 0 { #expect(Double(try canonical(.number(value))) == value) }
      let small = Double(Int32.random(in: -1_000_000...1_000_000)) / 1000
      #expect(Double(try canonical(.number(small))) == small)
    }
  }

  @Test("sorts names by UTF-16 and escapes as RFC 8785 does")
  func members() throws {
    let names = ["\u{20AC}", "\r", "\u{FB33}", "1", "\u{1F600}", "\u{80}", "\u{F6}"]
    let sorted = try canonical(.object(names.map { .init($0, true) }))
    #expect(
      sorted == "{\"\\r\":true,\"1\":true,\"\u{80}\":true,\"\u{F6}\":true,\"\u{20AC}\":true,\"\u{1F600}\":true,"
        + "\"\u{FB33}\":true}")
    #expect(try canonical(["a": ["\u{20AC}$\u{F}\nA'B\"\\\\\"/"]]) == #"{"a":["€$\u000f\nA'B\"\\\\\"/"]}"#)
    let numbers: JSONTree = [.integer(-5), .null, .bool(false), .number(2e-3), .unsigned(7)]
    #expect(try canonical(numbers) == "[-5,null,false,0.002,7]")
  }

  @Test("refuses numbers that other programs would change")
  func refused() {
    let most: Int64 = 1 << 53
    for tree: JSONTree in [
      .number(.infinity), .number(.nan), .integer(most + 1), .integer(-most - 1), .unsigned(.max),
      [["a": .integer(Int64.max)]],
    ] {
      #expect(throws: JSONError.self) { try tree.canonical() }
    }
    #expect(throws: Never.self) { try JSONTree.integer(most).canonical() }
  }
}
