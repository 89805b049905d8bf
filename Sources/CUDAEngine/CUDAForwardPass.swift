import BitNetCUDADriver
import BitNetInference
import BitNetTernary
import CBitNetCUDAKernels

/// The forward pass over rows of a plan, one kernel an operation: CUDABranches.swift and CUDAAttention.swift have the
/// layers' operations. (`DecodeStep` takes a few single tokens through one
/// cooperative kernel, Sources/CUDAKernels/decode.cu and decode_one.cu, in the same five phases.)
final class CUDAForwardPass {
  let library: KernelLibrary
  let weights: DeviceWeights
  private(set) var space: DeviceWorkspace
  /// By the base of the rotary embedding, nil being the model's own.
  private let rotary: [Double?: DeviceRotaryTable]
  let products: Products
  let screen: CUDAScreenedHead?
  let messages: TokenMessages
  let configuration: ModelConfiguration
  /// Whether a few single tokens go through the cooperative kernel.
  let isCooperative: Bool
  private let contextLength: Int
  private var upload: BatchUpload
  private var adjuster: OutputAdjuster
  private(set) var descriptions: TokenDescriptions
  /// RMSNorm weights before the head, `[hidden]`.
  private let finalNorm: [Float]

  init(
    _ library: KernelLibrary, _ model: ModelWeights, contextLength: Int, screened: Bool?, cooperative: Bool
  ) throws(CUDAError) {
    self.library = library
    weights = try DeviceWeights(model, library.context)
    configuration = model.configuration
    finalNorm = model.finalNorm
    products = Products(library)
    space = try DeviceWorkspace(library.context, configuration, contextLength: contextLength)
    self.contextLength = contextLength
    var rotary: [Double?: DeviceRotaryTable] = [:]
    for theta in Set(configuration.attention.map(\.ropeTheta)) {
      rotary[theta] = try DeviceRotaryTable(
        library.context, configuration, theta: theta, contextLength: contextLength)
    }
    self.rotary = rotary
    upload = try BatchUpload(library.context)
    adjuster = try OutputAdjuster(library, vocabulary: configuration.vocabularySize)
    descriptions = try TokenDescriptions(library, vocabulary: configuration.vocabularySize)
    messages = try TokenMessages(library, layers: configuration.layerCount)
    isCooperative =
      cooperative && library.context.device.supportsCooperativeLaunch && configuration.hasPlainDecodeStep
    screen = try CUDAScreenedHead.make(library, weights, wanted: screened)
  }

  /// Makes room for so many rows together, which is more than usual for a long text whose tokens attend to later ones.
  func reserve(rows: Int) throws(CUDAError) {
    guard rows > space.rows else { return }
    space = try DeviceWorkspace(library.context, configuration, contextLength: contextLength, leastRows: rows)
  }

  /// Makes the rotary tables cover `count` positions, the context at most.
  func extendRotary(to count: Int) throws(CUDAError) { for table in rotary.values { try table.extend(to: count) } }

  /// The angles of a layer.
  func rotary(ofLayer index: Int) -> DeviceRotaryTable { rotary[configuration.attention(ofLayer: index).ropeTheta]! }

  /// Bytes of device memory that the buffers take.
  var bufferByteCount: Int { space.byteCount + rotary.values.reduce(0) { $0 + $1.byteCount } }

  /// Runs some rows of a plan through the model, at most `space.rows`.
  ///
  /// - Returns: a result for each of the rows after which something is wanted, in their order.
  func forward(_ rows: Range<Int>, of plan: StepPlan) throws(CUDAError) -> [RowResult] {
    try extendRotary(to: (plan.rows[rows].map(\.position).max() ?? -1) + 1)
    let batch = try upload.send(plan, rows, configuration, on: library.stream)
    try computeLayers(batch)
    // Head.
    let outputs = plan.outputs[batch.outputRange]
    if outputs.allSatisfy(\.isHidden) { return try hiddenStates(outputs, batch, firstRow: rows.lowerBound) }
    var results: [RowResult] = []
    for group in batch.outputGroups {
      let wanted = plan.outputs[group.outputs]
      let tokens = try chooseTokens(group, wanted, of: plan)
      results += try deliver(wanted, tokens, of: plan, firstRow: rows.lowerBound)
    }
    try library.stream.synchronize()
    return results
  }

  /// Takes a batch from its tokens to the residual stream after the last layer.
  func computeLayers(_ batch: DeviceBatch) throws(CUDAError) {
    let (x, qkv, heads, inner) = (space.x, space.qkv, space.inner, space.inner)
    try embed(batch, into: x)
    for (index, layer) in weights.layers.enumerated() {
      // Project q·k·v.
      try multiply(.project, layer, .queryKeyValue, batch, from: x, to: qkv)
      try normalizeHeads(layer, batch, in: qkv)

      // Attend.
      try attend(batch, layer: index, from: qkv, to: heads)

      // Project out.
      try addProduct(layer, .attentionOutput, batch, from: heads, to: x, norm: .attentionPost)

      // Gate·up.
      try activate(layer, batch, from: x, to: inner)

      // Down.
      try addProduct(layer, .down, batch, from: inner, to: x, norm: .feedForwardPost)
    }
  }

  /// The embeddings of the tokens, from which the residual stream starts.
  private func embed(_ batch: DeviceBatch, into x: DeviceRows) throws(CUDAError) {
    try library.launch(
      .embedRows, CUDAGrid(batch.count),
      EmbedParameters(
        tokens: batch.outputs.tokens, table: weights.embedding, x: x.address, hidden: Int32(configuration.hiddenSize),
        scale: Float(configuration.embeddingScale)))
  }

