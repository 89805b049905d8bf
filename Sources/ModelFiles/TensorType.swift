/// The element types of tensors in model files: those of safetensors, whose elements are whole bytes, and those of
/// GGUF, most of which store blocks of a row's elements.
package enum TensorType: String, Sendable, Codable {
  case bool = "BOOL"
  case u8 = "U8"
  case i8 = "I8"
  case f8e5m2 = "F8_E5M2"
  case f8e4m3 = "F8_E4M3"
  case u16 = "U16"
  case i16 = "I16"
  case f16 = "F16"
  case bf16 = "BF16"
  case u32 = "U32"
  case i32 = "I32"
  case f32 = "F32"
  case u64 = "U64"
  case i64 = "I64"
  case f64 = "F64"
  case c64 = "C64"

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

  /// The types that safetensors files can have.
  package static let safetensors: [TensorType] = [
    .bool, .u8, .i8, .f8e5m2, .f8e4m3, .u16, .i16, .f16, .bf16, .u32, .i32, .f32, .u64, .i64, .f64, .c64,
  ]

  /// The elements and bytes of a block, which of types without blocks is one element. Nil for types of bitnet.cpp whose
  /// tensors cannot be read without other files.
  package var block: (elements: Int, bytes: Int)? {
    switch self {
    case .bool, .u8, .i8, .f8e5m2, .f8e4m3: (1, 1)
    case .u16, .i16, .f16, .bf16: (1, 2)
    case .u32, .i32, .f32: (1, 4)
    case .u64, .i64, .f64, .c64: (1, 8)
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
    case .i2_S: (4, 1)
    case .mxfp4: (32, 17)
    case .nvfp4: (64, 36)
    case .q1_0: (128, 18)
    case .q2_0: (64, 18)
    case .q2_0Of128, .pq2_0: (128, 34)
    case .ptq1_0: (128, 28)
    case .i8_S, .tl1, .tl2: nil
    }
  }

  /// The bytes of `elements` elements from the start of a block on; 0 for a type without a block.
  package func byteCount(ofElements elements: Int) -> Int {
    block.map { elements / $0.elements * $0.bytes } ?? 0
  }

  /// The bytes of one element of a type of safetensors.
  package var byteCount: Int { byteCount(ofElements: 1) }
}
