import BitNetJSON
import BitNetTokenization
import Foundation
import Synchronization

/// The file of a batch's answers, a line each. An answer is in the file as soon as it is written, so a batch that was
/// killed goes on where it was.
final class BatchOutput: Sendable {
  /// An answer that an earlier run wrote.
  struct Answer {
    /// The line's own name, its `id` or `custom_id`, as JSON; nil without one.
    let name: String?
    let isError: Bool
    /// Whether it has OpenAI's form, which requests get.
    let isResponse: Bool
    /// The number of the answer's line in the output.
    let place: Int
  }

  let name: String
  private let output: ByteOutput
  /// What an earlier run wrote, by the numbers of the lines.
  let answered: [Int: Answer]

  /// Where a regular file is continued.
  private let end: Place?
  private let isBegun = Mutex(false)

  private struct Place {
    var offset: off_t = 0
    /// Whether the last answer has no line end.
    var needsBreak = false
    /// Whether an unfinished line follows.
    var isTorn = false
  }

  /// Whether an earlier run was killed while it wrote a line.
  var isTorn: Bool { end?.isTorn ?? false }
  /// How many of the earlier answers are errors.
  var failures: Int { answered.values.count(where: \.isError) }

  /// - Parameters:
  ///   - path: the file, which is created or continued; "-" for standard output.
  ///   - input: the file of the lines to answer; "-" for standard input.
  ///   - content: the field that answers have, unless they are errors or answers to requests.
  /// - Throws: `CommandError` for a file that is not the output of an earlier run, that another run is writing, or that
  ///   is the input.
  init(_ path: String, input: String, content: String) throws {
    guard path != "-" else {
      (name, output, answered, end) = ("standard output", .standard, [:], nil)
      return
    }
    var source = stat()
    if input != "-" {
      guard access(input, R_OK) == 0, stat(input, &source) == 0 else { throw CommandError.unopened(input) }
      guard source.st_mode & S_IFMT != S_IFDIR else {
        throw CommandError("\(input) is a folder; expected a file of lines")
      }
    }
    var status = stat()
    // For reading too, a pipe would open without a reader, and take what nobody reads.
    let isFile = stat(path, &status) != 0 || status.st_mode & S_IFMT == S_IFREG
    let descriptor = open(path, (isFile ? O_RDWR | O_CREAT : O_WRONLY) | O_CLOEXEC, 0o666)
    guard descriptor >= 0 else { throw CommandError.unopened(path, for: "writing") }
    output = ByteOutput(descriptor: descriptor, name: path)
    name = path
    guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
      (answered, end) = ([:], nil)
      return
    }
    guard input == "-" || source.st_dev != status.st_dev || source.st_ino != status.st_ino
    else { throw CommandError("\(path) is the input too; expected another file for the answers") }
    guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
      throw CommandError("\(path) is being written by another process; expected a file for this run alone")
    }
    (answered, end) = try Self.scan(descriptor, path: path, content: content)
  }

  deinit { if output.descriptor != STDOUT_FILENO { close(output.descriptor) } }

  /// Cuts off a line that was being written when the earlier run ended, which is computed again. A file that is refused
  /// before the first `write` stays as it is.
  func begin() throws {
    let isFirst = isBegun.withLock { isBegun in
      defer { isBegun = true }
      return !isBegun
    }
    guard isFirst, let end else { return }
    guard ftruncate(output.descriptor, end.offset) == 0, lseek(output.descriptor, end.offset, SEEK_SET) == end.offset
    else { throw CommandError.system("\(name) cannot be shortened to its last whole line") }
    if end.needsBreak { try output.write("\n") }
  }

  func write(_ line: [UInt8]) throws {
    try begin()
    try output.write(line)
  }

  /// Checks that a line has the name of its answer, and is a request if that has the form of a response. Otherwise the
  /// input is not that of the earlier run.
  ///
  /// - Parameters:
  ///   - number: the number of a line that has an answer.
  ///   - bytes: the line; nil if it is too long to be read.
  func checkName(ofLine number: Int, _ bytes: [UInt8]?) throws {
    guard let answer = answered[number] else { return }
    let json = bytes.flatMap { try? JSONDocument($0, limits: BatchTask.limits).root }
    let isRequest = json.map(BatchRequests.holds) ?? false
    let name = json.flatMap { json in try? Self.name(json[isRequest ? "custom_id" : "id"]) }
    // The answer to a line that could not be read has no name.
    if answer.isError, answer.name == nil { return }
    func refusal(_ line: String, _ other: String) -> CommandError {
      CommandError(
        "line \(number) of the input has \(line), and its answer in \(self.name) has \(other); expected the input of the "
          + "earlier run, or a new file for the answers")
    }
    func words(_ name: String?) -> String { name.map { "id \($0.visible())" } ?? "no id" }
    guard name == answer.name else { throw refusal(words(name), words(answer.name)) }
    guard isRequest == answer.isResponse else {
      func words(_ isRequest: Bool) -> String { isRequest ? "OpenAI's form" : "the plain form" }
      throw refusal(words(isRequest), words(answer.isResponse))
    }
  }

  private static func name(_ field: JSONValue) throws(JSONError) -> String? {
    try field.ifPresent.map { (field) throws(JSONError) in
      String(decoding: try JSONTree(field).serialized(), as: UTF8.self)
    }
  }

  /// The answered lines, and where the last whole line ends.
  private static func scan(
    _ descriptor: Int32, path: String, content: String
  ) throws -> (answered: [Int: Answer], end: Place) {
    var reader = LineReader(ByteInput(descriptor: descriptor, name: path))
    var answered: [Int: Answer] = [:]
    var twice: (number: Int, place: Int)?
    var end = Place()
    while let line = try reader.next() {
      if !reader.endsWithBreak, isTorn(line) {
        end.isTorn = true
        break
      }
      do throws(JSONError) {
        let answer = try JSONDocument(Array(line), limits: BatchTask.limits).root
        let names = try answer.members().map { (name, _) throws(JSONError) in try name.string() }
        let number = try answer["line"].integer(in: 1...Int.max)
        guard names.contains(where: [content, "response", "error"].contains) else {
          throw answer.error(expected: "an answer")
        }
        let status = try answer["response"].ifPresent?["status_code"].integer()
        let isError = try answer["error"].ifPresent != nil || status ?? 200 != 200
        let isResponse = names.contains("response")
        let found = Answer(
          name: try Self.name(answer[isResponse ? "custom_id" : "id"]), isError: isError, isResponse: isResponse,
          place: reader.lineNumber)
        if let other = answered.updateValue(found, forKey: number) { twice = (number, other.place) }
      } catch {
        let hint = answered.isEmpty ? "" : " (its damaged lines can be removed, and are then computed again)"
        throw CommandError(
          "line \(reader.lineNumber) of \(path) is no answer of an earlier run; expected the output of one\(hint), or a "
            + "new file")
      }
      if let twice {
        throw CommandError(
          "lines \(twice.place) and \(reader.lineNumber) of \(path) both answer line \(twice.number); expected one "
            + "answer: remove the other")
      }
      end.offset = off_t(reader.bytesRead)
      end.needsBreak = !reader.endsWithBreak
    }
    return (answered, end)
  }

  /// Whether a line without an end is the beginning of an answer, as a run that was killed leaves it, or a machine that
  /// lost power: then with zeros after it.
  private static func isTorn(_ line: ArraySlice<UInt8>) -> Bool {
    let text = line.prefix { $0 != 0 }, beginning = Array(#"{"line":"#.utf8)
    // Nothing that this program writes has control characters, such as those that end lines elsewhere.
    guard line[text.endIndex...].allSatisfy({ $0 == 0 }), text.allSatisfy({ $0 >= 0x20 }) else { return false }
    guard text.starts(with: beginning) else { return beginning.starts(with: text) }
    return text.count < line.count || (try? JSONDocument(Array(text), limits: BatchTask.limits)) == nil
  }
}
