/// Limits of a server's connections.
package struct ServerLimits: Sendable {
  /// Bytes of a request's body.
  package var bodyBytes = 16 << 20
  /// Bytes of all fields of a request's head.
  package var headBytes = 64 << 10
  /// Connections at a time; further ones wait.
  package var connections = 4096
  /// The longest time for the head of a connection's first request.
  package var headTime = Duration.seconds(30)
  /// The longest time between two requests of a connection, the head of the second included.
  package var idleTime = Duration.seconds(75)
  /// The longest time for a request's body.
  package var bodyTime = Duration.seconds(60)
  /// The longest time that a client may leave a response unread.
  package var writeTime = Duration.seconds(60)
  /// The longest time, after a signal to end, for the answers that run.
  package var drainTime = Duration.seconds(60)

  package init() {}
}
