#if Server
  import NIOCore
  import Synchronization

  /// The open connections of a server.
  final class ConnectionRegistry: Sendable {
    private let state = Mutex((channels: [ObjectIdentifier: any Channel](), isQuiescing: false))

    var count: Int { state.withLock { $0.channels.count } }

    /// - Returns: whether the connection is to be closed after its first response.
    func add(_ channel: any Channel) -> Bool {
      let id = ObjectIdentifier(channel)
      channel.closeFuture.whenComplete { [self] _ in state.withLock { $0.channels[id] = nil } }
      return state.withLock { state in
        state.channels[id] = channel
        return state.isQuiescing
      }
    }

    /// Closes idle connections now, and the others after the response that they wait for.
    func quiesce() {
      let channels = state.withLock { state in
        state.isQuiescing = true
        return Array(state.channels.values)
      }
      for channel in channels { channel.pipeline.fireUserInboundEventTriggered(ChannelShouldQuiesceEvent()) }
    }
  }
#endif
