import BitNetHash
import BitNetHub
import BitNetModelFiles
import Foundation
import Synchronization
import Testing

/// A hub in memory: a small file by a relative redirect, a large one by a redirect to another origin.
private final class MemoryHub: HubTransport {
  struct Request {
    let url: URL
    let headers: [String: String]
  }

  static let commit = String(repeating: "0a", count: 20)
  private let files: [String: (content: ContentHash, data: [UInt8])]
  private let state = Mutex<[Request]>([])
  /// Changes the answer to a request; `count` is the number of requests before it.
  private let fault: @Sendable (_ url: URL, _ count: Int) -> HubResponse?
  /// Cuts bodies of the large file after so many bytes.
  private let cut: Int?

  init(
    small: String = "{}", large: [UInt8], cut: Int? = nil,
    fault: @escaping @Sendable (URL, Int) -> HubResponse? = { _, _ in nil }
  ) {
    func digits(_ content: ContentHash, _ data: [UInt8]) -> String {
      var hash = content.hasher(size: data.count)
      data.withUnsafeBytes { hash.update($0) }
      return hash.digits()
    }
    let config = Array(small.utf8)
    files = [
      "config.json": (.gitSHA1(digits(.gitSHA1(""), config)), config),
      "model.safetensors": (.sha256(digits(.sha256(""), large)), large),
    ]
    self.cut = cut
    self.fault = fault
  }

  var requests: [Request] { state.withLock { $0 } }
  func hash(_ path: String) -> String { files[path]!.content.digits }

  func get(_ url: URL, headers: [(name: String, value: String)]) async throws -> HubResponse {
    let count = state.withLock { requests in
      requests.append(Request(url: url, headers: Dictionary(headers) { $1 }))
      return requests.count - 1
    }
    if let response = fault(url, count) { return response }
    let path = url.path
    if path.hasPrefix("/api/models/org/model/revision/") { return .text("{\"sha\": \"\(Self.commit)\"}") }
    if path.hasPrefix("/api/models/org/model/tree/\(Self.commit)") {
      let entries = files.map { path, file in
        let start = "{\"type\": \"file\", \"path\": \"\(path)\", \"size\": \(file.data.count), \"oid\": "
        return switch file.content {
        case .sha256(let digits): start + "\"x\", \"lfs\": {\"oid\": \"\(digits)\"}}"
        case .gitSHA1(let digits): start + "\"\(digits)\"}"
        }
      }
      return .text("[\(entries.joined(separator: ", "))]")
    }
    let name = String(path.split(separator: "/").last ?? "")
    guard let file = files[name] else { return .text("", status: 404) }
    if path.hasPrefix("/org/model/resolve/") {
      let isLarge = name == "model.safetensors"
      return .text(
        "", status: isLarge ? 302 : 307,
        headers: [("Location", isLarge ? "https://network.example/\(name)?signature=x" : "/api/resolve-cache/\(name)")])
    }
    let asked = headers.first { $0.name == "Range" }?.value.dropFirst("bytes=".count).split(separator: "-").compactMap {
      Int($0)
    }
    let range = asked.map { $0[0]..<$0[1] + 1 } ?? 0..<file.data.count
    var body = Array(file.data[range])
    if let cut, name == "model.safetensors" { body = Array(body.prefix(cut)) }
    return HubResponse(
      status: asked == nil ? 200 : 206,
      headers: [("Content-Range", "bytes \(range.lowerBound)-\(range.upperBound - 1)/\(file.data.count)")],
      body: pieces(body))
  }
}

/// A body in pieces.
private func pieces(_ bytes: [UInt8]) -> AsyncThrowingStream<[UInt8], any Error> {
  AsyncThrowingStream { continuation in
    for start in stride(from: 0, to: bytes.count, by: 1 << 20) {
      continuation.yield(Array(bytes[start..<min(start + 1 << 20, bytes.count)]))
    }
    continuation.finish()
  }
}

extension HubResponse {
  fileprivate static func text(
    _ text: String, status: Int = 200, headers: [(name: String, value: String)] = []
  ) -> HubResponse {
    HubResponse(status: status, headers: headers, body: pieces(Array(text.utf8)))
  }
}

@Suite("Pulling a model")
struct HubPullTests {
  private static let model = HubModelName("org/model")!

  /// Pulls into an empty cache, and passes its folder on before it is removed.
  private func pull(
    _ hub: MemoryHub, token: String? = nil, times: Int = 1, _ body: (HubCache, HubPull.Summary) throws -> Void
  ) async throws {
    let folder = FileManager.default.temporaryDirectory.appending(path: "hub-\(UUID())").path
    defer { try? FileManager.default.removeItem(atPath: folder) }
    let cache = HubCache(folder: folder)
    var settings = try HubSettings(HubEnvironment(["HF_HOME": folder, "HF_ENDPOINT": "https://hub.example"]))
    settings.token = token
    let pull = HubPull(settings: settings, cache: cache, transport: hub)
    for _ in 1..<times { _ = try await pull.run(Self.model) { _ in } }
    try body(cache, try await pull.run(Self.model) { _ in })
  }

