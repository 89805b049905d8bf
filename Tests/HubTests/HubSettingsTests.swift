import BitNetHub
import BitNetModelFiles
import Foundation
import Testing

@Suite("Settings of the hub")
struct HubSettingsTests {
  private func settings(_ values: [String: String]) throws -> HubSettings {
    try HubSettings(HubEnvironment(["HF_HOME": "/nowhere"].merging(values) { $1 }))
  }

  @Test("have the public hub, no token and a network by default")
  func defaults() throws {
    let settings = try settings([:])
    #expect(settings.endpoint == "https://huggingface.co")
    #expect(settings.token == nil && !settings.isOffline && settings.idleSeconds == 10)
  }

  @Test("take the token without spaces and line ends, the new variable before the old one")
  func tokens() throws {
    #expect(try settings(["HF_TOKEN": " hf_a\r\n"]).token == "hf_a")
    #expect(try settings(["HF_TOKEN": "hf_a", "HUGGING_FACE_HUB_TOKEN": "hf_b"]).token == "hf_a")
    #expect(try settings(["HUGGING_FACE_HUB_TOKEN": "hf_b"]).token == "hf_b")
    #expect(try settings(["HF_TOKEN": "\n"]).token == nil)
    #expect(throws: HubError.self) { try settings(["HF_TOKEN": "a\tb"]) }
  }

  @Test(
    "refuse endpoints that would send data in the clear",
    arguments: [
      "http://example.com", "http://127.0.0.1.example.com", "http://localhost.example.com", "ftp://localhost", "hub",
      "https://user@example.com", "https://example.com?x=1", "http://128.0.0.1", "http://127.evil",
    ])
  func endpoints(_ endpoint: String) {
    #expect(throws: HubError.self) { try settings(["HF_ENDPOINT": endpoint]) }
  }

  @Test(
    "take endpoints of this machine, and paths",
    arguments: [
      "http://localhost:8080/", "http://127.0.0.1:80", "http://[::1]:8080", "https://example.com/mirror/",
    ])
  func localEndpoints(_ endpoint: String) throws {
    let settings = try settings(["HF_ENDPOINT": endpoint])
    #expect(!settings.endpoint.hasSuffix("/"))
    #expect(try settings.url("/api/x").absoluteString == settings.endpoint + "/api/x")
  }

  @Test(
    "are offline for the words of the Python client",
    arguments: [
      ("1", true), ("yes", true), ("On", true), ("TRUE", true), ("0", false), ("no", false), ("2", false), ("", false),
    ])
  func offline(_ value: String, _ expected: Bool) throws {
    #expect(try settings(["HF_HUB_OFFLINE": value]).isOffline == expected)
  }

  @Test("compare origins by scheme, host and port")
  func origins() throws {
    func origin(_ text: String) throws -> HubOrigin? {
      let url = try #require(URL(string: text))
      return HubOrigin(url)
    }
    #expect(try origin("https://Hub.co/x") == origin("https://hub.co:443"))
    #expect(try origin("https://hub.co") != origin("https://hub.co:8443"))
    #expect(try origin("https://hub.co") != origin("http://hub.co"))
    #expect(try origin("https://hub.co") != origin("https://cdn.hub.co"))
    #expect(try origin("file:///etc/passwd") == nil)
  }

  @Test("choose proxies by scheme, and none for excluded hosts")
  func proxies() throws {
    let proxies = HubProxies(
      HubEnvironment([
        "https_proxy": "http://me:s%20cret@proxy:3128", "ALL_PROXY": "other:81", "NO_PROXY": ".lan, example.com:444",
      ]))
    func proxy(_ text: String) throws -> HubProxies.Proxy? {
      let url = try #require(URL(string: text))
      return try proxies.proxy(for: #require(HubOrigin(url)))
    }
    let secure = try #require(try proxy("https://hub.co"))
    #expect((secure.host, secure.port) == ("proxy", 3128))
    #expect((secure.user, secure.password) == ("me", "s cret"))
    #expect(try proxy("http://hub.co")?.host == "other")
    #expect(try proxy("https://a.lan") == nil && proxy("https://lan") == nil)
    #expect(try proxy("https://example.com:444") == nil)
    #expect(try proxy("https://example.com")?.host == "proxy")
    #expect(try proxy("https://notexample.com:444")?.host == "proxy")
  }

  @Test("quote names for addresses")
  func quoting() {
    #expect(HubSettings.quoted("refs/pr/7") == "refs%2Fpr%2F7")
    #expect(HubSettings.quoted("a b/ä?.gguf", keeping: "/") == "a%20b/%C3%A4%3F.gguf")
  }

  @Test("find the next page in a Link header")
  func links() {
    #expect(nextPage("</a?cursor=x%3D>; rel=\"next\"") == "/a?cursor=x%3D")
    #expect(nextPage("<https://h/p>; rel=\"prev\", <https://h/n>; rel=\"next\"") == "https://h/n")
    #expect(nextPage("<https://h/p>; rel=\"prev\"") == nil)
    #expect(nextPage("next") == nil)
  }
}
