#if Server
  import HummingbirdCore
  import Logging
  import NIOCore
  import NIOHTTP1
  import NIOHTTPTypes
  import NIOHTTPTypesHTTP1
  import NIOSSL

  /// Sets up the connections of a server.
  struct ServedChannel: HTTPChannelHandler {
    struct Value: ServerChildChannelValue {
      let asyncChannel: NIOAsyncChannel<HTTPRequestPart, HTTPResponsePart>
      let state: ConnectionState
      var channel: any Channel { asyncChannel.channel }
    }

    let limits: ServerLimits
    /// Nil without TLS.
    let certificates: CertificateStore?
    let connections: ConnectionRegistry
    let responder: HTTPChannelHandler.Responder

    func setup(channel: any Channel, logger: Logger) -> EventLoopFuture<Value> {
      channel.eventLoop.makeCompletedFuture {
        let state = ConnectionState()
        let pipeline = channel.pipeline.syncOperations
        if let certificates { try pipeline.addHandler(NIOSSLServerHandler(context: certificates.context)) }
        var decoder = NIOHTTPDecoderLimitConfiguration()
        decoder.maxHeaderFieldSize = limits.headBytes
        decoder.maxHeaderListSize = limits.headBytes
        decoder.maxHeaderFieldCount = 200
        try pipeline.configureHTTPServerPipeline(
          withPipeliningAssistance: false, withErrorHandling: false, withOutboundHeaderValidation: true,
          withEncoderConfiguration: .init(), withDecoderLimitConfiguration: decoder)
        try pipeline.addHandler(
          ConnectionHandler(limits: limits, state: state, isQuiescing: connections.add(channel)))
        try pipeline.addHandler(HTTP1ToHTTPServerCodec(secure: certificates != nil))
        return Value(
          asyncChannel: try NIOAsyncChannel(
            wrappingChannelSynchronously: channel, configuration: .init(isOutboundHalfClosureEnabled: true)),
          state: state)
      }
    }

    func handle(value: Value, logger: Logger) async {
      await ConnectionState.$current.withValue(value.state) {
        await handleHTTP(asyncChannel: value.asyncChannel, logger: logger)
      }
    }
  }
#endif
