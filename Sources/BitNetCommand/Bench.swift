import ArgumentParser

struct Bench: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "bench",
    abstract: "Measure the speed of this machine.",
    discussion: """
      Examples:
        bitnet bench kernels --device cuda --plot kernels.svg
        bitnet bench model --model model.safetensors
        bitnet bench callers --callers 1,8
        bitnet bench speculation
        bitnet bench serve --url http://127.0.0.1:9931 --clients 1,16
      """,
    subcommands: [BenchKernels.self, BenchModel.self, BenchCallers.self, BenchSpeculation.self, BenchServe.self])
}
