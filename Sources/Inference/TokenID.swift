/// A token's number in the vocabulary: 0 up to the vocabulary's size.
public typealias TokenID = Int32
