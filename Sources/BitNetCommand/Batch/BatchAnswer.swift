import BitNetJSON

/// The answer to a line of a batch, or the error that the line has instead.
struct BatchAnswer: Sendable {
  let json: JSONTree
  /// Tokens that were generated, or that vectors were made from.
  let tokens: Int
  let isFailure: Bool

  /// - Parameter isFailure: whether the answer is an error in a form of its own.
  init(_ json: JSONTree, tokens: Int, isFailure: Bool = false) {
    self.json = json
    self.tokens = tokens
    self.isFailure = isFailure
  }

  /// - Parameters:
  ///   - line: the line's number, from 1.
  ///   - id: the line's own name.
  init(_ error: any Error, line: Int, id: JSONTree?) {
    let message = (error as? JSONError)?.description ?? "\(error)"
    self.init(
      .object(["line": .integer(line), "id": id, "error": ["message": .string(message)]]), tokens: 0, isFailure: true)
  }
}

/// Answers lines of a batch; what one gets does not depend on the others.
protocol BatchAnswerer: Sendable {
  /// The field of an answer that has what was asked for, except in answers to requests.
  static var content: String { get }

  /// - Parameters:
  ///   - line: the line's bytes, without its end.
  ///   - place: the line's number in the input, from 1.
  ///   - isWhole: whether the input is a whole batch, and no part of one whose lines have numbers of their own.
  func answer(_ line: [UInt8], place: Int, isWhole: Bool) async -> BatchAnswer
}

extension BatchAnswer {
  /// The number of a line: its field "line", which a program that divides a batch among processes writes, or its place.
  ///
  /// - Throws: `JSONError` or `CommandError` for a field that says something else than the place in a whole batch.
  static func number(_ field: JSONValue, place: Int, isWhole: Bool) throws -> Int {
    let number = try field.ifPresent?.integer(in: 1...Int(Int32.max)) ?? place
    guard !isWhole || number == place else {
      throw CommandError(
        "line is \(number) in line \(place); expected that field for answers on standard output alone")
    }
    return number
  }
}
