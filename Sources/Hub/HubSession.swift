import BitNetJSON

#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

/// Requests to a hub. Follows redirects, adds the token, explains errors and repeats requests.
struct HubSession: Sendable {
  let settings: HubSettings
  let transport: any HubTransport
  /// Tries without a new byte after which a request is given up.
  var tries = 6
  /// Seconds before the second try; each later pause is twice as long.
  var firstPause = 0.3
  /// The longest pause that a hub may ask for, in seconds.
  static let longestPause = 300.0
  private static let mostRedirects = 10
  private static let largestPage = 64 << 20
  private static let pageSeconds = 120.0

  /// Sends a request, and follows redirects. The token goes to the hub alone.
  ///
  /// - Parameters:
  ///   - subject: what is asked for, such as "org/name".
  ///   - range: the bytes of the content to send; nil for all.
  /// - Returns: an answer of status 200 or 206, and the address that it came from.
  /// - Throws: `HubFault`.
  func get(_ url: URL, subject: String, range: Range<Int>? = nil) async throws -> (response: HubResponse, url: URL) {
    var url = url
    for _ in 0...Self.mostRedirects {
      guard let origin = HubOrigin(url) else {
        throw HubFault.final("\(subject): the hub redirects to an address that is not http")
      }
      // Send as little as possible over a connection that anybody can read.
      guard origin.scheme == "https" || origin.isLoopback else {
        throw HubFault.final("\(subject): the hub redirects to \(origin); expected an https address")
      }
      var headers = [("User-Agent", "swift-bitnet"), ("Accept", "*/*"), ("Accept-Encoding", "identity")]
      if origin == settings.origin, let token = settings.token { headers.append(("Authorization", "Bearer \(token)")) }
      if let range { headers.append(("Range", "bytes=\(range.lowerBound)-\(range.upperBound - 1)")) }
      let response: HubResponse
      do {
        response = try await transport.get(url, headers: headers.map { (name: $0.0, value: $0.1) })
      } catch let error as CancellationError {
        throw error
      } catch let error as HubError {
        throw HubFault.final(error.description)
      } catch {
        try Task.checkCancellation()
        throw HubFault.transient("\(subject): \(origin) cannot be reached: \(error)")
      }
      switch response.status {
      case 200, 206: return (response, url)
      case 301, 302, 303, 307, 308:
        guard let text = response[header: "Location"], let next = URL(string: text, relativeTo: url)?.absoluteURL else {
          throw HubFault.final("\(subject): \(origin) redirects to nowhere")
        }
        url = next
        // A connection whose answer was read can be used again.
        _ = try? await limited(seconds: 5) { try await response.bytes(limit: 1 << 16) }
      default: throw await fault(response, origin, subject)
      }
    }
    throw HubFault.final("\(subject): the hub redirects more than \(Self.mostRedirects) times")
  }

  /// The meaning of an answer without content, in the hub's own words if it gave any.
  private func fault(_ response: HubResponse, _ origin: HubOrigin, _ subject: String) async -> HubFault {
    let code = response[header: "X-Error-Code"]
    let words = await words(response)
    let said = words.map { ": \"\($0)\"" } ?? ""
    let isHub = origin == settings.origin
    switch response.status {
    case 429:
      return .transient(
        "\(subject): \(origin) has had too many requests\(said); try again later", wait: pause(response))
    case 408, 425, 500...599:
      return .transient("\(subject): \(origin) answers with error \(response.status)\(said)", wait: pause(response))
    case 403 where !isHub, 401 where !isHub:
      // An address of a content network is good for some minutes only.
      return .transient("\(subject): \(origin) refuses access\(said)")
    case 416: return .transient("\(subject): \(origin) does not have the bytes that were asked for")
    case _ where code == "GatedRepo":
      let way =
        settings.token == nil ? "set HF_TOKEN to a token of an account that has access" : "ask for access there"
      return .final("\(subject) is gated\(said); accept its terms at \(settings.endpoint)/\(subject) and \(way)")
    case _ where code == "RevisionNotFound":
      return .final("\(subject) does not have this revision\(said); expected a branch, a tag or a commit")
    case _ where code == "EntryNotFound": return .final("\(subject) does not have this file\(said)")
    case 401 where code == nil && settings.token != nil:
      return .final("the hub does not accept the token\(said); make a new one at \(settings.endpoint)/settings/tokens")
    case 401, 403, 404:
      let way = settings.token == nil ? ", or set HF_TOKEN if it is private" : ", or a token that may read it"
      return .final("\(subject) is not at \(settings.endpoint)\(said); check the name\(way)")
    default: return .final("\(subject): \(origin) answers with status \(response.status)\(said)")
    }
  }

