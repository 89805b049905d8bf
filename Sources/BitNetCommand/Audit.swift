import ArgumentParser
import BitNet
import BitNetInference
import BitNetJSON
import Foundation

struct Audit: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Check receipts of generations by computing their tokens again.",
    discussion: """
      Reads receipts that `generate --receipt` and `chat --receipt` wrote, or a server returned, one on each line, or \
      the answers of `generate --jsonl --receipts`. For each it prints whether the model, given the receipt's prompt, \
      parameters and seed, generates exactly the receipt's tokens, or the first token that differs. All tokens go \
      through the model as a prompt does, so an audit takes a fraction of the generation's time. The model's digest is \
      computed from its weights first. The device, the number of threads and the format of the model's files make no \
      difference. Lines of a batch that are errors are left out. Only receipts are checked: the text and other fields of \
      an answer that has one are not read.

      The exit status is 1 if a receipt is wrong, or an answer has none.

      Examples:
        bitnet audit receipts.jsonl --model model.safetensors
        bitnet audit receipts.jsonl --model model.safetensors --sample 0.05
        bitnet audit receipts.jsonl --public-key operator.pem --json
      """)

  @Argument(help: "Files with receipts; - for standard input.")
  var receipts: [String]

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      "The share of the receipts, drawn at random, whose tokens are computed, at least one. The form, hash and "
        + "signature of the others are checked.", valueName: "share"))
  var sample = 1.0

  @Option(
    help: ArgumentHelp(
      "Require a signature of this Ed25519 key, a PEM file that `openssl pkey -pubout` writes.", valueName: "file"))
  var publicKey: String?

  @Flag(help: "Print JSON Lines, one for each receipt.")
  var json = false

  @OptionGroup(title: "Model") var model: ModelOptions

  private struct Finding: Encodable {
    let receipt: String
    /// Whether there is a receipt: an answer may have none.
    let hasReceipt: Bool
    let isRight: Bool
    /// Whether the tokens were computed.
    let isComputed: Bool
    let tokens: Int?
    /// "checked", or "not checked" without a key; nil for a receipt without a signature, or a wrong one.
    let signature: String?
    let fault: String?
    /// The number of the first token that differs, from 1.
    let position: Int?
    let expected: Int32?
    let found: Int32?
    let seconds: Double
  }

  func run() async throws {
    guard sample > 0, sample <= 1 else { throw CommandError("--sample is \(sample); expected above 0, up to 1") }
    let key = try readKey()
    let lines = try receipts.flatMap(read)
    guard !lines.isEmpty else {
      throw CommandError(
        "\(receipts.joined(separator: ", ")) has no receipts; expected one or more, in lines that are not errors")
    }
    let chosen = Set(lines.indices.shuffled().prefix(max(1, Int((Double(lines.count) * sample).rounded(.up)))))
    let (model, _) = try await model.load(computingDigest: true)
    var (wrong, missing, unchecked, tokens) = (0, 0, 0, 0)
    for (index, line) in lines.enumerated() {
      let finding = try await check(line, key, model, computes: chosen.contains(index))
      if !finding.hasReceipt { missing += 1 } else if !finding.isRight { wrong += 1 }
      if finding.signature == "not checked" { unchecked += 1 }
      if finding.isComputed, finding.isRight { tokens += finding.tokens ?? 0 }
      try ByteOutput.standard.write(json ? jsonText(finding, onOneLine: true) : Self.sentence(finding))
    }
    if !json {
      ByteOutput.note(
        "\(plural(lines.count - missing, "receipt")), \(wrong) wrong"
          + (missing > 0 ? ", and \(plural(missing, "answer")) without one" : "")
          + (unchecked > 0 ? "; \(plural(unchecked, "signature")) not checked, as --public-key is not given" : "")
          + "; \(plural(tokens, "token")) computed by "
          + "\(model.fingerprint) on \(model.device)")
    }
    if wrong + missing > 0 { throw ExitCode.failure }
  }

  private func readKey() throws -> ReceiptKey? {
    guard let publicKey else { return nil }
    guard ReceiptKey.isAvailable else { throw CommandError("--public-key: \(ReceiptKey.unavailable)") }
    let text = try ByteInput.text(of: publicKey)
    do { return try ReceiptKey(pem: text, kind: .open) } catch { throw CommandError("\(publicKey): \(error)") }
  }

  /// A receipt to check.
  private struct Entry {
    let name: String
    /// Nil for an answer without a receipt.
    let bytes: [UInt8]?
  }

  /// The receipts in a file.
  private func read(_ path: String) throws -> [Entry] {
    let bytes = try ByteInput.contents(of: path), mark = LineReader.byteOrderMark
    let lines = bytes.dropFirst(bytes.starts(with: mark) ? mark.count : 0).split(
      separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
    let full = lines.enumerated().filter { !$1.isEmpty }
    return full.flatMap { number, line in
      let name = full.count == 1 ? path : "\(path), line \(number + 1)"
      let found = Self.receipts(in: Array(line))
      return found.enumerated().map { Entry(name: found.count == 1 ? name : "\(name), choice \($0 + 1)", bytes: $1) }
    }
  }

  /// The receipts inside the answer of a batch or of a server, nil for one without: none where it is an error. Other
  /// lines are receipts themselves.
  private static func receipts(in line: [UInt8]) -> [[UInt8]?] {
    let limits = JSONLimits(byteCount: line.count, depth: 64)
    func inside(_ answer: JSONValue) -> [UInt8]? {
      guard let field = try? answer["receipt"], field.kind == .string, let text = try? field.string(),
        text.hasPrefix("{")
      else { return nil }
      return Array(text.utf8)
    }
    guard let root = try? JSONDocument(line, limits: limits).root else { return [line] }
    if let own = inside(root) { return [own] }
    guard var fields = try? root.fields(), let body = try? answer(in: root) else { return [line] }
    if fields["receipt"].ifPresent != nil { return [line] }
    // OpenAI's form has errors of a line beside the answer, and those of a request in its place.
    if fields["error"].ifPresent != nil || (try? body["error"].ifPresent) != nil { return [] }
    if let choices = try? body["choices"].elements().map(inside), !choices.isEmpty { return choices }
    return fields["line"].ifPresent == nil ? [line] : [nil]
  }

  /// The answer of a server in a line of OpenAI's batch files, or the line itself.
  private static func answer(in line: JSONValue) throws(JSONError) -> JSONValue {
    guard let response = try line["response"].ifPresent, let body = try response["body"].ifPresent else { return line }
    return body
  }

  private func check(
    _ entry: Entry, _ key: ReceiptKey?, _ model: LanguageModel, computes: Bool
  ) async throws -> Finding {
    let clock = ContinuousClock()
    let start = clock.now
    var (tokens, signature, fault): (Int?, String?, AuditError?) = (nil, nil, nil)
    do {
      guard let bytes = entry.bytes else { throw AuditError("the answer has no receipt") }
      let receipt = try Receipt(json: bytes)
      tokens = receipt.output.count
      try key?.check(receipt)
      if receipt.signature != nil { signature = key == nil ? "not checked" : "checked" }
      if computes { try await model.audit(receipt) }
    } catch let error as AuditError {
      fault = error
    }
    return Finding(
      receipt: entry.name, hasReceipt: entry.bytes != nil, isRight: fault == nil,
      isComputed: computes && entry.bytes != nil, tokens: tokens,
      signature: signature, fault: fault?.description, position: fault?.position.map { $0 + 1 },
      expected: fault?.expected, found: fault?.found,
      seconds: start.duration(to: clock.now) / .seconds(1))
  }

  private static func sentence(_ finding: Finding) -> String {
    if !finding.hasReceipt { return "\(finding.receipt): no receipt\n" }
    if let fault = finding.fault { return "\(finding.receipt): wrong: \(fault)\n" }
    let tokens = plural(finding.tokens ?? 0, "token")
    return finding.isComputed
      ? "\(finding.receipt): right: \(tokens) in \(duration(finding.seconds))\n"
      : "\(finding.receipt): well-formed: \(tokens), not computed\n"
  }
}
