#if Server
  import BitNetJSON
  import Foundation
  import Logging

  /// Writes log lines to standard error: for people, or as JSON.
  struct ServerLogHandler: LogHandler {
    private let isJSON: Bool
    var logLevel = Logger.Level.info
    var metadata: Logger.Metadata = [:]

    init(isJSON: Bool) { self.isJSON = isJSON }

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
      get { metadata[key] }
      set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
      let fields = metadata.merging(event.metadata ?? [:]) { $1 }.sorted { $0.key < $1.key }
      let time = Date().formatted(.iso8601.time(includingFractionalSeconds: true))
      if isJSON {
        var members: [JSONTree.Member] = [
          .init("time", .string(time)), .init("level", .string(event.level.rawValue)),
          .init("message", .string("\(event.message)")),
        ]
        members += fields.map { .init($0.key, .string("\($0.value)")) }
        guard let line = try? JSONTree.object(members).serialized() else { return }
        ByteOutput.note(String(decoding: line, as: UTF8.self))
      } else {
        let rest = fields.map { " \($0.key)=\(Self.shown("\($0.value)"))" }.joined()
        ByteOutput.note("\(time) \(event.level.rawValue) \(event.message)\(rest)")
      }
    }

    /// A value, in quotes where spaces or control characters could make two of it.
    private static func shown(_ value: String) -> String {
      value.allSatisfy { $0.isLetter || $0.isNumber || "-_.:/+=".contains($0) } ? value : quoted(value)
    }
  }
#endif
