/// Finds pages of the cache by their tokens, so that sequences with a common prefix share them.
///
/// A node holds up to `attentionChunkLength` tokens that follow its parent's; only leaves can have fewer. In a causal
/// model, keys and values depend only on a token and those before it, so every sequence that begins with the path to a
/// node can use the node's page.
final class PrefixTree {
  final class Node {
    let tokens: [Int32]
    let page: AnyObject
    fileprivate(set) weak var parent: Node?
    fileprivate var children = Children()
    /// How many sequences hold the page.
    fileprivate(set) var users = 0
    /// Whether it is among `spares`.
    fileprivate var isSpare = false
    // The list of all nodes by last use, latest first.
    fileprivate var next: Node?
    fileprivate weak var previous: Node?

    fileprivate init(tokens: [Int32], page: AnyObject, parent: Node?) {
      self.tokens = tokens
      self.page = page
      self.parent = parent
    }

    var isFull: Bool { tokens.count == attentionChunkLength }
  }

  /// The children of a node in the lexicographic order of their tokens. No child's tokens begin another's, so whatever
  /// begins a list of tokens, or has most in common with it, is next to the list's place.
  fileprivate struct Children {
    private(set) var nodes: [Node] = []

    /// How many children come before a list of tokens.
    private func place(of tokens: ArraySlice<Int32>) -> Int {
      var (low, high) = (0, nodes.count)
      while low < high {
        let middle = (low + high) / 2
        let other = nodes[middle].tokens[...]
        let common = commonPrefix(other, tokens)
        let isBefore =
          common < tokens.count
          && (common == other.count || other[common] < tokens[tokens.startIndex + common])
        if isBefore { low = middle + 1 } else { high = middle }
      }
      return low
    }

    /// The children that can have the longest common prefix with a list of tokens.
    func neighbours(of tokens: ArraySlice<Int32>) -> ArraySlice<Node> {
      let place = place(of: tokens)
      return nodes[max(place - 1, 0)..<min(place + 1, nodes.count)]
    }

    mutating func insert(_ node: Node) { nodes.insert(node, at: place(of: node.tokens[...])) }
    mutating func remove(_ node: Node) { nodes.remove(at: place(of: node.tokens[...])) }
  }

  private var rootChildren = Children()
  private var latest: Node?
  private weak var oldest: Node?
  /// How many nodes, and therefore pages, the tree has.
  private(set) var count = 0
  /// How many nodes no sequence holds.
  private(set) var unused = 0
  /// Unused nodes that are hardly worth their memory, oldest first.
  private var spares: [Node] = []
  /// A few stay, because what is just being written is often begun again.
  private static let sparesKept = 8

  init() {}

  // Each node owns the next, so releasing the first would free a long list by recursion and overflow the stack.
  deinit {
    var node = latest
    latest = nil
    while let current = node {
      node = current.next
      current.next = nil
      current.children = Children()
    }
  }

  private func children(of node: Node?) -> Children { node?.children ?? rootChildren }

  /// The full child of a node (nil: the root) that holds exactly these tokens.
  func child(of node: Node?, _ tokens: ArraySlice<Int32>) -> Node? {
    children(of: node).neighbours(of: tokens).first { $0.isFull && $0.tokens[...] == tokens }
  }

  /// The page of the child that has the longest common prefix with these tokens, and the prefix's length.
  func closestChild(of node: Node?, _ tokens: ArraySlice<Int32>) -> (page: AnyObject, count: Int)? {
    children(of: node).neighbours(of: tokens).map { ($0.page, commonPrefix($0.tokens[...], tokens)) }.max {
      $0.1 < $1.1
    }
  }

  /// Whether a child of a node holds all of these tokens, and perhaps more.
  func holds(_ tokens: ArraySlice<Int32>, below node: Node?) -> Bool {
    children(of: node).neighbours(of: tokens).contains { commonPrefix($0.tokens[...], tokens) == tokens.count }
  }

  /// Adds a child, with one user if it is held, whose tokens no child holds yet. It replaces the leaf that holds the
  /// first of them.
  func add(_ tokens: ArraySlice<Int32>, page: AnyObject, to parent: Node?, isHeld: Bool) -> Node {
    for leaf in children(of: parent).neighbours(of: tokens)
    where commonPrefix(leaf.tokens[...], tokens) == leaf.tokens.count {
      remove(leaf)
    }
    let node = Node(tokens: Array(tokens), page: page, parent: parent)
    if let parent { parent.children.insert(node) } else { rootChildren.insert(node) }
    count += 1
    unused += 1
    pushFront(node)
    if isHeld { hold(node) }
    return node
  }

  /// Adds a user and moves the node to the front of the list.
  func hold(_ node: Node) {
    removeSpare(node)
    if node.users == 0 { unused -= 1 }
    node.users += 1
    touch(node)
  }

  /// Removes a user. Call this for the last node of a path first, so that no node is older than its children.
  func release(_ node: Node) {
    node.users -= 1
    if node.users == 0 { unused += 1 }
    touch(node)
  }

  /// Drops an unused node soon, rather than when the memory is needed.
  func spare(_ node: Node) {
    guard node.users == 0, !node.isSpare else { return }
    node.isSpare = true
    spares.append(node)
    while spares.count > Self.sparesKept {
      let oldest = spares[0]
      removeSpare(oldest)
      if oldest.children.nodes.isEmpty { remove(oldest) }
    }
  }

  private func removeSpare(_ node: Node) {
    guard node.isSpare else { return }
    node.isSpare = false
    spares.removeAll { $0 === node }
  }

  /// Removes a leaf from the tree.
  private func remove(_ node: Node) {
    removeSpare(node)
    if let parent = node.parent { parent.children.remove(node) } else { rootChildren.remove(node) }
    unlink(node)
    count -= 1
    if node.users == 0 { unused -= 1 }
  }

  /// Removes a leaf that a single sequence holds; returns false for any other node.
  func takeBack(_ node: Node) -> Bool {
    guard node.users == 1, node.children.nodes.isEmpty else { return false }
    remove(node)
    return true
  }

  /// Drops the least recently used page that no sequence holds; returns false if there is none.
  func evict() -> Bool {
    var node = oldest
    while let current = node {
      // Usually the first node: ancestors of held nodes are held, and no unused node is older than its children.
      if current.users == 0, current.children.nodes.isEmpty {
        remove(current)
        return true
      }
      node = current.previous
    }
    return false
  }

  private func touch(_ node: Node) {
    guard latest !== node else { return }
    unlink(node)
    pushFront(node)
  }

  private func pushFront(_ node: Node) {
    node.next = latest
    latest?.previous = node
    latest = node
    if oldest == nil { oldest = node }
  }

  private func unlink(_ node: Node) {
    let (previous, next) = (node.previous, node.next)
    if oldest === node { oldest = previous }
    next?.previous = previous
    if let previous { previous.next = next } else { latest = next }
    node.next = nil
    node.previous = nil
  }
}

/// The length of two lists' common prefix.
func commonPrefix(_ one: ArraySlice<Int32>, _ other: ArraySlice<Int32>) -> Int {
  one.withUnsafeBufferPointer { one in
    other.withUnsafeBufferPointer { other in
      let limit = min(one.count, other.count)
      var count = 0
      while count < limit, one[count] == other[count] { count += 1 }
      return count
    }
  }
}
