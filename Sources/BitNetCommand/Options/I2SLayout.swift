import ArgumentParser
import BitNetModelFiles
import BitNetTernary

/// The option for a property of GGUF files that they do not record.
struct I2SLayout: ParsableArguments {
  enum Block: String, ExpressibleByArgument, CaseIterable { case x86, arm }

  @Option(
    name: .customLong("i2s-layout"),
    help: ArgumentHelp(
      "The layout of I2_S weights in a GGUF file, which files do not record: x86, or arm for files that bitnet.cpp "
        + "quantised on ARM.", valueName: "layout"))
  var block = Block.x86

  var i2sBlock: TilePacker.I2SBlock { block == .arm ? .arm : .x86 }

  /// How a model's files are read.
  var options: LoadOptions { LoadOptions(i2sBlock: i2sBlock) }
}