  /// The results of outputs of which only hidden states are wanted: texts for embedding have thousands.
  ///
  /// - Parameter firstRow: the row of the plan that is the first in the pass's buffers.
  private func hiddenStates(
    _ outputs: ArraySlice<StepPlan.Output>, _ batch: DeviceBatch, firstRow: Int
  ) throws(CUDAError) -> [RowResult] {
    guard let first = outputs.first, let last = outputs.last else {
      try library.stream.synchronize()
      return []
    }
    // In place: nothing else reads these rows.
    try normalizeOutputs(outputs.count, batch.outputs, to: space.x, scale: 1)
    try library.stream.synchronize()
    let hidden = configuration.hiddenSize
    let states = try values(
      of: space.x.buffer, hidden * (last.row + 1 - first.row), from: hidden * (first.row - firstRow))
    return outputs.map { output in
      let start = hidden * (output.row - first.row)
      return .values(Array(states[start..<start + hidden]))
    }
  }

  /// Computes the logits of a group of outputs, and chooses their tokens on the device.
  ///
  /// - Returns: the tokens; none where only hidden states are wanted.
  private func chooseTokens(
    _ group: DeviceBatch.OutputGroup, _ wanted: ArraySlice<StepPlan.Output>, of plan: StepPlan
  ) throws(CUDAError) -> [Int32] {
    let count = wanted.count
    guard !wanted.allSatisfy(\.isHidden) else { return [] }
    // The host changes the logits that it gets.
    let adjustments = wanted.map {
      $0.deviceSampling == nil ? nil : plan.deviceAdjustment($0, vocabulary: configuration.vocabularySize)
    }
    try scaleOutputs(count, group.arrays)
    // The screen bounds unchanged logits.
    if let screen, wanted.allSatisfy({ $0.deviceSampling != nil }), adjustments.allSatisfy({ $0 == nil }) {
      let cuts = wanted.contains { $0.deviceSampling!.narrowsScreen }
      try chooseScreened(screen, count, group.arrays, cuts: cuts)
    } else {
      try fullHead(count, group.arrays)
      try adjust(adjustments, group.arrays)
      try sample(count, group.arrays)
    }
    return try messages.wait(for: messages.next(count))
  }

  /// Copies the computed logits of `count` outputs that are going to be changed; returns where the copy is.
  func keepLogits(_ count: Int) throws(CUDAError) -> UInt64 { try descriptions.keep(space.logits.address, count) }

  /// Changes the computed logits of a group of outputs before their tokens are chosen.
  func adjust(_ adjustments: [DeviceAdjustment?], _ arrays: OutputArrays) throws(CUDAError) {
    try adjuster.adjust(adjustments, logits: space.logits.address, best: space.best, sampling: arrays.sampling)
  }

  /// The results of a group of outputs, whose logits are computed.
  ///
  /// - Parameter firstRow: the row of the plan that is the first in the pass's buffers.
  private func deliver(
    _ wanted: ArraySlice<StepPlan.Output>, _ tokens: [Int32], of plan: StepPlan,
    firstRow: Int
  ) throws(CUDAError) -> [RowResult] {
    // Where no token was chosen, nothing has waited for the layers yet, and copies to the host do not.
    if tokens.isEmpty { try library.stream.synchronize() }
    return try wanted.enumerated().map { (place, output) throws(CUDAError) in
      if output.isHidden {
        // On the host, in the one order of its sum: it is a few thousand numbers.
        let hidden = configuration.hiddenSize
        let x = try values(of: space.x.buffer, hidden, from: hidden * (output.row - firstRow))
        return .values(rmsNorm(x, weight: finalNorm, epsilon: configuration.normEpsilon))
      }
      if output.deviceSampling != nil { return .token(SampledToken(token: tokens[place])) }
      let vocabulary = configuration.vocabularySize
      let logits = try values(of: space.logits, vocabulary, from: vocabulary * place)
      return logits.withUnsafeBufferPointer { plan.result(output, logits: $0) }
    }
  }

  /// Some numbers of a buffer, from the element `first` on.
  private func values(of buffer: CUDABuffer, _ count: Int, from first: Int) throws(CUDAError) -> [Float] {
    var values = [Float](repeating: 0, count: count)
    try values.withUnsafeMutableBufferPointer { (values) throws(CUDAError) in
      try buffer.copy(to: UnsafeMutableRawBufferPointer(values), from: 4 * first)
    }
    return values
  }
}

extension ModelConfiguration {
  /// Whether the cooperative step computes the model: it has the arithmetic of BitNet's language models. Scaled
  /// frequencies and scores are only other numbers in it.
  fileprivate var hasPlainDecodeStep: Bool {
    ModelFeature.allCases.allSatisfy { !has($0) || $0 == .yarnScaling || $0 == .attentionScale }
  }
}

extension StepPlan.Output {
  /// How the device chooses the token; nil where all logits must go to the host.
  var deviceSampling: SamplingParameters? {
    guard case .token(let parameters, nil, _) = want else { return nil }
    return parameters
  }

  /// How many alternatives are wanted with log probabilities; nil for no log probabilities.
  var alternatives: Int? { if case .token(_, let alternatives, _) = want { alternatives } else { nil } }

  fileprivate var isHidden: Bool { if case .hidden = want { true } else { false } }
}
