#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// Runs code on a thread with a stack of known size.
///
/// The threads of a program's tasks may have half a megabyte of stack, and a template that nests as deep as it may needs
/// more. Memory of the stack that is never touched costs nothing.
enum DeepStack {
  /// In bytes. The tests measure that the deepest nesting takes less than half of it.
  static let size = 32 << 20

  private final class Job {
    let body: () -> Void

    init(_ body: @escaping () -> Void) { self.body = body }
  }

  static func run<Value, Failure: Error>(_ body: () throws(Failure) -> Value) throws(Failure) -> Value {
    var result: Result<Value, Failure>?
    withoutActuallyEscaping({ () -> Void in
      do throws(Failure) { result = .success(try body()) } catch { result = .failure(error) }
    }) { start($0) }
    return try result!.get()
  }

  /// Runs `body` on another thread, and waits for it.
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
    let status = pthread_create(
      &thread, &attributes,
      { argument in
        #if canImport(Darwin)
          let job = Unmanaged<Job>.fromOpaque(argument).takeRetainedValue()
        #else
          let job = Unmanaged<Job>.fromOpaque(argument!).takeRetainedValue()
        #endif
        job.body()
        return nil
      }, job.toOpaque())
    precondition(status == 0, "the system has no room for a thread")
    #if canImport(Darwin)
      if let thread { pthread_join(thread, nil) }
    #else
      pthread_join(thread, nil)
    #endif
  }
}
