import BitNetTernary
import BitNetModelFiles
import Testing

#if canImport(Darwin)
  import Darwin
#elseif canImport(Musl)
  import Musl
#else
  import Glibc
#endif

@Suite("Mapped files")
struct MappedFileTests {
  @Test func mapsAFileAndReadsItAgainAfterRelease() throws {
    let folder = try TemporaryFolder()
    let content = (0..<100_000).map { UInt8(truncatingIfNeeded: $0 &* 31) }
    let file = try MappedFile(path: folder.write("data", content))
    func matches() -> Bool { file.bytes.withUnsafeBytes { $0.elementsEqual(content) } }
    #expect(file.count == content.count)
    #expect(matches())
    for range in [0..<100_000, 1..<99_999, 5000..<5001, 0..<0, 50_000..<Int.max] {
      file.prefetch(range)
      file.release(range)
      #expect(matches())
    }
  }

  @Test func theBytesOutliveTheObject() throws {
    let folder = try TemporaryFolder()
    let bytes = try MappedFile(path: folder.write("data", [1, 2, 3])).bytes
    #expect(bytes.withUnsafeBytes { Array($0) } == [1, 2, 3])
  }

  @Test func refusesWhatIsNoRegularFile() throws {
    let folder = try TemporaryFolder()
    expectRefusal("the file", "is a folder", expected: "a regular file") { _ = try MappedFile(path: folder.path) }
    expectRefusal("the file", "cannot be opened: No such file") { _ = try MappedFile(path: folder("none")) }
    try folder.write("empty", [])
    expectRefusal("the file", "is empty") { _ = try MappedFile(path: folder("empty")) }
    #expect(mkfifo(folder("pipe"), 0o600) == 0)
    expectRefusal("the file", "is not a regular file") { _ = try MappedFile(path: folder("pipe")) }
    expectRefusal("the file", "is not a regular file") { _ = try MappedFile(path: "/dev/zero") }
  }
}

@Suite("Output files")
struct OutputFileTests {
  @Test func appearsOnlyWhenCommitted() throws {
    let folder = try TemporaryFolder()
    let file = try OutputFile(path: folder("out"), overwrite: false)
    try file.append([1, 2, 3])
    let partial = try folder.names
    #expect(partial.count == 1)
    #expect(partial[0].hasPrefix(".out.partial-\(getpid())"))
    try file.commit()
    #expect(try folder.names == ["out"])
    #expect(try folder.read("out") == [1, 2, 3])
  }

  @Test func isRemovedWhenReleased() throws {
    let folder = try TemporaryFolder()
    do {
      let file = try OutputFile(path: folder("out"), overwrite: false)
      try file.append([1])
    }
    #expect(try folder.names == [])
  }

  @Test func canBeRemovedByItsPathAndLeavesOthers() throws {
    let folder = try TemporaryFolder()
    let file = try OutputFile(path: folder("out"), overwrite: false)
    let other = try OutputFile(path: folder("out2"), overwrite: false)
    try folder.write(".out.partial-1-0", [1])
    OutputFile.removePartial(of: folder("out"))
    let kept = String(other.temporaryPath.dropFirst(folder.path.count + 1))
    #expect(try folder.names == [".out.partial-1-0", kept])
    withExtendedLifetime((file, other)) {}
  }

  @Test func shortAndInterruptedWritesAreContinued() throws {
    let folder = try TemporaryFolder()
    var calls = 0
    let file = try OutputFile(path: folder("out"), overwrite: false) { descriptor, bytes, count in
      calls += 1
      if calls % 2 == 0 {
        errno = EINTR
        return -1
      }
      return write(descriptor, bytes, min(count, 3))
    }
    let content = (0..<20).map { UInt8($0) }
    try file.append(content)
    try file.commit()
    #expect(try folder.read("out") == content)
  }

  @Test func aFullDiskIsNamedAndLeavesNothing() throws {
    let folder = try TemporaryFolder()
    expectRefusal("the file", "cannot be written beyond byte 5: No space left on device") {
      var left = 5
      let file = try OutputFile(path: folder("out"), overwrite: false) { descriptor, bytes, count in
        if left == 0 {
          errno = ENOSPC
          return -1
        }
        let written = write(descriptor, bytes, min(count, left))
        left -= written
        return written
      }
      try file.append([UInt8](repeating: 7, count: 100))
    }
    expectRefusal("the file", "takes no more bytes") {
      try OutputFile(path: folder("out"), overwrite: false) { _, _, _ in 0 }.append([1])
    }
    #expect(try folder.names == [])
  }

  @Test func replacesOnlyWhenAsked() throws {
    let folder = try TemporaryFolder()
    try folder.write("out", [9])
    expectRefusal("the file", "already exists") { _ = try OutputFile(path: folder("out"), overwrite: false) }
    let file = try OutputFile(path: folder("out"), overwrite: true)
    try file.append([1])
    #expect(try folder.read("out") == [9])
    try file.commit()
    #expect(try folder.read("out") == [1])
    expectRefusal("the file", "is not a regular file") { _ = try OutputFile(path: folder.path, overwrite: true) }
    expectRefusal("the file", "cannot be created") { _ = try OutputFile(path: folder("none/out"), overwrite: false) }
  }

  @Test func aNameTakenMeanwhileIsNotReplaced() throws {
    let folder = try TemporaryFolder()
    do {
      let file = try OutputFile(path: folder("out"), overwrite: false)
      try file.append([1])
      try folder.write("out", [9])
      expectRefusal("the file", "already exists") { try file.commit() }
    }
    #expect(try folder.names == ["out"])
    #expect(try folder.read("out") == [9])
  }
}
