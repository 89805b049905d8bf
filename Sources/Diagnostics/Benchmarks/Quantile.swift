extension [Double] {
  /// The value below which a share of the values lies, linearly interpolated between the two nearest.
  ///
  /// - Parameter share: 0…1; 0.5 gives the median. There must be at least one value.
  package func quantile(_ share: Double) -> Double {
    let sorted = sorted()
    let place = share * Double(count - 1)
    let (low, part) = (Int(place), place - place.rounded(.down))
    return sorted[low] + part * (sorted[Swift.min(low + 1, count - 1)] - sorted[low])
  }
}
