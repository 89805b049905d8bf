import BitNetModelFiles
import Foundation
import TestSupport
import Testing

@Suite("The Hugging Face cache")
struct HubCacheTests {
  private static let commit = String(repeating: "0a", count: 20)
  private static let hash = String(repeating: "b", count: 64)
  private let model = HubModelName("org/model")!

  private func withCache(_ body: (HubCache) throws -> Void) throws {
    let folder = FileManager.default.temporaryDirectory.appending(path: "hub-\(UUID())").path
    defer { try? FileManager.default.removeItem(atPath: folder) }
    try body(HubCache(folder: folder))
  }

  /// Stores a file as a download does.
  private func store(_ file: String, _ text: String, in cache: HubCache, _ model: HubModelName) throws {
    let hash = String(format: "%064lx", abs(file.hashValue))
    try FileAccess.write(text, to: cache.blob(hash, of: model))
    try cache.link(file, to: hash, in: Self.commit, of: model)
  }

  @Test(
    "names",
    arguments: [
      ("org/model", true), ("1bitLLM/bitnet_b1_58-large", true), ("a/b.c-d", true), ("model", false), ("/model", false),
      ("org/", false), ("org/../x", false), ("org/a--b", false), ("org/a..b", false), (".org/a", false),
      ("org/a.", false),
      ("org/a b", false), ("org/ä", false), ("a/b/c", false), ("org/a.git", false), ("", false), ("./model", false),
      ("org/" + String(repeating: "a", count: 93), false),
    ])
  func names(_ text: String, _ isName: Bool) {
    #expect((HubModelName(text) != nil) == isName)
    if let name = HubModelName(text) { #expect(HubModelName(folderName: name.folderName) == name) }
  }

  @Test("references have a revision and a file")
  func references() throws {
    let plain = try #require(HubReference("org/model"))
    #expect(plain == HubReference(model) && "\(plain)" == "org/model")
    let full = try #require(HubReference("org/model@v1/folder/x.gguf"))
    #expect(full == HubReference(model, revision: "v1", file: "folder/x.gguf"))
    #expect("\(full)" == "org/model@v1/folder/x.gguf")
    let request = try #require(HubReference("org/model@refs/pr/7"))
    #expect(request == HubReference(model, revision: "refs/pr/7") && "\(request)" == "org/model@refs/pr/7")
    #expect(HubReference("org/model@refs/pr/7/a/x.gguf")?.file == "a/x.gguf")
    #expect(HubReference("org/model@refs/pr") == nil)
    for text in ["org/model/../x", "org/model@", "models/2b.safetensors", "org/model@../x", "org//x"] {
      #expect(HubReference(text) == nil, "\(text)")
    }
  }

  @Test("folders come from the environment as in the Python client")
  func folders() {
    func folder(_ values: [String: String]) -> String {
      HubEnvironment(["HOME": "/home/me"].merging(values) { $1 }).cacheFolder
    }
    #expect(folder([:]) == "/home/me/.cache/huggingface/hub")
    #expect(folder(["XDG_CACHE_HOME": "/x"]) == "/x/huggingface/hub")
    #expect(folder(["XDG_CACHE_HOME": "/x", "HF_HOME": "~/hf"]) == "/home/me/hf/hub")
    #expect(folder(["HF_HOME": "/h", "HUGGINGFACE_HUB_CACHE": "/old"]) == "/old")
    #expect(folder(["HF_HUB_CACHE": "$DATA/${NAME}/$NONE", "DATA": "/d", "NAME": "n"]) == "/d/n/$NONE")
    #expect(folder(["HF_HUB_CACHE": ""]) == "/home/me/.cache/huggingface/hub")
  }

  @Test("a model is found by its branch, by its commit and by a file")
  func lookup() throws {
    try withCache { cache in
      try store("config.json", "{}", in: cache, model)
      try store("sub/a.gguf", "a", in: cache, model)
      let snapshot = cache.snapshot(Self.commit, of: model)
      #expect(FileAccess.target(ofLink: "\(snapshot)/sub/a.gguf")?.hasPrefix("../../../blobs/") == true)
      // No branch yet.
      #expect(throws: ModelFileError.self) { try cache.resolve("org/model") }
      #expect(try cache.resolve("org/model@\(Self.commit)") == "\(snapshot)/sub/a.gguf")
      try cache.record(Self.commit, for: "main", of: model)
      #expect(try String(contentsOfFile: "\(cache.folder(of: model))/refs/main", encoding: .utf8) == Self.commit)
      #expect(try cache.resolve("org/model/sub/a.gguf") == "\(snapshot)/sub/a.gguf")
      try store("b.gguf", "b", in: cache, model)
      #expect(throws: ModelFileError.self) { try cache.resolve("org/model") }
      try store("model.safetensors", "x", in: cache, model)
      #expect(try cache.resolve("org/model") == snapshot)
      // Other paths stay what they are.
      #expect(try cache.resolve("model.safetensors") == "model.safetensors")
      #expect(try cache.resolve("/tmp/x/y") == "/tmp/x/y")
    }
  }

  @Test(
    "an error names the command that downloads the model",
    arguments: [
      ("org/model", "run bitnet pull org/model"), ("org/model@v1", "run bitnet pull org/model --revision v1"),
      ("org/model/x.gguf", "run bitnet pull org/model --file x.gguf"),
    ])
  func missing(_ text: String, _ command: String) throws {
    try withCache { cache in
      let error = #expect(throws: ModelFileError.self) { try cache.resolve(text) }
      #expect(error?.description.hasSuffix(command) == true, "\(error?.description ?? "")")
    }
  }

  @Test("a revision's file that holds no commit is named")
  func malformedRevision() throws {
    try withCache { cache in
      try FileAccess.write("not a commit", to: "\(cache.folder(of: model))/refs/main")
      let error = #expect(throws: ModelFileError.self) { try cache.resolve("org/model") }
      let sentence = error?.description ?? ""
      #expect(sentence.contains("refs/main does not hold 40 hexadecimal digits"), "\(sentence)")
      #expect(sentence.contains("run bitnet pull org/model"), "\(sentence)")
    }
  }

  @Test("the name of a model in the cache is the one of the hub, not its commit")
  func modelNames() throws {
    try withCache { cache in
      let snapshot = cache.snapshot(Self.commit, of: model)
      #expect(FileAccess.modelName(snapshot) == "org/model")
      #expect(FileAccess.modelName("\(snapshot)/sub/x.gguf") == "org/model/sub/x.gguf")
    }
    #expect(FileAccess.modelName("/models/2b.gguf") == "2b.gguf" && FileAccess.modelName("models/2b/") == "2b")
    #expect(FileAccess.modelName("snapshots/2b") == "2b" && FileAccess.modelName("/tmp/..") == "/")
  }

  @Test("a revision that is a pipe is none: reading it would wait for ever")
  func pipe() throws {
    try withCache { cache in
      try FileAccess.createFolder("\(cache.folder(of: model))/refs")
      #expect(mkfifo("\(cache.folder(of: model))/refs/main", 0o600) == 0)
      #expect(cache.commit(of: "main", model) == nil)
    }
  }

  @Test("a split file is one model")
  func splitFile() throws {
    try withCache { cache in
      for number in 1...2 { try store("a-0000\(number)-of-00002.gguf", "\(number)", in: cache, model) }
      try cache.record(Self.commit, for: "main", of: model)
      let path = try cache.resolve("org/model")
      #expect(path.hasSuffix("/a-00001-of-00002.gguf"))
    }
    let name = try #require(SplitName("a/b-c-00002-of-00010.gguf"))
    #expect((name.start, name.number, name.count) == ("a/b-c", 2, 10))
    for name in ["a.gguf", "a-1-of-2.gguf", "00001-of-00002.gguf", "a-00001-of-0000x.gguf", "a-00001-of-00002.bin"] {
      #expect(SplitName(name) == nil, "\(name)")
    }
  }

  @Test("a damaged reference is no commit", arguments: ["", "../../x", "main", String(repeating: "A", count: 40)])
  func damagedReference(_ text: String) throws {
    try withCache { cache in
      try FileAccess.write(text, to: "\(cache.folder(of: model))/refs/main")
      #expect(cache.commit(of: "main", model) == nil)
      #expect(cache.commit(of: "../refs/main", model) == nil)
    }
  }

  @Test("models are listed with their snapshots, and removed")
  func listing() throws {
    try withCache { cache in
      #expect(cache.models().isEmpty)
      try store("config.json", "{}", in: cache, model)
      try store("model.safetensors", "12345", in: cache, model)
      try cache.record(Self.commit, for: "refs/pr/7", of: model)
      try FileAccess.write("", to: "\(cache.folder)/version.txt")
      try FileAccess.write("", to: "\(cache.folder)/datasets--a--b/refs/main")
      let found = try #require(cache.models().first)
      #expect(cache.models().count == 1 && found.name == model && found.byteCount == 7)
      #expect(found.snapshots.map(\.commit) == [Self.commit] && found.snapshots[0].revisions == ["refs/pr/7"])
      let snapshot = found.snapshots[0]
      #expect(snapshot.isComplete && snapshot.fileCount == 2 && snapshot.byteCount == 7)
      #expect(try cache.remove(model) == 7)
      #expect(cache.models().isEmpty)
      #expect(throws: ModelFileError.self) { try cache.remove(model) }
    }
  }

  @Test("a blob that models share stays until the last of them is removed")
  func sharedBlobs() throws {
    try withCache { cache in
      let other = HubModelName("org/other")!
      let store = "\(cache.folder)/blobs/bb/\(Self.hash)"
      try FileAccess.write("1\n", to: "\(cache.folder)/blobs/.huggingface-shared-blobs")
      try FileAccess.write("shared", to: store)
      var list = ""
      for model in [model, other] {
        try FileAccess.createFolder("\(cache.folder(of: model))/blobs")
        let blob = cache.blob("etag", of: model)
        try FileManager.default.createSymbolicLink(atPath: blob, withDestinationPath: "../../blobs/bb/\(Self.hash)")
        list += "\(model.folderName)/blobs/etag\n"
      }
      try FileAccess.write(list, to: "\(store).refs")
      #expect(cache.models().map(\.name) == [model, other])
      #expect(try cache.remove(model) == 0)
      #expect(FileAccess.size(of: store) == 6)
      #expect(try cache.remove(other) == 6)
      #expect(!FileAccess.exists(store) && !FileAccess.exists("\(store).refs"))
    }
  }

  @Test("a lock is held by one at a time, and stops a removal")
  func locks() throws {
    try withCache { cache in
      try store("config.json", "{}", in: cache, model)
      let path = "\(cache.locks(of: model))/\(Self.hash).lock"
      var lock = try HubLock.take(path)
      #expect(lock != nil)
      #expect(try HubLock.take(path) == nil)
      #expect(throws: ModelFileError.self) { try cache.remove(model) }
      lock = nil
      #expect(try HubLock.take(path) != nil)
      #expect(try cache.remove(model) == 2)
    }
  }
}
