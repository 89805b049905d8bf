/// The element types of tensors in GGUF files.
///
/// Most types store blocks of a row's elements. A type with no known block size is one whose tensors cannot be read
/// without other files; the place of the next tensor then decides the size.
package enum GGUFTensorType: String, Sendable, CaseIterable {
  case f32 = "F32"
  case f16 = "F16"
  case bf16 = "BF16"
  case f64 = "F64"
  case i8 = "I8"
  case i16 = "I16"
  case i32 = "I32"
  case i64 = "I64"
  case q4_0 = "Q4_0"
  case q4_1 = "Q4_1"
  case q5_0 = "Q5_0"
  case q5_1 = "Q5_1"
  case q8_0 = "Q8_0"
  case q8_1 = "Q8_1"
  case q2_K = "Q2_K"
  case q3_K = "Q3_K"
  case q4_K = "Q4_K"
  case q5_K = "Q5_K"
  case q6_K = "Q6_K"
  case q8_K = "Q8_K"
  case iq1_S = "IQ1_S"
  case iq1_M = "IQ1_M"
  case iq2_XXS = "IQ2_XXS"
  case iq2_XS = "IQ2_XS"
  case iq2_S = "IQ2_S"
  case iq3_XXS = "IQ3_XXS"
  case iq3_S = "IQ3_S"
  case iq4_NL = "IQ4_NL"
  case iq4_XS = "IQ4_XS"
  case tq1_0 = "TQ1_0"
  case tq2_0 = "TQ2_0"
  case i2_S = "I2_S"
  case i8_S = "I8_S"
  case tl1 = "TL1"
  case tl2 = "TL2"
  case mxfp4 = "MXFP4"
  case nvfp4 = "NVFP4"
  case q1_0 = "Q1_0"
  case q2_0 = "Q2_0"
  /// The Q2_0 of a fork, under the number of the other.
  case q2_0Of128 = "Q2_0 (blocks of 128)"
  case pq2_0 = "PQ2_0"
  case ptq1_0 = "PTQ1_0"

  /// The types of a number, the usual one first. Several programs took the same number for types of their own.
  static func types(ofNumber number: UInt32) -> [GGUFTensorType] {
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

  /// The number under which this library writes the type; nil for types that it does not write.
  var number: UInt32? {
    switch self {
    case .f32: 0
    case .bf16: 30
    case .tq2_0: 35
    case .i2_S: 36
    default: nil
    }
  }

  /// The elements and bytes of a block; nil for the types of bitnet.cpp, whose tensors are not made of such blocks.
  package var block: (elements: Int, bytes: Int)? {
    switch self {
    case .f32, .i32: (1, 4)
    case .f16, .bf16, .i16: (1, 2)
    case .f64, .i64: (1, 8)
    case .i8: (1, 1)
    case .q4_0, .iq4_NL: (32, 18)
    case .q4_1: (32, 20)
    case .q5_0: (32, 22)
    case .q5_1: (32, 24)
    case .q8_0: (32, 34)
    case .q8_1: (32, 36)
    case .q2_K: (256, 84)
    case .q3_K, .iq3_S: (256, 110)
    case .q4_K: (256, 144)
    case .q5_K: (256, 176)
    case .q6_K: (256, 210)
    case .q8_K: (256, 292)
    case .iq1_S: (256, 50)
    case .iq1_M: (256, 56)
    case .iq2_XXS, .tq2_0: (256, 66)
    case .iq2_XS: (256, 74)
    case .iq2_S: (256, 82)
    case .iq3_XXS: (256, 98)
    case .iq4_XS: (256, 136)
    case .tq1_0: (256, 54)
    case .mxfp4: (32, 17)
    case .nvfp4: (64, 36)
    case .q1_0: (128, 18)
    case .q2_0: (64, 18)
    case .q2_0Of128, .pq2_0: (128, 34)
    case .ptq1_0: (128, 28)
    case .i2_S, .i8_S, .tl1, .tl2: nil
    }
  }

  /// The bytes after the codes of an I2_S tensor: a Float32 scale, and padding of any content.
  static let i2sTail = 32

  /// The bytes of a tensor; nil if they do not follow from its shape, or do not exist for it.
  ///
  /// - Parameters:
  ///   - elements: the product of all extents.
  ///   - rowLength: the first extent, whose elements are consecutive.
  func byteCount(elements: Int, rowLength: Int) -> Int? {
    if self == .i2_S {
      return elements % 4 == 0 ? elements / 4 + Self.i2sTail : nil
    }
    guard let block, rowLength % block.elements == 0 else { return nil }
    let (bytes, overflow) = (elements / block.elements).multipliedReportingOverflow(by: block.bytes)
    return overflow ? nil : bytes
  }
}
