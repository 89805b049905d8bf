/// Tokens in the order of descending logits, equal ones by id, and the filters that keep the first of them.
///
/// Most of a vocabulary is too unlikely to matter, so that tokens are looked at in slices of descending logits. Where a
/// slice is kept whole, its order does not matter; where the filters end within it, its order is found by halves.
struct TokenOrder: ~Copyable {
  /// The tokens that filters keep.
  struct Kept {
    /// The key of the last of them.
    var last: UInt64
    /// Their total weight.
    var weight: UInt64
    /// Whether they have the weight that top-p asks for.
    var suffices = false
  }

  /// When no more tokens are kept.
  private struct Limits {
    /// The most tokens.
    var count: Int
    /// The weight that suffices.
    var goal: UInt64
    /// The least weight of a token.
    var leastWeight: UInt64
  }

  /// A range of keys, of which each is smaller than those of the slices after it.
  private struct Slice {
    var keys: Range<Int>
    var last: UInt64
    var weight: UInt64
    var leastWeight: UInt64
  }

  private let logits: UnsafeBufferPointer<Float>
  private let weights: UnsafeBufferPointer<UInt64>
  private let largest: Float
  private let best: UInt64
  private let kernels: SamplerKernels
  /// Keys above ids.
  private let keys: UnsafeMutablePointer<UInt64>
  private let indices: UnsafeMutablePointer<Int32>
  private var slices: [Slice] = []
  /// The logits above and at this are in slices.
  private var lower = Float.infinity

  /// - Parameters:
  ///   - logits: at least one.
  ///   - weights: the logits' weights.
  ///   - best: the first token in the order, whose logit is finite.
  init(
    _ logits: UnsafeBufferPointer<Float>, _ weights: UnsafeBufferPointer<UInt64>, best: Int, _ kernels: SamplerKernels
  ) {
    self.logits = logits
    self.weights = weights
    self.largest = logits[best]
    self.best = Self.key(largest, best)
    self.kernels = kernels
    keys = .allocate(capacity: logits.count)
    indices = .allocate(capacity: (logits.count + 15) / 16 * 16)
  }

  deinit {
    keys.deallocate()
    indices.deallocate()
  }

  /// A number that is the smaller, the earlier a token is in the order. Both zeros are equal. Not for NaN.
  @inline(__always)
  private static func key(_ logit: Float, _ index: Int) -> UInt64 {
    let bits = (logit + 0).bitPattern
    return UInt64(bits >> 31 == 0 ? ~bits ^ 0x8000_0000 : bits) << 32 | UInt64(index)
  }

  /// The token of a key.
  static func token(_ key: UInt64) -> Int { Int(key & 0xFFFF_FFFF) }

  private func weight(_ key: UInt64) -> UInt64 { weights[Self.token(key)] }

  /// The tokens that top-k, top-p and min-p keep: the first of them at least.
  ///
  /// - Parameter total: the weight of all tokens.
  mutating func filter(_ parameters: SamplingParameters, total: UInt64) -> Kept {
    var limits = Limits(
      count: parameters.topK > 0 ? parameters.topK : .max, goal: .max,
      leastWeight: max(1, UInt64((parameters.minP * 0x1p40).rounded(.up))))
    if parameters.topP < 1 {
      // top-p is a share of the weight that top-k keeps.
      let all = parameters.topK > 0 ? keep(.init(count: parameters.topK, goal: .max, leastWeight: 0)).weight : total
      limits.goal = UInt64((Double(parameters.topP) * Double(all)).rounded(.up))
    }
    return keep(limits)
  }

  /// The first kept token, in the order of ids, at which the sum of weights is above `target`.
  func token(at target: UInt64, of kept: Kept) -> Int {
    let count = kernels.indices(logits, logits[Self.token(kept.last)], indices)
    var sum: UInt64 = 0
    for place in 0..<count {
      let index = Int(indices[place])
      guard Self.key(logits[index], index) <= kept.last else { continue }
      sum += weights[index]
      if sum > target { return index }
    }
    return Self.token(best)
  }

  /// The first tokens within the limits.
  private mutating func keep(_ limits: Limits) -> Kept {
    var kept = Kept(last: best, weight: 0)
    var count = 0
    var next = 0
    while count < limits.count, kept.weight < limits.goal {
      guard next < slices.count || extend() else { break }
      let slice = slices[next]
      next += 1
      guard keepAll(of: slice, limits, &kept, &count) else {
        keepPart(of: slice.keys, limits, &kept, &count)
        break
      }
    }
    kept.weight = max(kept.weight, weight(best))
    kept.suffices = kept.weight >= limits.goal
    return kept
  }

  /// Keeps a slice's tokens, which come next in the order, if no limit is reached before its last one.
  private func keepAll(of slice: Slice, _ limits: Limits, _ kept: inout Kept, _ count: inout Int) -> Bool {
    guard count + slice.keys.count <= limits.count, kept.weight + slice.weight < limits.goal,
      slice.leastWeight >= limits.leastWeight
    else { return false }
    guard !slice.keys.isEmpty else { return true }
    kept = Kept(last: slice.last, weight: kept.weight + slice.weight)
    count += slice.keys.count
    return true
  }

  /// Keeps the first tokens of keys in any order.
  private func keepPart(of keys: Range<Int>, _ limits: Limits, _ kept: inout Kept, _ count: inout Int) {
    var rest = keys
    while rest.count > 16 {
      let middle = divide(rest)
      let isKept = keepAll(of: slice(rest.lowerBound..<middle), limits, &kept, &count)
      rest = isKept ? middle..<rest.upperBound : rest.lowerBound..<middle
    }
    var ordered = UnsafeMutableBufferPointer(start: self.keys + rest.lowerBound, count: rest.count)
    ordered.sort()
    for key in ordered where count < limits.count && kept.weight < limits.goal {
      guard weight(key) >= limits.leastWeight else { return }
      kept = Kept(last: key, weight: kept.weight + weight(key))
      count += 1
    }
  }

  /// Moves keys so that those before the returned place are smaller than those from there on. Both parts have some.
  private func divide(_ range: Range<Int>) -> Int {
    let (first, last) = (range.lowerBound, range.upperBound - 1)
    let (a, b, c) = (keys[first], keys[(first + last) / 2], keys[last])
    let pivot = max(min(a, b), min(max(a, b), c))
    var (low, high) = (first - 1, last + 1)
    while true {
      repeat { low += 1 } while keys[low] < pivot
      repeat { high -= 1 } while keys[high] > pivot
      guard low < high else { return low }
      swap(&keys[low], &keys[high])
    }
  }

  private func slice(_ range: Range<Int>) -> Slice {
    var slice = Slice(keys: range, last: 0, weight: 0, leastWeight: .max)
    for place in range {
      let weight = weight(keys[place])
      slice.last = max(slice.last, keys[place])
      slice.weight += weight
      slice.leastWeight = min(slice.leastWeight, weight)
    }
    return slice
  }

  /// Adds the next slice; returns false when only tokens of weight 0 are left.
  private mutating func extend() -> Bool {
    guard lower > largest - 30 else { return false }  // e^-30 has weight 0
    let upper = lower
    // Go down by at least one Float: above 2^27, `top - 3` rounds to `top`.
    let top = min(largest, upper)
    lower = min(top - 3, top.nextDown)
    let start = slices.last?.keys.upperBound ?? 0
    var end = start
    for place in 0..<kernels.indices(logits, lower, indices) {
      let index = Int(indices[place])
      guard logits[index] < upper else { continue }
      keys[end] = Self.key(logits[index], index)
      end += 1
    }
    slices.append(slice(start..<end))
    return true
  }
}
