import Synchronization

#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

/// The transfer of a file's missing bytes by several connections.
final class HubTransfer: Sendable {
  private let session: HubSession
  private let partial: PartialFile
  private let file: HubFile
  private let subject: String
  /// The file's address at the hub.
  private let url: URL
  private let meter: HubMeter
  /// The address that the hub redirected to, which saves it the same question for each segment.
  private let direct = Mutex<URL?>(nil)

  init(session: HubSession, partial: PartialFile, file: HubFile, subject: String, url: URL, meter: HubMeter) {
    self.session = session
    self.partial = partial
    self.file = file
    self.subject = subject
    self.url = url
    self.meter = meter
  }

  /// Transfers segments until none is left for this connection.
  ///
  /// - Throws: `HubError`.
  func work() async throws {
    var hasAll = false
    while let segment = partial.claim() {
      try await session.retrying(
        progress: { partial.received },
        waits: { seconds in meter.change { $0.waiting = "the hub, \(Int(seconds.rounded(.up))) s" } }
      ) { try await transfer(segment, hasAll: &hasAll) }
    }
  }

  /// - Parameter hasAll: whether this connection alone transfers the file, because the server knows no ranges.
  private func transfer(_ segment: Int, hasAll: inout Bool) async throws {
    let start = hasAll ? partial.prefix.count : partial.position(of: segment)
    let range = start..<(hasAll ? file.size : partial.range(of: segment).upperBound)
    if range.isEmpty { return }
    let isWhole = range == 0..<file.size
    let known = direct.withLock { $0 }
    let (response, final): (HubResponse, URL)
    do {
      (response, final) = try await session.get(known ?? url, subject: subject, range: isWhole ? nil : range)
    } catch let fault as HubFault where known != nil {
      direct.withLock { $0 = nil }
      throw HubFault.transient(fault.description)
    }
    if HubOrigin(final) != session.settings.origin { direct.withLock { $0 = final } }
    if response.status == 206 {
      try check(response[header: "Content-Range"], range)
      return try await receive(response, from: start, to: range.upperBound)
    }
    if !isWhole, !hasAll {
      // Another connection may have found out before; it transfers this segment too.
      guard partial.claimAll() else { return }
      hasAll = true
    }
    // A server that knows no ranges sends everything, over what is there already.
    if let length = response[header: "Content-Length"].flatMap(Int.init), length != file.size {
      throw HubFault.transient("\(subject): \(file.path) has \(length) bytes at the hub; expected \(file.size)")
    }
    try await receive(response, from: 0, to: file.size)
  }

  /// - Throws: `HubFault` if the bytes are others than those asked for.
  private func check(_ header: String?, _ range: Range<Int>) throws {
    let expected = "bytes \(range.lowerBound)-\(range.upperBound - 1)/"
    guard let header, header == "\(expected)\(file.size)" || header == "\(expected)*" else {
      let found = header ?? "a range without a name"
      throw HubFault.transient("\(subject): the hub sends \(found) of \(file.path); expected \(expected)\(file.size)")
    }
  }

  private func receive(_ response: HubResponse, from start: Int, to end: Int) async throws {
    var position = start
    do {
      for try await piece in response.body {
        guard position + piece.count <= end else {
          throw HubFault.transient("\(subject): the hub sends more than the \(file.size) bytes of \(file.path)")
        }
        meter.received(try partial.write(piece, at: position))
        position += piece.count
      }
    } catch let fault as HubFault {
      throw fault
    } catch let error as HubError {
      throw HubFault.final(error.description)
    } catch {
      try Task.checkCancellation()
      throw HubFault.transient("\(subject): \(file.path) stopped at byte \(position): \(error)")
    }
    guard position == end else {
      throw HubFault.transient("\(subject): \(file.path) ended at byte \(position) of \(file.size)")
    }
  }
}
