import CBitNetTernary

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// The processors this process may run on, and how they belong together.
package struct Processors: Equatable {
  /// Hardware threads that this process may use, for each memory node that has any, ascending.
  package var nodes: [[Int]]
  /// Physical cores among them.
  package var coreCount: Int
  /// Processors' worth of time that a control group grants, if it limits that.
  package var quota: Double?
  /// Bytes of memory that a control group grants, if it limits that.
  package var memoryQuota: Int?

  /// Threads that a memory-bound program uses best: one for each physical core, and no more than it is given time for.
  /// Hyperthreads share what a core can load.
  package var threadCount: Int { max(1, min(coreCount, quota.map { Int($0.rounded(.up)) } ?? coreCount)) }

  /// The processors for one of `count` threads: those of one memory node, so that what the thread writes first lies
  /// near it; nil where that makes no difference.
  package func processors(ofThread index: Int, of count: Int) -> [Int]? {
    guard nodes.count > 1 else { return nil }
    // Nodes get threads as they have processors.
    var place = index * nodes.reduce(0) { $0 + $1.count } / count
    for node in nodes {
      if place < node.count { return node }
      place -= node.count
    }
    return nil
  }

  package static let current = Processors(
    allowed: allowedProcessors(), systemFiles: "/sys/devices/system", groups: "/sys/fs/cgroup",
    ownGroup: contents("/proc/self/cgroup"))

  /// Bytes of memory that this process may use: the machine's, or what its control group grants.
  package var memoryByteCount: Int {
    min(memoryQuota ?? .max, max(0, sysconf(Int32(_SC_PHYS_PAGES)) * sysconf(Int32(_SC_PAGESIZE))))
  }

  /// - Parameters:
  ///   - allowed: numbers of processors.
  ///   - systemFiles, groups: where Linux describes processors and control groups.
  ///   - ownGroup: what /proc/self/cgroup says.
  package init(allowed: [Int], systemFiles: String, groups: String, ownGroup: String?) {
    // A core is counted at the first of its hardware threads that is allowed.
    let cores = allowed.filter { processor in
      let siblings =
        contents("\(systemFiles)/cpu/cpu\(processor)/topology/thread_siblings_list").flatMap(numberList) ?? [processor]
      return siblings.first(where: allowed.contains) ?? processor == processor
    }
    coreCount = max(1, cores.count)
    let numbers = contents("\(systemFiles)/node/has_memory").flatMap(numberList) ?? []
    let members = numbers.map { number in
      (contents("\(systemFiles)/node/node\(number)/cpulist").flatMap(numberList) ?? []).filter(allowed.contains)
    }
    nodes = members.filter { !$0.isEmpty }
    quota = Self.least("cpu.max", groups, ownGroup) { words in
      guard words.count == 2, let time = Double(words[0]), let period = Double(words[1]), time > 0, period > 0 else {
        return nil
      }
      return time / period
    }
    memoryQuota = Self.least("memory.max", groups, ownGroup) { words in
      words.count == 1 ? Int(words[0]).flatMap { $0 > 0 ? $0 : nil } : nil
    }
  }

  /// The least that the process's control group (version 2) and those above it grant.
  ///
  /// - Parameter read: what the words of a group's file mean; nil for no limit.
  private static func least<Value: Comparable>(
    _ file: String, _ groups: String, _ ownGroup: String?, _ read: ([Substring]) -> Value?
  ) -> Value? {
    // "0::/a/b"; in a container the group's own path may not exist, but the root is the container's.
    var path = ""
    for line in (ownGroup ?? "").split(separator: "\n") where line.hasPrefix("0::/") {
      path = String(line.dropFirst(3))
    }
    var least: Value?
    while true {
      let words = contents(groups + (path == "/" ? "" : path) + "/" + file)?.split { $0 == " " || $0 == "\n" } ?? []
      if let value = read(words) { least = min(least ?? value, value) }
      guard let slash = path.lastIndex(of: "/") else { return least }
      path = String(path[..<slash])
    }
  }

  /// Processors that a set can name.
  private static let limit = 8192

  /// Keeps the calling thread on these processors; without effect where the system does not allow that.
  package static func bindThread(to processors: [Int]) {
    var set = [UInt8](repeating: 0, count: limit / 8)
    for processor in processors where processor < limit { set[processor / 8] |= 1 << UInt8(processor % 8) }
    _ = ternary_set_affinity(set, set.count)
  }

  /// Processors that the calling thread may run on.
  package static func allowedProcessors() -> [Int] {
    var set = [UInt8](repeating: 0, count: limit / 8)
    if ternary_get_affinity(&set, set.count) != 0 {
      return (0..<limit).filter { set[$0 / 8] >> UInt8($0 % 8) & 1 == 1 }
    }
    #if canImport(Darwin)
      // The fast cores: slow ones would hold the others up at the end of every phase.
      var count: Int32 = 0
      var size = MemoryLayout<Int32>.size
      if sysctlbyname("hw.perflevel0.physicalcpu", &count, &size, nil, 0) == 0, count > 0 {
        return Array(0..<Int(count))
      }
    #endif
    return Array(0..<max(1, sysconf(Int32(_SC_NPROCESSORS_ONLN))))
  }
}

/// A short text file; nil if it cannot be read.
private func contents(_ path: String) -> String? {
  let descriptor = open(path, O_RDONLY | O_CLOEXEC)
  guard descriptor >= 0 else { return nil }
  defer { close(descriptor) }
  var bytes = [UInt8](repeating: 0, count: 1 << 16)
  let count = read(descriptor, &bytes, bytes.count)
  return count < 0 ? nil : String(decoding: bytes[..<count], as: UTF8.self)
}

/// The numbers of a list as Linux writes it, "0-3,8,10-11"; nil for anything else.
private func numberList(_ text: String) -> [Int]? {
  var numbers: [Int] = []
  for part in text.split(whereSeparator: \.isNewline).first?.split(separator: ",") ?? [] {
    let ends = part.split(separator: "-").map { Int($0) }
    guard ends.count <= 2, let first = ends.first ?? nil, let last = ends.last ?? nil, first >= 0, first <= last,
      last < 1 << 20
    else {
      return nil
    }
    numbers += first...last
  }
  return numbers
}
