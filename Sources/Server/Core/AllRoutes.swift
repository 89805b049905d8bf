extension ServerCore {
  /// The routes of all dialects.
  package var routes: [Route] {
    OpenAIRoutes(self).routes + TokenRoutes(self).routes + OperationRoutes(self).routes
  }
}
