/// Keys and values of `attentionChunkLength` positions in all layers.
///
/// Double holds the cached numbers of either precision exactly, so that one kind of page serves both.
final class ReferencePage {
  /// `[layers][positions so far][key/value width]`.
  private(set) var keys: [[[Double]]]
  private(set) var values: [[[Double]]]

  init(layers: Int) {
    keys = Array(repeating: [], count: layers)
    values = Array(repeating: [], count: layers)
  }

  init(_ other: ReferencePage) { (keys, values) = (other.keys, other.values) }

  /// Puts a position's key and value at `slot`, dropping what a truncated sequence left there and beyond.
  func store(layer: Int, slot: Int, key: [Double], value: [Double]) {
    keys[layer].removeLast(keys[layer].count - slot)
    values[layer].removeLast(values[layer].count - slot)
    keys[layer].append(key)
    values[layer].append(value)
  }
}