  /// What a hub says of an error: its header, or the field of its JSON.
  private func words(_ response: HubResponse) async -> String? {
    var text = response[header: "X-Error-Message"]
    if text == nil, response[header: "Content-Type"]?.hasPrefix("application/json") == true,
      let bytes = try? await limited(seconds: 5, { try await response.bytes(limit: 1 << 16) }),
      let document = try? JSONDocument(bytes)
    {
      text = try? document.root["error"].string()
    }
    // One line, and no control characters of a terminal.
    guard let text else { return nil }
    let plain = String(text.unicodeScalars.map { $0.value < 0x20 || 0x7F...0x9F ~= $0.value ? " " : Character($0) })
    let line = plain.split(separator: " ").joined(separator: " ")
    let end = line.hasSuffix(".") ? line.dropLast() : line[...]
    return end.isEmpty ? nil : String(end.prefix(300))
  }

  /// The seconds that a busy hub asks for.
  private func pause(_ response: HubResponse) -> Double? {
    if let seconds = response[header: "Retry-After"].flatMap(Double.init), seconds >= 0 { return seconds }
    // As in `"api";r=0;t=55`: no requests left for 55 seconds.
    for part in response[header: "RateLimit"]?.split(separator: ";") ?? [] {
      let part = part.drop { $0 == " " }
      if part.hasPrefix("t="), let seconds = Double(part.dropFirst(2)), seconds >= 0 { return seconds }
    }
    return nil
  }

  /// Runs `body` again after transient faults, as long as it does not fail `tries` times without progress.
  ///
  /// - Parameters:
  ///   - progress: any number that grows when something has arrived.
  ///   - waits: called before a pause that the hub asked for, with its seconds.
  func retrying<Result>(
    progress: () -> Int = { 0 }, waits: (Double) -> Void = { _ in }, _ body: () async throws -> Result
  ) async throws -> Result {
    var failures = 0
    while true {
      let before = progress()
      do {
        return try await body()
      } catch let fault as HubFault {
        guard case .transient(let wait) = fault.kind else { throw HubError(fault.description) }
        failures = progress() > before ? 1 : failures + 1
        guard failures < tries, wait ?? 0 <= Self.longestPause else { throw HubError(fault.description) }
        let pause = firstPause * Double(1 << (failures - 1)) * Double.random(in: 0.5...1)
        if let wait, wait >= 1 { waits(wait) }
        // All connections are told to wait equally long, so they come back at different times.
        try await Task.sleep(for: .seconds(max(pause, (wait ?? 0) + Double.random(in: 0...0.2))))
      }
    }
  }

  /// Reads a page of JSON.
  ///
  /// - Returns: what `read` makes of it, and the address of the next page.
  /// - Throws: `HubError`.
  func json<Result: Sendable>(
    _ url: URL, subject: String, _ read: @escaping @Sendable (JSONValue) throws -> Result
  ) async throws -> (Result, next: URL?) {
    try await retrying {
      try await limited(seconds: Self.pageSeconds) {
        let (response, final) = try await get(url, subject: subject)
        let bytes: [UInt8]
        do {
          bytes = try await response.bytes(limit: Self.largestPage)
        } catch let fault as HubFault {
          throw HubFault.final("\(subject): the hub's answer \(fault.description)")
        } catch {
          try Task.checkCancellation()
          throw HubFault.transient("\(subject): the hub's answer ended early: \(error)")
        }
        let document: JSONDocument
        do {
          document = try JSONDocument(bytes, limits: JSONLimits(byteCount: Self.largestPage))
        } catch {
          // A cut answer without a length looks like this too.
          throw HubFault.transient("\(subject): the hub's answer is not JSON: \(error)")
        }
        do {
          let next = response[header: "Link"].flatMap(nextPage).flatMap { URL(string: $0, relativeTo: final) }
          return (try read(document.root), next?.absoluteURL)
        } catch let error as HubError {
          throw HubFault.final(error.description)
        } catch {
          throw HubFault.final("\(subject): the hub's answer cannot be used: \(error)")
        }
      }
    }
  }

  /// Runs `body` for at most so many seconds.
  private func limited<Result: Sendable>(
    seconds: Double, _ body: @escaping @Sendable () async throws -> Result
  ) async throws -> Result {
    try await withThrowingTaskGroup(of: Result.self) { group in
      group.addTask { try await body() }
      group.addTask {
        try await Task.sleep(for: .seconds(seconds))
        throw HubFault.transient("the hub has not answered in full within \(Int(seconds)) s")
      }
      defer { group.cancelAll() }
      return try await group.next()!
    }
  }
}
