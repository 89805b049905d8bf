extension TensorType {
  /// The types of a number in GGUF files, the usual one first: several programs took the same number for types of their
  /// own. Empty for an unknown number.
  static func types(ofGGUFNumber number: UInt32) -> [TensorType] {
    switch number {
    case 0: [.f32]
    case 1: [.f16]
    case 2: [.q4_0]
    case 3: [.q4_1]
    case 6: [.q5_0]
    case 7: [.q5_1]
    case 8: [.q8_0]
    case 9: [.q8_1]
    case 10: [.q2_K]
    case 11: [.q3_K]
    case 12: [.q4_K]
    case 13: [.q5_K]
    case 14: [.q6_K]
    case 15: [.q8_K]
    case 16: [.iq2_XXS]
    case 17: [.iq2_XS]
    case 18: [.iq3_XXS]
    case 19: [.iq1_S]
    case 20: [.iq4_NL]
    case 21: [.iq3_S]
    case 22: [.iq2_S]
    case 23: [.iq4_XS]
    case 24: [.i8]
    case 25: [.i16]
    case 26: [.i32]
    case 27: [.i64]
    case 28: [.f64]
    case 29: [.iq1_M]
    case 30: [.bf16]
    case 34: [.tq1_0]
    case 35: [.tq2_0]
    case 36: [.i2_S]
    case 37: [.i8_S]
    case 38: [.tl1]
    case 39: [.mxfp4, .tl2]
    case 40: [.nvfp4]
    case 41: [.q1_0]
    case 42: [.q2_0, .q2_0Of128]
    case 142: [.pq2_0]
    case 143: [.ptq1_0]
    default: []
    }
  }

  /// The number under which GGUF files written here have the type; nil for types that are not written.
  var ggufNumber: UInt32? {
    switch self {
    case .f32: 0
    case .bf16: 30
    case .tq2_0: 35
    case .i2_S: 36
    default: nil
    }
  }

  /// The bytes after the codes of an I2_S tensor: a Float32 scale, and padding of any content.
  static let i2sTail = 32

  /// The bytes of a tensor in a GGUF file; nil if they do not follow from its shape, or its rows are not whole blocks.
  ///
  /// - Parameters:
  ///   - elements: the product of all extents.
  ///   - rowLength: the first extent, whose elements are consecutive.
  func ggufByteCount(elements: Int, rowLength: Int) -> Int? {
    guard let block else { return nil }
    // The blocks of I2_S continue across rows.
    if self == .i2_S { return elements % block.elements == 0 ? elements / block.elements + Self.i2sTail : nil }
    guard rowLength % block.elements == 0 else { return nil }
    let (bytes, overflow) = (elements / block.elements).multipliedReportingOverflow(by: block.bytes)
    return overflow ? nil : bytes
  }
}
