extension ServerCore {
  /// The routes of all dialects.
  package var routes: [Route] {
    OpenAIRoutes(self).routes + ResponsesRoutes(self).routes + AnthropicRoutes(self).routes + OllamaRoutes(self).routes
      + EmbeddingRoutes(self).routes + TokenRoutes(self).routes + OperationRoutes(self).routes + PageRoutes().routes
  }
}