  @Test("without a network, succeeds if the cache has the model, and asks nothing")
  func offline() async throws {
    let folder = FileManager.default.temporaryDirectory.appending(path: "hub-\(UUID())").path
    defer { try? FileManager.default.removeItem(atPath: folder) }
    let hub = MemoryHub(large: Array("weights".utf8))
    let values = ["HF_HOME": folder, "HF_ENDPOINT": "https://hub.example"]
    func pull(_ more: [String: String], revision: String = "main") async throws -> HubPull.Summary {
      let settings = try HubSettings(HubEnvironment(values.merging(more) { $1 }))
      let pull = HubPull(settings: settings, cache: HubCache(folder: folder), transport: hub)
      return try await pull.run(Self.model, revision: revision) { _ in }
    }
    let offline = ["HF_HUB_OFFLINE": "1"]
    let error = await #expect(throws: HubError.self) { _ = try await pull(offline) }
    #expect(error?.description.contains("does not have all of org/model") == true)
    let first = try await pull([:])
    let count = hub.requests.count
    let again = try await pull(offline)
    #expect(again.path == first.path && again.commit == first.commit && again.isOffline && !first.isOffline)
    #expect(again.fileCount == 2 && again.byteCount == first.byteCount && again.transferred == 0)
    await #expect(throws: HubError.self) { _ = try await pull(offline, revision: "other") }
    #expect(hub.requests.count == count)
  }

  @Test("leaves verified files under their hashes, and links to them")
  func whole() async throws {
    let hub = MemoryHub(large: Array("weights".utf8))
    try await pull(hub) { cache, summary in
      #expect(summary.path == cache.snapshot(MemoryHub.commit, of: Self.model))
      #expect(summary.fileCount == 2 && summary.byteCount == 9 && summary.transferred == 9)
      let path = try cache.resolve("org/model")
      #expect(path == summary.path)
      let weights = try String(contentsOfFile: "\(path)/model.safetensors", encoding: .utf8)
      #expect(weights == "weights")
      let blobs = FileAccess.names(in: "\(cache.folder(of: Self.model))/blobs")
      #expect(Set(blobs) == [hub.hash("config.json"), hub.hash("model.safetensors")])
    }
  }

  @Test("transfers nothing twice")
  func again() async throws {
    try await pull(MemoryHub(large: [1, 2, 3]), times: 2) { _, summary in #expect(summary.transferred == 0) }
  }

  @Test("sends the token to the hub alone")
  func token() async throws {
    let hub = MemoryHub(large: [1])
    try await pull(hub, token: "hf_x") { _, _ in }
    #expect(hub.requests.contains { $0.url.host() == "network.example" })
    for request in hub.requests {
      #expect((request.headers["Authorization"] == "Bearer hf_x") == (request.url.host() == "hub.example"))
    }
  }

  @Test("continues each segment where its connection ended, at the address that is known")
  func segments() async throws {
    // Three segments, each of which takes two connections or more.
    let data = (0..<(66 << 20)).map { UInt8(truncatingIfNeeded: $0 &* 31 >> 7) }
    let hub = MemoryHub(large: data, cut: 20 << 20)
    try await pull(hub) { _, summary in #expect(summary.transferred == data.count + 2) }
    let ranges = hub.requests.filter { $0.url.host() == "network.example" }.compactMap { $0.headers["Range"] }
    #expect(Set(ranges).count == 5)
    // The hub is asked once for each segment at most, not for each connection.
    #expect(hub.requests.count { $0.url.path.hasSuffix("/resolve/\(MemoryHub.commit)/model.safetensors") } <= 3)
  }

  @Test("gives no name to bytes that are not the file's")
  func wrongBytes() async throws {
    let other = MemoryHub(large: [9, 9, 9])
    let hub = MemoryHub(large: [1, 2, 3]) { url, _ in
      url.host() == "network.example" ? HubResponse(status: 200, headers: [], body: pieces([9, 9, 9])) : nil
    }
    let error = await #expect(throws: HubError.self) { try await pull(hub) { _, _ in } }
    #expect(error?.description.contains(other.hash("model.safetensors")) == true)
    // Once is enough to try again.
    #expect(hub.requests.count { $0.url.host() == "network.example" } == 2)
  }

  @Test("tries again after errors that pass")
  func passingErrors() async throws {
    let hub = MemoryHub(large: [1]) { _, count in count < 2 ? .text("", status: 503) : nil }
    try await pull(hub) { _, summary in #expect(summary.transferred == 3) }
  }

  @Test(
    "ends with the hub's own words",
    arguments: [
      (401, "GatedRepo", "gated"), (404, "RepoNotFound", "is not at"), (404, "RevisionNotFound", "revision"),
      (451, "", "status 451"),
    ])
  func refusals(_ status: Int, _ code: String, _ text: String) async throws {
    let hub = MemoryHub(large: [1]) { _, _ in
      .text("", status: status, headers: [("X-Error-Code", code), ("x-error-message", "Own\u{1B} words.")])
    }
    let error = await #expect(throws: HubError.self) { try await pull(hub) { _, _ in } }
    let description = try #require(error?.description)
    #expect(description.contains(text) && description.contains("\"Own words\""), "\(description)")
    #expect(hub.requests.count == 1)
  }
}
