import BitNetJSON
import BitNetServer
import Testing

@Suite("The front door")
struct FrontDoorTests {
  @Test("says what is wrong with a path, a method, a type of body")
  func statuses() async throws {
    let server = try await TestServer()
    #expect(try await server.send("GET", "/nothing").status == 404)
    let wrong = try await server.send("GET", "/v1/chat/completions")
    #expect(wrong.status == 405)
    #expect(wrong.header("Allow") == "POST, OPTIONS")
    let form = [HeaderField("content-type", "text/plain")]
    #expect(try await server.send("POST", "/tokenize", #"{"prompt": "a"}"#, headers: form).status == 415)
    let json = [HeaderField("Content-Type", "application/json; charset=utf-8")]
    #expect(try await server.send("POST", "/tokenize", #"{"prompt": "a"}"#, headers: json).status == 200)
    for path in ["/health", "/v1/health", "/ready", "/version", "/v1/models", "/v1/models/demo", "/tokenizer_info"] {
      let output = try await server.send("GET", path)
      #expect(output.status == 200, "\(path)")
      #expect(try output.json().kind == .object)
    }
    #expect(try await server.send("HEAD", "/health").status == 200)
    #expect(try await server.send("GET", "/v1/models/other").status == 404)
  }

  @Test("answers to this computer's names, to addresses and to names that are allowed, and to all without a check")
  func hosts() {
    func fault(_ host: String?, _ check: HostCheck) -> String? {
      var exchange = Exchange(id: "test", method: "GET", path: "/health")
      if let host { exchange.headers = [HeaderField("Host", host)] }
      return check.fault(exchange)
    }
    let local = HostCheck(local: ["Chat.example.org", "other:81"])
    for host in [
      "localhost", "LocalHost:9931", "localhost.", "a.localhost", "host.docker.internal:80", "127.0.0.1:9931",
      "10.1.2.3", "[::1]:9931", "[2001:db8::1.2.3.4]", "chat.example.org", "CHAT.example.org:80", "other:81", "", nil,
    ] {
      #expect(fault(host, local) == nil, "\(host ?? "none")")
    }
    for host in [
      "evil.example", "evil.example:9931", "127.0.0.1.evil.example", "1.2.3", "1.2.3.256", "localhost.evil.example",
      "notlocalhost", "[evil.example]", "other:82", "[", ":80", "::",
    ] {
      #expect(fault(host, local) == host, "\(host)")
      #expect(fault(host, .none) == nil && fault(host, HostCheck(local: ["*"])) == nil)
    }
  }

  @Test("lets in who has a key, in either field and any case, and everybody to the checks of health")
  func keys() async throws {
    let server = try await TestServer(keys: ["secret", "other"])
    func status(_ fields: HeaderField...) async throws -> Int {
      try await server.send("GET", "/v1/models", headers: fields).status
    }
    #expect(try await status() == 401)
    #expect(try await status(HeaderField("Authorization", "Bearer wrong!")) == 401)
    #expect(try await status(HeaderField("Authorization", "Bearer ")) == 401)
    #expect(try await status(HeaderField("Authorization", "secret")) == 401)
    #expect(try await status(HeaderField("authorization", "bearer secret")) == 200)
    #expect(try await status(HeaderField("Authorization", "BEARER  other")) == 200)
    #expect(try await status(HeaderField("X-Api-Key", "secret")) == 200)
    #expect(try await server.send("GET", "/health").status == 200)
    #expect(KeyRing.keys(inFile: "# keys\na b\n\n  c  \r\n") == ["a b", "c"])
  }

  @Test("lets pages of this computer and of listed origins in")
  func origins() async throws {
    let server = try await TestServer(origins: ["https://chat.example.org"])
    func allowed(_ origin: String) async throws -> String? {
      try await server.send(
        "OPTIONS", "/v1/chat/completions",
        headers: [.init("Origin", origin), .init("Access-Control-Request-Method", "POST")]
      ).header("Access-Control-Allow-Origin")
    }
    for origin in ["http://localhost:3000", "http://127.0.0.1", "https://chat.example.org"] {
      #expect(try await allowed(origin) == origin)
      let output = try await server.send("GET", "/v1/models", headers: [.init("Origin", origin)])
      #expect(output.header("Access-Control-Allow-Origin") == origin)
    }
    for origin in [
      "https://evil.example", "http://localhost.evil.example", "http://localhost:3000.evil.example", "null",
    ] {
      #expect(try await allowed(origin) == nil)
    }
  }

  @Test("refuses new work while the server drains")
  func draining() async throws {
    let server = try await TestServer()
    server.core.state.startDraining()
    #expect(try await server.send("GET", "/ready").status == 503)
    #expect(try await server.send("GET", "/health").status == 200)
    let output = try await server.post("/v1/completions", #"{"prompt": "a"}"#)
    #expect(output.status == 503)
    #expect(output.header("Retry-After") == "1")
  }

  @Test("finds patterns, and resolves percent-encoding")
  func paths() {
    let table = RouteTable([
      Route("GET", "/a/{one}/b") { _ in .text("") }, Route("GET", "/m/{rest...}") { _ in .text("") },
    ])
    guard case .route(_, let parameters) = table.match("GET", "/a/x/b") else {
      Issue.record("/a/x/b is not found")
      return
    }
    #expect(parameters == ["one": "x"])
    guard case .route(_, let rest) = table.match("HEAD", "/m/org/name") else {
      Issue.record("/m/org/name is not found")
      return
    }
    #expect(rest == ["rest": "org/name"])
    guard case .none = table.match("GET", "/a/x/c") else {
      Issue.record("/a/x/c is found")
      return
    }
    #expect(Exchange.decoded("org%2Fname%") == "org/name%")
    #expect(Exchange.decoded("%C3%A4%FF") == "ä\u{FFFD}")
  }
}
