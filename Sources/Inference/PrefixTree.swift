/// Pages of the cache by the tokens that they hold, so that sequences that begin alike share them.
///
/// A node stands for up to `attentionChunkLength` tokens that follow its parent's; only leaves can have fewer. Keys and
/// values depend on nothing but the tokens before, so a node's page is good for every sequence that begins with the
/// path to it.
final class PrefixTree<Page: AnyObject> {
  final class Node {
    let tokens: [Int32]
    let page: Page
    fileprivate(set) weak var parent: Node?
    /// By their first token.
    fileprivate(set) var children: [Int32: [Node]] = [:]
    /// Sequences that hold the page.
    fileprivate(set) var users = 0
    // The list of all nodes by their last use, the latest first.
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
  /// Nodes, and so pages.
  private(set) var count = 0
  /// Nodes that no sequence holds.
  private(set) var unused = 0

  init() {}

  // The list owns its nodes forwards; a long one must not be freed by recursion.
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

  /// The full child of a node (nil: the root) with these tokens.
  func child(of node: Node?, _ tokens: ArraySlice<Int32>) -> Node? {
    children(of: node, startingWith: tokens.first!).first { $0.isFull && $0.tokens.elementsEqual(tokens) }
  }

  /// The child of a node that has the most of these tokens at its beginning, and how many.
  func closestChild(of node: Node?, _ tokens: ArraySlice<Int32>) -> (page: Page, count: Int)? {
    guard let first = tokens.first else { return nil }
    return children(of: node, startingWith: first).map { ($0.page, commonPrefix($0.tokens[...], tokens)) }.max {
      $0.1 < $1.1
    }
  }

  /// Adds a child, and counts a first user of it if it is held.
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

  /// Counts a user more and moves the node to the front of the list.
  func hold(_ node: Node) {
    if node.users == 0 { unused -= 1 }
    node.users += 1
    touch(node)
  }

  /// Counts a user less. Called for the last node of a path first, so that no node is older than its children.
  func release(_ node: Node) {
    node.users -= 1
    if node.users == 0 { unused += 1 }
    touch(node)
  }

  /// Takes a leaf out of the tree.
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

  /// Takes a node out of the tree that a single sequence holds and nothing follows; false for others.
  func takeBack(_ node: Node) -> Bool {
    guard node.users == 1, node.children.isEmpty else { return false }
    remove(node)
    return true
  }

  /// Drops the page that was used longest ago of those that no sequence holds; false if there is none.
  func evict() -> Bool {
    var node = oldest
    while let current = node {
      // A node that a sequence holds has only held ones above it; those below it are no older.
      if current.users == 0, current.children.isEmpty {
        remove(current)
        return true
      }
      node = current.previous
    }
    return false
  }

  /// Drops the partial leaves below a node whose tokens these begin with, and tells whether a leaf has them all
  /// already.
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

/// How many tokens two lists have in common at their beginnings.
func commonPrefix(_ one: ArraySlice<Int32>, _ other: ArraySlice<Int32>) -> Int {
  zip(one, other).prefix { $0 == $1 }.count
}
