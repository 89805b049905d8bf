#if Server
  import NIOCore
  import NIOHTTP1

  /// Keeps one connection within the server's limits, and its requests in order: the second one of two that arrive
  /// together is passed on when the first is answered.
  ///
  /// It stands between the parser of HTTP/1 and the application. It refuses bodies that are too long before they are
  /// sent, ends slow requests, notices clients that leave, and closes the connection when it has served its time.
  final class ConnectionHandler: ChannelDuplexHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias InboundOut = HTTPServerRequestPart
    typealias OutboundIn = HTTPServerResponsePart
    typealias OutboundOut = HTTPServerResponsePart

    /// A request that is not answered to its end.
    private struct Current {
      let version: HTTPVersion
      let errors: ErrorForm
      var closes: Bool
      var bodyBytes = 0
      var hasAllOfRequest = false
      var hasHead = false
      var hasAllOfResponse = false
    }

    private let limits: ServerLimits
    private let state: ConnectionState
    private var current: Current?
    /// Parts of later requests.
    private var held: [HTTPServerRequestPart] = []
    private var isReadHeld = false
    /// The fault in what follows the held parts.
    private var heldFault: RequestError?
    private var isFirst = true
    /// Whether the connection closes when the current request is answered.
    private var isQuiescing: Bool
    private var hasInputEnded = false
    private var isClosing = false
    private var deadline: Scheduled<Void>?
    private var writeDeadline: Scheduled<Void>?

    init(limits: ServerLimits, state: ConnectionState, isQuiescing: Bool) {
      self.limits = limits
      self.state = state
      self.isQuiescing = isQuiescing
    }

    // MARK: Times

    func handlerAdded(context: ChannelHandlerContext) { awaitRequest(context) }

    func handlerRemoved(context: ChannelHandlerContext) { cancelDeadlines() }

    private func awaitRequest(_ context: ChannelHandlerContext) {
      // Once the server drains, a connection that says nothing must not keep it.
      let time = isQuiescing ? .seconds(1) : isFirst ? limits.headTime : limits.idleTime
      setDeadline(time, context) { handler, context in
        handler.closeNow(context)
      }
    }

    private func setDeadline(
      _ time: Duration, _ context: ChannelHandlerContext,
      _ body: @escaping (ConnectionHandler, ChannelHandlerContext) -> Void
    ) {
      deadline?.cancel()
      deadline = context.eventLoop.assumeIsolated().scheduleTask(in: TimeAmount(time)) { body(self, context) }
    }

    private func cancelDeadlines() {
      deadline?.cancel()
      writeDeadline?.cancel()
      (deadline, writeDeadline) = (nil, nil)
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
      writeDeadline?.cancel()
      writeDeadline = nil
      if !context.channel.isWritable {
        writeDeadline = context.eventLoop.assumeIsolated().scheduleTask(in: TimeAmount(limits.writeTime)) {
          self.closeNow(context)
        }
      }
      context.fireChannelWritabilityChanged()
    }

    // MARK: Requests

    func read(context: ChannelHandlerContext) {
      // What does not fit into memory stays in the sockets.
      if held.isEmpty { context.read() } else { isReadHeld = true }
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
      if isClosing { return }
      let part = unwrapInboundIn(data)
      if !held.isEmpty || current?.hasAllOfRequest == true {
        held.append(part)
      } else {
        take(part, context)
      }
    }

    private func take(_ part: HTTPServerRequestPart, _ context: ChannelHandlerContext) {
      switch part {
      case .head(let head):
        isFirst = false
        current = Current(
          version: head.version, errors: .ofPath(Exchange.decoded(head.uri)),
          closes: !head.isKeepAlive || head.version == .http1_0)
        let hosts = head.headers["host"].count
        guard hosts == 1 || hosts == 0 && head.version == .http1_0 else {
          return refuse(
            .malformed("the request has \(hosts == 0 ? "no field Host" : "\(hosts) fields Host"); expected one"),
            context)
        }
        if let length = head.headers.first(name: "content-length").flatMap({ Int($0) }), length > limits.bodyBytes {
          return refuse(tooLong, context)
        }
        if head.headers["expect"].contains(where: { $0.lowercased() == "100-continue" }) {
          context.writeAndFlush(wrapOutboundOut(.head(.init(version: .http1_1, status: .continue))), promise: nil)
        }
        setDeadline(limits.bodyTime, context) { $0.endSlowRequest($1) }
      case .body(let bytes):
        current?.bodyBytes += bytes.readableBytes
        if current?.bodyBytes ?? 0 > limits.bodyBytes { return refuse(tooLong, context) }
      case .end:
        deadline?.cancel()
        current?.hasAllOfRequest = true
      }
      context.fireChannelRead(wrapInboundOut(part))
      endExchangeIfDone(context)
    }

    private var tooLong: RequestError {
      RequestError(
        status: 413, type: "invalid_request_error", code: "request_too_large",
        message: "the request's body is longer than \(limits.bodyBytes) bytes, the most that this server takes")
    }

    private func endSlowRequest(_ context: ChannelHandlerContext) {
      refuse(
        RequestError(
          status: 408, type: "invalid_request_error", code: "request_timeout",
          message: "the request's body did not arrive within \(limits.bodyTime)"), context)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
      guard let error = error as? HTTPParserError else { return closeNow(context) }
      let fault =
        error == .headerOverflow
        ? RequestError(
          status: 431, type: "invalid_request_error", code: "head_too_large",
          message: "the request's head is longer than \(limits.headBytes) bytes, the most that this server takes")
        : .malformed("the request is not valid HTTP/1.1: \(error)")
      if current?.hasAllOfRequest == true { heldFault = fault } else { refuse(fault, context) }
    }

    // MARK: Responses

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
      if isClosing {
        promise?.fail(ChannelError.ioOnClosedChannel)
        return
      }
      switch unwrapOutboundIn(data) {
      case .head where state.isAbandoned:
        // Hummingbird makes an answer of status 500 of what has been given up.
        promise?.fail(ChannelError.ioOnClosedChannel)
        closeNow(context)
      case .head(var head) where head.status.code >= 200:
        current?.hasHead = true
        let closes = isQuiescing || hasInputEnded || current?.closes ?? true
        current?.closes = closes
        if let version = current?.version, version == .http1_0 { head.version = version }
        if closes { head.headers.replaceOrAdd(name: "connection", value: "close") }
        context.write(wrapOutboundOut(.head(head)), promise: promise)
      case .end(let trailers):
        current?.hasAllOfResponse = true
        // A server may have begun to drain since the head: closing at once would lose what is not flushed yet.
        if current?.closes ?? true || isQuiescing || hasInputEnded {
          return close(after: .end(trailers), context, promise)
        }
        context.write(wrapOutboundOut(.end(trailers)), promise: promise)
        endExchangeIfDone(context)
      case let part: context.write(wrapOutboundOut(part), promise: promise)
      }
    }

    private func endExchangeIfDone(_ context: ChannelHandlerContext) {
      guard let done = current, done.hasAllOfRequest, done.hasAllOfResponse, !isClosing else { return }
      current = nil
      if isQuiescing || hasInputEnded { return closeNow(context) }
      if let heldFault, held.isEmpty { return refuse(heldFault, context) }
      awaitRequest(context)
      guard !held.isEmpty || isReadHeld else { return }
      while !held.isEmpty, current?.hasAllOfRequest != true, !isClosing { take(held.removeFirst(), context) }
      context.fireChannelReadComplete()
      if isReadHeld, held.isEmpty, !isClosing {
        isReadHeld = false
        context.read()
      }
    }

    /// Answers with an error, in place of the application, and closes the connection.
    private func refuse(_ error: RequestError, _ context: ChannelHandlerContext) {
      guard !isClosing else { return }
      // A response that has begun cannot become an error.
      guard current?.hasHead != true else { return closeNow(context) }
      var body = context.channel.allocator.buffer(capacity: 256)
      body.writeBytes((current?.errors ?? .openAI).body(error))
      let headers: HTTPHeaders = [
        "content-type": "application/json", "content-length": "\(body.readableBytes)", "connection": "close",
      ]
      let status = HTTPResponseStatus(statusCode: error.status)
      context.write(wrapOutboundOut(.head(.init(version: .http1_1, status: status, headers: headers))), promise: nil)
      context.write(wrapOutboundOut(.body(.byteBuffer(body))), promise: nil)
      close(after: .end(nil), context, nil)
    }

    // MARK: The end

    /// Writes the last part, and closes when the client's side has it.
    private func close(
      after part: HTTPServerResponsePart, _ context: ChannelHandlerContext, _ promise: EventLoopPromise<Void>?
    ) {
      let isRequestLeft = current.map { !$0.hasAllOfRequest } ?? true
      isClosing = true
      held = []
      cancelDeadlines()
      // A client that never reads does not keep the connection.
      writeDeadline = context.eventLoop.assumeIsolated().scheduleTask(in: TimeAmount(limits.writeTime)) {
        context.close(promise: nil)
      }
      let written = context.eventLoop.makePromise(of: Void.self)
      written.futureResult.cascade(to: promise)
      written.futureResult.assumeIsolated().whenComplete { _ in
        guard isRequestLeft, !self.hasInputEnded else { return self.closeNow(context) }
        // Closing a socket with unread bytes makes the client's system throw the response away. Read on for a while.
        context.close(mode: .output, promise: nil)
        self.writeDeadline?.cancel()
        self.writeDeadline = context.eventLoop.assumeIsolated().scheduleTask(in: .seconds(2)) {
          self.closeNow(context)
        }
      }
      context.writeAndFlush(wrapOutboundOut(part), promise: written)
      if isRequestLeft { context.read() }
    }

    func channelReadComplete(context: ChannelHandlerContext) {
      context.fireChannelReadComplete()
      // The application reads no more, but what is left of the request is to be thrown away.
      if isClosing, !hasInputEnded { context.read() }
    }

    private func closeNow(_ context: ChannelHandlerContext) {
      isClosing = true
      held = []
      cancelDeadlines()
      state.clientLeft()
      context.close(promise: nil)
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
      switch event {
      case is ChannelShouldQuiesceEvent:
        isQuiescing = true
        if current == nil, !isClosing { closeNow(context) }
      case ChannelEvent.inputClosed:
        hasInputEnded = true
        if isClosing || current == nil || current?.hasAllOfRequest == false { return closeNow(context) }
        state.clientLeft()
        context.fireUserInboundEventTriggered(event)
      default: context.fireUserInboundEventTriggered(event)
      }
    }

    func channelInactive(context: ChannelHandlerContext) {
      isClosing = true
      cancelDeadlines()
      state.clientLeft()
      context.fireChannelInactive()
    }
  }

  extension RequestError {
    fileprivate static func malformed(_ message: String) -> RequestError {
      RequestError(status: 400, type: "invalid_request_error", code: "malformed_http", message: message)
    }
  }

  @available(*, unavailable)
  extension ConnectionHandler: Sendable {}
#endif
