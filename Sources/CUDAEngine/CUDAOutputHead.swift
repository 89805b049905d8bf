import BitNetCUDADriver
import BitNetInference
package import CBitNetCUDAKernels

extension CUDAForwardPass {
  /// Shared memory of the head for groups of this many outputs.
  func headBytes(_ width: Int) -> Int {
    rowScratchBytes + 64 * width + width * 4 * ((configuration.hiddenSize + 255) / 256 * 256)
  }

  /// Shared memory of the screen for groups of this many outputs: two planes of int8 activations besides the head's.
  private func screenBytes(_ screened: CUDAScreenedHead, _ width: Int) -> Int {
    headBytes(width) + width * (16 + 2 * Int(screened.screen.stride))
  }

  /// Shared memory of screen_many, where it takes `count` outputs; nil where screen_1 or screen_4 do.
  private func screenManyBytes(_ screened: CUDAScreenedHead, _ count: Int) -> Int? {
    let bytes = screened.screen.manyBytes
    return count > 4 && bytes <= library.context.device.sharedMemoryPerBlock ? bytes : nil
  }

  /// A kernel of the head, the outputs that one of its blocks takes together, and the shared memory it needs.
  private struct HeadKernel {
    let kernel: Kernel
    let width: Int
    let sharedBytes: Int
  }

  private func fullHeadKernel(_ count: Int) -> HeadKernel {
    let width = headWidth(count, widest: 8, bytes: headBytes)
    return HeadKernel(
      kernel: width == 8 ? .head8 : width == 4 ? .head4 : .head1, width: width, sharedBytes: headBytes(width))
  }

  private func screenKernel(_ screened: CUDAScreenedHead, _ count: Int) -> HeadKernel {
    let width = headWidth(count, widest: 4) { screenBytes(screened, $0) }
    return HeadKernel(
      kernel: width == 4 ? .screen4 : .screen1, width: width, sharedBytes: screenBytes(screened, width))
  }

  /// Outputs that one block takes together: 8, 4 or 1, the most that `count` of them can use and that fit.
  ///
  /// - Parameter bytes: the shared memory for groups of a width.
  private func headWidth(_ count: Int, widest: Int, bytes: (Int) -> Int) -> Int {
    let limit = library.context.device.sharedMemoryPerBlock
    return [8, 4].first { $0 <= widest && count > $0 / 4 && bytes($0) <= limit } ?? 1
  }

  /// Computes the logits of `count` outputs (1 to `screenGroup`) in full.
  func fullHead(_ count: Int, _ arrays: OutputArrays) throws(CUDAError) {
    let (head, input) = (fullHeadKernel(count), headInput)
    try library.launch(
      head.kernel, CUDAGrid(try headBlocks(head.kernel, head.sharedBytes), (count + head.width - 1) / head.width),
      sharedBytes: head.sharedBytes,
      HeadParameters(
        head: input.head, x: input.x, rows: arrays.rows, logits: space.logits.address,
        best: space.best, outputs: Int32(count)))
  }

  /// Chooses the tokens of `count` outputs (1 to `screenGroup`) with the screened head, and sends them to the host as
  /// those of the outputs from `first` on.
  ///
  /// - Parameter hasCuts: whether top-k or top-p draws one of them.
  func chooseScreened(
    _ screened: CUDAScreenedHead, _ count: Int, _ arrays: OutputArrays, from first: Int = 0, cuts hasCuts: Bool
  ) throws(CUDAError) {
    let blocks = try bound(screened, count, arrays)
    if hasCuts {
      try library.launch(
        .screenCuts, CUDAGrid(Int(cutBlocks), count), sharedBytes: Int(cutScratchBytes),
        ScreenCutsParameters(
          upper: screened.upper.address, floors: space.floors, blockFloors: screened.blockFloors,
          windows: arrays.windows, sampling: arrays.sampling, below: screened.below, above: screened.above,
          arrivals: screened.cutArrivals, cuts: screened.cuts, vocabulary: Int32(configuration.vocabularySize),
          screenBlocks: Int32(blocks)))
    }
    let input = headInput
    for attempt in 0..<(hasCuts ? 2 : 1) {
      let cuts = ScreenCuts(
        cuts: hasCuts ? screened.cuts : 0, retries: screened.retries, attempt: Int32(attempt), unused: 0)
      try library.launch(
        .screenRescore, CUDAGrid(try headBlocks(.screenRescore, headBytes(1)), count), sharedBytes: headBytes(1),
        RescoreParameters(
          head: input.head, x: input.x, rows: arrays.rows, windows: arrays.windows, sampling: arrays.sampling,
          cuts: cuts, upper: screened.upper.address, logits: space.logits.address, floors: space.floors,
          best: space.best, arrivals: space.screenArrivals, survivors: space.survivors))
      try sample(count, arrays, from: first, cuts)
    }
  }

