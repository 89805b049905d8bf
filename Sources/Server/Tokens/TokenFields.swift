import BitNet
import BitNetInference
import BitNetJSON

enum TokenFields {
  /// Token ids of a model.
  ///
  /// - Throws: `JSONError` naming the first element that is none.
  static func tokens(_ list: JSONValue, _ served: ServedModel) throws(JSONError) -> [TokenID] {
    let ids = TokenID(0)...TokenID(served.model.configuration.vocabularySize - 1)
    var tokens: [TokenID] = []
    for element in try list.elements() { tokens.append(try element.integer(as: TokenID.self, in: ids)) }
    return tokens
  }
}
