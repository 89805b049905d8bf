/// Finds pages of the cache by their tokens, so that sequences with a common prefix share them.
///
/// A node holds up to `attentionChunkLength` tokens that follow its parent's; only leaves can have fewer. In a causal
/// model, keys and values depend only on a token and those before it, so every sequence that begins with the path to a
/// node can use the node's page.
final class PrefixTree<Page: AnyObject> {
  final class Node {
    let tokens: [Int32]
    let page: Page
    fileprivate(set) weak var parent: Node?
    /// The children by their first token.
    fileprivate(set) var children: [Int32: [Node]] = [:]
    /// How many sequences hold the page.
    fileprivate(set) var users = 0
    // The list of all nodes by last use, latest first.
    fileprivate var next: Node?
    fileprivate weak var previous: Node?

    fileprivate init(tokens: [Int32], page: Page, parent: Node?) {
      self.tokens = tokens
      self.page = page
      self.parent = parent
    }

    var isFull: Bool { tokens.count == attentionChunkLength }
  }

  private var rootChildren: [Int32: [Node]] = [:]
  private var latest: Node?
  private weak var oldest: Node?
  /// How many nodes, and therefore pages, the tree has.
  private(set) var count = 0
  /// How many nodes no sequence holds.
  private(set) var unused = 0

  init() {}

  // Each node owns the next, so releasing the first would free a long list by recursion and overflow the stack.
  deinit {
    var node = latest
    latest = nil
    while let current = node {
      node = current.next
      current.next = nil
      current.children = [:]
    }
  }

  private func children(of node: Node?, startingWith token: Int32) -> [Node] {
    (node.map { $0.children[token] } ?? rootChildren[token]) ?? []
  }

  /// The full child of a node (nil: the root) that holds exactly these tokens.
  func child(of node: Node?, _ tokens: ArraySlice<Int32>) -> Node? {
    children(of: node, startingWith: tokens.first!).first { $0.isFull && $0.tokens.elementsEqual(tokens) }
  }

  /// The page of the child that has the longest common prefix with these tokens, and the prefix's length.
  func closestChild(of node: Node?, _ tokens: ArraySlice<Int32>) -> (page: Page, count: Int)? {
    guard let first = tokens.first else { return nil }
    return children(of: node, startingWith: first).map { ($0.page, commonPrefix($0.tokens[...], tokens)) }.max {
      $0.1 < $1.1
    }
  }

  /// Adds a child, with one user if it is held.
  func add(_ tokens: ArraySlice<Int32>, page: Page, to parent: Node?, isHeld: Bool) -> Node {
    let node = Node(tokens: Array(tokens), page: page, parent: parent)
    if let parent {
      parent.children[tokens.first!, default: []].append(node)
    } else {
      rootChildren[tokens.first!, default: []].append(node)
    }
    count += 1
    unused += 1
    pushFront(node)
    if isHeld { hold(node) }
    return node
  }

  /// Adds a user and moves the node to the front of the list.
  func hold(_ node: Node) {
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

  /// Removes a leaf from the tree.
  func remove(_ node: Node) {
    let first = node.tokens[0]
    func without(_ nodes: [Node]?) -> [Node]? {
      let rest = (nodes ?? []).filter { $0 !== node }
      return rest.isEmpty ? nil : rest
    }
    if let parent = node.parent {
      parent.children[first] = without(parent.children[first])
    } else {
      rootChildren[first] = without(rootChildren[first])
    }
    unlink(node)
    count -= 1
    if node.users == 0 { unused -= 1 }
  }

  /// Removes a leaf that a single sequence holds; returns false for any other node.
  func takeBack(_ node: Node) -> Bool {
    guard node.users == 1, node.children.isEmpty else { return false }
    remove(node)
    return true
  }

  /// Drops the least recently used page that no sequence holds; returns false if there is none.
  func evict() -> Bool {
    var node = oldest
    while let current = node {
      // Usually the first node: ancestors of held nodes are held, and no unused node is older than its children.
      if current.users == 0, current.children.isEmpty {
        remove(current)
        return true
      }
      node = current.previous
    }
    return false
  }

  /// Drops the partial leaves below a node that hold a prefix of these tokens. Returns false if a child already holds
  /// all of them.
  func replacesLeaves(of node: Node?, _ tokens: ArraySlice<Int32>) -> Bool {
    for leaf in children(of: node, startingWith: tokens.first!) {
      let common = commonPrefix(leaf.tokens[...], tokens)
      if common == tokens.count { return false }
      if common == leaf.tokens.count, !leaf.isFull, leaf.users == 0 { remove(leaf) }
    }
    return true
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
  zip(one, other).prefix { $0 == $1 }.count
}
