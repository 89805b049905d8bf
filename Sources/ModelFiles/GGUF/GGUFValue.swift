/// The types of values in a GGUF file's metadata.
package enum GGUFValueType: UInt32, Sendable {
  case u8, i8, u16, i16, u32, i32, f32, bool, string, array, u64, i64, f64

  /// The bytes of a value; nil for strings and arrays, whose values say how long they are.
  var byteCount: Int? {
    switch self {
    case .u8, .i8, .bool: 1
    case .u16, .i16: 2
    case .u32, .i32, .f32: 4
    case .u64, .i64, .f64: 8
    case .string, .array: nil
    }
  }

  /// The type's name, for errors.
  package var name: String { "\(self)" }
}

/// A value in the metadata: its type and its place. Values are decoded when they are read, because a vocabulary has
/// hundreds of thousands of strings that most readers of a file do not need.
package struct GGUFValue: Sendable, Equatable {
  package let type: GGUFValueType
  /// The type of the elements of an array; nil for other values.
  package let elementType: GGUFValueType?
  /// The elements of an array; 1 for other values.
  package let count: Int
  /// The value's bytes in the file: of an array the elements, of a string its length and its text.
  package let range: Range<Int>
}
