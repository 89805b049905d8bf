#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// Runs code on a thread with a stack of known size.
///
/// The threads of a program's tasks may have half a megabyte of stack, and a template that nests as deep as the bounds
/// allow needs more. Memory of the stack that is never touched costs nothing.
enum DeepStack {
  /// In bytes. The deepest nesting that the bounds allow takes less than 1 MiB in a release build.
  static let size = 16 << 20

  private final class Job {
    let body: () -> Void

    init(_ body: @escaping () -> Void) { self.body = body }
  }

  static func run<Value>(_ body: () throws(JinjaError) -> Value) throws(JinjaError) -> Value {
    var result = Result<Value, JinjaError>.failure(
      JinjaError(.limit, line: 1, "the system has no thread for it; expected one"))
    withoutActuallyEscaping({ () -> Void in
      do throws(JinjaError) { result = .success(try body()) } catch { result = .failure(error) }
    }) { start($0) }
    return try result.get()
  }

  #if canImport(Darwin)
    private static let enter: @convention(c) (UnsafeMutableRawPointer) -> UnsafeMutableRawPointer? = { work($0) }
  #else
    private static let enter: @convention(c) (UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? = { work($0!) }
  #endif

  private static func work(_ argument: UnsafeMutableRawPointer) -> UnsafeMutableRawPointer? {
    Unmanaged<Job>.fromOpaque(argument).takeRetainedValue().body()
    return nil
  }

  /// Runs `body` on another thread, and waits for it; does not run it if there is no thread.
  private static func start(_ body: @escaping () -> Void) {
    var attributes = pthread_attr_t()
    pthread_attr_init(&attributes)
    defer { pthread_attr_destroy(&attributes) }
    pthread_attr_setstacksize(&attributes, size)
    let job = Unmanaged.passRetained(Job(body))
    #if canImport(Darwin)
      var thread: pthread_t?
    #else
      var thread = pthread_t()
    #endif
    let status = pthread_create(&thread, &attributes, enter, job.toOpaque())
    guard status == 0 else {
      job.release()
      return
    }
    #if canImport(Darwin)
      if let thread { pthread_join(thread, nil) }
    #else
      pthread_join(thread, nil)
    #endif
  }
}
