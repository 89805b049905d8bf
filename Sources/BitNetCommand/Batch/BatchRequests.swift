import BitNet
import BitNetJSON
import BitNetServer

/// Answers requests in the form of OpenAI's batch files, `{"custom_id", "method", "url", "body"}`, through the routes
/// of `bitnet serve`, so that a request gets here what it gets there.
///
/// An answer has nothing that depends on the time or on other lines, so that a batch gives the same bytes every time:
/// `created` is 0, there are no timings and no counts of cached tokens, and identifiers come from the line's number.
struct BatchRequests: Sendable {
  private let door: FrontDoor
  /// The routes that the models here can answer.
  private let urls: [String]
  /// The seed of line 1 where a request has none; each line after it takes the next. Nil if nothing is sampled.
  private let seed: UInt64?
  /// Whether requests that do not say so want receipts.
  private let wantsReceipts: Bool

  private init(_ core: ServerCore, urls: [String], seed: UInt64?, wantsReceipts: Bool = false) {
    door = FrontDoor(core.routes, core: core)
    self.urls = urls
    self.seed = seed
    self.wantsReceipts = wantsReceipts
  }

  /// Requests for texts.
  ///
  /// - Parameters:
  ///   - wantsReceipts: whether requests that do not say so want receipts.
  ///   - receiptKey: signs receipts; nil for receipts without a signature.
  init(_ model: ServedModel, seed: UInt64, wantsReceipts: Bool, receiptKey: ReceiptKey?) throws {
    var settings = ServerCore.Settings()
    settings.receiptKey = receiptKey
    self.init(
      ServerCore(try ModelCatalog([model]), settings: settings),
      urls: ["/v1/chat/completions", "/v1/completions"], seed: seed, wantsReceipts: wantsReceipts)
  }

  /// Requests for vectors.
  init(_ embedder: ServedEmbedder) throws {
    self.init(ServerCore(try ModelCatalog([], embedders: [embedder])), urls: ["/v1/embeddings"], seed: nil)
  }

  /// Whether a line is such a request.
  static func holds(_ json: JSONValue) -> Bool {
    ["custom_id", "method", "url", "body"].contains { (try? json[$0])?.kind != nil }
  }

  /// - Parameters:
  ///   - place: the line's number in the input, from 1.
  ///   - isWhole: whether the input is a whole batch.
  func answer(_ json: JSONValue, place: Int, isWhole: Bool) async -> BatchAnswer {
    var (line, id) = (place, JSONTree.null)
    do {
      var fields = try json.fields()
      let name = fields["custom_id"]
      id = .string(try name.string())
      line = try BatchAnswer.number(fields["line"], place: place, isWhole: isWhole)
      let method = fields["method"]
      guard try method.ifPresent?.string() ?? "POST" == "POST" else { throw method.error(expected: "\"POST\"") }
      let url = fields["url"]
      let path = try url.string()
      guard urls.contains(path) else {
        let command = path == "/v1/embeddings" ? "; bitnet embed --jsonl answers it" : ""
        throw url.error(expected: urls.joined(separator: " or ") + command)
      }
      let body = try self.body(fields["body"], line: line)
      if let unknown = fields.unread.first {
        throw fields[unknown].error(found: "unknown", expected: "custom_id, method, url and body")
      }
      return try await answer(path, body, id: id, line: line)
    } catch {
      let message = (error as? JSONError)?.description ?? "\(error)"
      return BatchAnswer(
        Self.tree(
          line: line, id: id, response: .null, error: ["code": "invalid_request", "message": .string(message)]),
        tokens: 0, isFailure: true)
    }
  }

  /// The request's body as the line has it, with what the line does not say: its seed, and whether it wants a receipt.
  private func body(_ field: JSONValue, line: Int) throws -> [UInt8] {
    guard field.kind == .object else { throw field.error(expected: "an object") }
    if let stream = try field["stream"].ifPresent, try stream.bool() {
      throw stream.error(expected: "false, as the answers of a batch are whole")
    }
    let given = try field["seed"]
    // A seed of the server's choice would be another one each time.
    if given.kind == .null { throw given.error(expected: "an integer, or none") }
    var members: [String] = []
    if let seed, given.kind == nil { members.append("\"seed\":\(seed &+ UInt64(line - 1))") }
    if wantsReceipts, try field["receipt"].kind == nil { members.append("\"receipt\":true") }
    let text = Array(field.text)
    guard !members.isEmpty else { return text }
    let isEmpty = try field.members().first { _ in true } == nil
    return Array("{\(members.joined(separator: ","))\(isEmpty ? "" : ",")".utf8) + text.dropFirst()
  }

  private func answer(_ path: String, _ body: [UInt8], id: JSONTree, line: Int) async throws -> BatchAnswer {
    var exchange = Exchange(id: "line-\(line)", method: "POST", path: path)
    exchange.body = body
    let reply: Reply
    switch door.admit(exchange) {
    case .reply(let refusal): reply = refusal
    case .route(let route, _): reply = try await door.answer(exchange, by: route)
    }
    guard case .whole(let bytes, _) = reply.body else {
      throw CommandError("the answer is a stream; expected one that is whole")
    }
    let (tree, tokens) = try Self.timeless(bytes)
    let response: JSONTree = [
      "status_code": .integer(reply.status), "request_id": .string(exchange.id), "body": tree,
    ]
    return BatchAnswer(
      Self.tree(line: line, id: id, response: response, error: .null), tokens: tokens, isFailure: reply.status != 200)
  }

  private static func tree(line: Int, id: JSONTree, response: JSONTree, error: JSONTree) -> JSONTree {
    [
      "line": .integer(line), "id": .string("batch_req_\(line)"), "custom_id": id, "response": response,
      "error": error,
    ]
  }

  /// An answer's body without what depends on the time and on other requests, and its number of tokens: those that were
  /// generated, or those of vectors' texts.
  private static func timeless(_ bytes: [UInt8]) throws -> (JSONTree, tokens: Int) {
    let root = try JSONDocument(bytes, limits: JSONLimits(byteCount: bytes.count)).root
    guard case .object(var members) = try JSONTree(root) else { throw root.error(expected: "an object") }
    let usage = try root["usage"]
    members.removeAll { $0.name == "timings" }
    for index in members.indices {
      switch (members[index].name, members[index].value) {
      case ("created", _): members[index].value = 0
      case ("usage", .object(var counts)):
        counts.removeAll { $0.name == "prompt_tokens_details" }
        members[index].value = .object(counts)
      default: break
      }
    }
    guard usage.ifPresent != nil else { return (.object(members), 0) }
    return (.object(members), try (usage["completion_tokens"].ifPresent ?? usage["prompt_tokens"]).integer())
  }
}