  /// Computes bounds of the logits of `count` outputs; returns how many blocks share the vocabulary.
  private func bound(_ screened: CUDAScreenedHead, _ count: Int, _ arrays: OutputArrays) throws(CUDAError) -> Int {
    let input = headInput
    if let bytes = screenManyBytes(screened, count) {
      try library.launch(
        .screenTokens, CUDAGrid(count), sharedBytes: headBytes(1),
        ScreenTokensParameters(
          head: input.head, x: input.x, rows: arrays.rows, facts: screened.tokenFacts.address,
          codes: screened.tokenCodes.address, stride: screened.screen.stride))
      // A warp takes sixteen rows at a time.
      let blocks = min(
        try library.residentBlocks(.screenMany, sharedBytes: bytes), (configuration.vocabularySize + 127) / 128,
        Int(mostScreenBlocks))
      try library.launch(
        .screenMany, CUDAGrid(blocks), sharedBytes: bytes,
        ScreenManyParameters(
          screen: screened.screen, facts: screened.tokenFacts.address, codes: screened.tokenCodes.address,
          upper: screened.upper.address, floors: space.floors, blockFloors: screened.blockFloors,
          vocabulary: Int32(configuration.vocabularySize), hidden: Int32(configuration.hiddenSize),
          outputs: Int32(count)))
      return blocks
    }
    let screen = screenKernel(screened, count)
    let blocks = min(try headBlocks(screen.kernel, screen.sharedBytes), Int(mostScreenBlocks))
    try library.launch(
      screen.kernel, CUDAGrid(blocks, (count + screen.width - 1) / screen.width), sharedBytes: screen.sharedBytes,
      ScreenParameters(
        head: input.head, screen: screened.screen, x: input.x, rows: arrays.rows, upper: screened.upper.address,
        floors: space.floors, blockFloors: screened.blockFloors, outputs: Int32(count)))
    return blocks
  }

  /// Loads the kernel of the full head for `count` outputs.
  func prepareFullHead(_ count: Int) throws(CUDAError) {
    let head = fullHeadKernel(count)
    _ = try headBlocks(head.kernel, head.sharedBytes)
  }

  /// Loads the kernels of the screened head for `count` outputs.
  func prepareScreen(_ screened: CUDAScreenedHead, _ count: Int) throws(CUDAError) {
    if let bytes = screenManyBytes(screened, count) {
      try library.prepared(.screenTokens, sharedBytes: headBytes(1))
      _ = try library.residentBlocks(.screenMany, sharedBytes: bytes)
    } else {
      let screen = screenKernel(screened, count)
      _ = try headBlocks(screen.kernel, screen.sharedBytes)
    }
    _ = try headBlocks(.screenRescore, headBytes(1))
    try library.prepared(.screenCuts, sharedBytes: Int(cutScratchBytes))
  }

  private func headBlocks(_ kernel: Kernel, _ bytes: Int) throws(CUDAError) -> Int {
    min(try library.residentBlocks(kernel, sharedBytes: bytes), (configuration.vocabularySize + 7) / 8)
  }

  /// Chooses the tokens of `count` outputs, whose logits and best keys are computed, and sends them to the host as those
  /// of the outputs from `first` on.
  ///
  /// - Parameter cuts: of the screened head; an output that it leaves open is not sent.
  func sample(
    _ count: Int, _ arrays: OutputArrays, from first: Int = 0, _ cuts: ScreenCuts = ScreenCuts()
  ) throws(CUDAError) {
    try library.launch(
      .sampleRows, CUDAGrid(count), sharedBytes: sampleScratchBytes,
      SampleParameters(
        logits: space.logits.address, sampling: arrays.sampling, best: space.best, rows: arrays.rows,
        tokens: arrays.tokens, positions: arrays.positions, candidates: space.candidates,
        delivery: messages.delivery(from: first), cuts: cuts,
        vocabulary: Int32(configuration.vocabularySize)))
  }
}

extension Screen {
  /// Shared memory of screen_many, whose blocks have the codes of all outputs.
  package var manyBytes: Int { screenGroup * (8 * 8 + 16 + 2 * ((Int(stride) + 127) / 128 * 128 + 64)) }
}
