import BitNet
import BitNetDemoModel
import BitNetJSON
import BitNetServer
import Synchronization

/// The routes of a server with the demo model, without a network.
struct TestServer {
  static let demo = Task {
    try await LanguageModel.load(
      embedded: UnsafeRawBufferPointer(start: demo_model_bytes(), count: demo_model_size()),
      options: .init(device: .cpu(.init(threads: 1))))
  }

  private static func demo(withTemplate template: String) async throws -> LanguageModel {
    let bytes = UnsafeRawBufferPointer(start: demo_model_bytes(), count: demo_model_size())
    let length = Int(UInt64(littleEndian: bytes.loadUnaligned(as: UInt64.self)))
    let mark = "\"__metadata__\":{"
    let name = String(decoding: try JSONTree.string(template).serialized(), as: UTF8.self)
    var head = Array(
      String(decoding: bytes[8..<8 + length], as: UTF8.self)
        .replacing(mark, with: mark + "\"chat_template\":\(name),").utf8)
    // The tensors keep their alignment.
    while (head.count - length) % 4096 != 0 { head.append(UInt8(ascii: " ")) }
    var size = UInt64(head.count).littleEndian
    let whole = withUnsafeBytes(of: &size) { Array($0) } + head + bytes[(8 + length)...]
    // The model uses the memory as long as the tests run.
    let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: whole.count, alignment: 4096)
    memory.copyBytes(from: whole)
    return try await LanguageModel.load(
      embedded: UnsafeRawBufferPointer(memory), options: .init(device: .cpu(.init(threads: 1))))
  }

  let core: ServerCore
  let door: FrontDoor

  /// - Parameter template: a chat template that the demo model gets, which has none.
  init(
    settings: ServerCore.Settings = .init(), keys: [String] = [], origins: [String] = [], aliases: [String] = [],
    embedders: [ServedEmbedder] = [], template: String? = nil
  ) async throws {
    var language = try await Self.demo.value
    if let template { language = try await Self.demo(withTemplate: template) }
    let model = ServedModel(name: "demo", aliases: aliases, model: language, created: 1)
    core = ServerCore(try ModelCatalog([model], embedders: embedders), settings: settings)
    door = FrontDoor(
      core.routes, core: core, keys: KeyRing(keys), crossOrigin: CrossOrigin(origins: origins))
  }

  struct Output {
    var status: Int
    var headers: [HeaderField]
    var body: [UInt8]
    var text: String { String(decoding: body, as: UTF8.self) }

    func header(_ name: String) -> String? { headers.first { $0.name == name }?.value }

    func json() throws -> JSONValue { try JSONDocument(body).root }

    /// The JSON of server-sent events, without the `[DONE]` that must end them.
    func events() throws -> [JSONValue] {
      var parts = text.split(separator: "\n\n").filter { !$0.hasPrefix(":") }
      guard parts.popLast() == "data: [DONE]" else { throw RequestError.failure("the stream does not end with [DONE]") }
      return try parts.map { try JSONDocument(Array($0.dropFirst("data: ".count).utf8)).root }
    }
  }

  func send(
    _ method: String, _ path: String, _ body: String = "", headers: [HeaderField] = []
  ) async throws -> Output {
    var exchange = Exchange(id: "test", method: method, path: path)
    exchange.headers = headers
    exchange.body = Array(body.utf8)
    let reply: Reply
    switch door.admit(exchange) {
    case .reply(let known): reply = known
    case .route(let route, let parameters):
      exchange.parameters = parameters
      reply = try await door.answer(exchange, by: route)
    }
    var output = Output(status: reply.status, headers: reply.headers, body: [])
    switch reply.body {
    case .whole(let bytes, _): output.body = bytes
    case .stream(_, let write):
      let sink = CollectingSink()
      try await write(sink)
      output.body = sink.bytes
    }
    return output
  }

  func post(_ path: String, _ body: String) async throws -> Output { try await send("POST", path, body) }

  /// The error of a request that is refused.
  func error(_ path: String, _ body: String, status: Int = 400) async throws -> (message: String, parameter: String?) {
    let output = try await post(path, body)
    guard output.status == status else {
      throw RequestError.failure("the status is \(output.status); expected \(status): \(output.text)")
    }
    let error = try output.json()["error"]
    return (try error["message"].string(), try error["param"].ifPresent?.string())
  }
}

private final class CollectingSink: ReplySink {
  private let collected = Mutex<[UInt8]>([])
  var bytes: [UInt8] { collected.withLock { $0 } }
  func send(_ bytes: [UInt8]) async throws { collected.withLock { $0 += bytes } }
}
