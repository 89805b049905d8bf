import Testing

@Suite("bitnet serve")
struct ServeTests {
  @Test("is in builds with the trait Server; others say how to get it, and check the options all the same")
  func withoutTrait() async throws {
    #if !Server
      let output = try await BitNetProgram.run("serve")
      #expect(output.status == 1)
      #expect(output.errors.contains("swift build -c release --traits Server"), "\(output.errors)")
    #endif
    for arguments in [
      ["--port", "65536"], ["--port", "-1"], ["--tls-key", "file"], ["--api-key", ""], ["--max-running", "0"],
      ["--timeout", "0"], ["--head-timeout", "nan"],
    ] {
      let output = try await BitNetProgram.run(["serve"] + arguments)
      #expect(output.status == 64, "\(arguments): \(output.errors)")
      #expect(output.errors.contains(arguments[0]), "\(output.errors)")
    }
  }

  @Test("takes options from variables, after those of the command line, and refuses unknown ones")
  func variables() async throws {
    func run(_ arguments: [String], _ variables: [String: String]) async throws -> BitNetProgram.Output {
      try await BitNetProgram.run(["serve"] + arguments, environment: variables)
    }
    let port = try await run([], ["BITNET_ARG_PORT": "65536"])
    #expect(port.errors.contains("--port is 65536"), "\(port.errors)")
    let given = try await run(["--port", "70000"], ["BITNET_ARG_PORT": "65536"])
    #expect(given.errors.contains("--port is 70000"), "\(given.errors)")
    let flag = try await run([], ["BITNET_ARG_MAPPED": "perhaps"])
    #expect(flag.errors.contains("BITNET_ARG_MAPPED"), "\(flag.errors)")
    let unknown = try await run([], ["BITNET_ARG_PROT": "1"])
    #expect(unknown.status == 1)
    #expect(unknown.errors.contains("BITNET_ARG_PROT"), "\(unknown.errors)")
    let other = try await BitNetProgram.run(["--version"], environment: ["BITNET_ARG_PROT": "1"])
    #expect(other.status == 0)
  }
}
