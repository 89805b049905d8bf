import BitNetCUDADriver
package import BitNetInference
import CBitNetCUDAKernels

/// Products with a layer's matrices, with the operations before and after them.
extension CUDAForwardPass {
  /// The product with a layer's matrix, with the norms and the quantiser before it and the outcome's end after it: the
  /// products, their addition to the residual stream, or the gated activation.
  func multiply(
    _ outcome: Products.Outcome, _ layer: DeviceWeights.Layer, _ role: MatrixRole, _ batch: DeviceBatch,
    from input: DeviceRows, to output: DeviceRows
  ) throws(CUDAError) {
    let target = Target(
      out: output.address, stride: Int32(output.stride),
      isSquaredReLU: configuration.activation == .squaredReLU ? 1 : 0)
    let partNorms = role.partNorms.map { layer[$0] }
    if partNorms.allSatisfy({ $0 == 0 }) {
      try products.multiply(
        outcome, layer[role], tokens: batch.count, x: input, norm: layer[role.inputNorm],
        epsilon: Float(configuration.normEpsilon), target: target, quantized: space.quantized)
    } else {
      try products.multiplyParts(
        outcome, layer[role], tokens: batch.count, x: input, norm: layer[role.inputNorm],
        epsilon: Float(configuration.normEpsilon), partNorms: partNorms,
        partEpsilon: Float(configuration.projectionNormEpsilon ?? configuration.normEpsilon), target: target,
        quantized: space.quantized, capacity: space.rows)
    }
  }

  /// Adds the product with a layer's matrix to the residual stream, after the norm if there is one.
  func addProduct(
    _ layer: DeviceWeights.Layer, _ role: MatrixRole, _ batch: DeviceBatch, from input: DeviceRows,
    to x: DeviceRows, norm: NormRole
  ) throws(CUDAError) {
    guard !configuration.hasPlainBranches, let branch = space.branch else {
      return try multiply(.add, layer, role, batch, from: input, to: x)
    }
    try multiply(.project, layer, role, batch, from: input, to: branch)
    try library.launch(
      .addBranch, CUDAGrid(batch.count), sharedBytes: rowScratchBytes,
      AddBranchParameters(
        x: x.address, branch: branch.address, norm: layer[norm], epsilon: Float(configuration.normEpsilon),
        scale: Float(configuration.residualScale), hidden: Int32(configuration.hiddenSize)))
  }

  /// The gated activation of the products with a layer's gate and up.
  func activate(
    _ layer: DeviceWeights.Layer, _ batch: DeviceBatch, from x: DeviceRows, to inner: DeviceRows
  ) throws(CUDAError) {
    guard let gateUp = space.gateUp else {
      return try multiply(.activate, layer, .gateUp, batch, from: x, to: inner)
    }
    try multiply(.project, layer, .gateUp, batch, from: x, to: gateUp)
    try library.launch(
      .gateRows, CUDAGrid(batch.count),
      GateParameters(
        gateUp: gateUp.address, out: inner.address, width: Int32(configuration.feedForwardSize),
        outStride: Int32(inner.stride), activation: Int32(configuration.activation.onDevice)))
  }

  /// The norms of query and key heads, in place.
  func normalizeHeads(_ layer: DeviceWeights.Layer, _ batch: DeviceBatch, in qkv: DeviceRows) throws(CUDAError) {
    guard configuration.has(.headNorms) else { return }
    let heads = configuration.headCount + configuration.keyValueHeadCount
    try library.launch(
      .normalizeHeads, CUDAGrid(batch.count, (heads + 7) / 8),
      NormalizeHeadsParameters(
        heads: space.shape, qkv: qkv.address, queryNorm: layer[.queryHead], keyNorm: layer[.keyHead],
        epsilon: Float(configuration.normEpsilon)))
  }

  /// Normalises and scales the rows of `count` outputs for `headInput`, where hidden states are scaled before the head.
  func scaleOutputs(_ count: Int, _ arrays: OutputArrays) throws(CUDAError) {
    guard configuration.has(.outputScale), let scaled = space.branch else { return }
    try normalizeOutputs(count, arrays, to: scaled, scale: Float(configuration.outputScale))
  }

  /// Writes the final norm of the rows of `count` outputs, times a scale, to the same rows of a buffer, which may be the
  /// residual stream itself.
  func normalizeOutputs(_ count: Int, _ arrays: OutputArrays, to out: DeviceRows, scale: Float) throws(CUDAError) {
    try library.launch(
      .scaleOutputs, CUDAGrid(count), sharedBytes: rowScratchBytes,
      ScaleOutputsParameters(
        x: space.x.address, rows: arrays.rows, norm: weights.finalNorm, out: out.address,
        epsilon: Float(configuration.normEpsilon), scale: scale, hidden: Int32(configuration.hiddenSize)))
  }

  /// The head and the rows that it takes: those of the residual stream, or the normalised and scaled ones, to which it
  /// applies no norm.
  var headInput: (head: Head, x: UInt64) {
    var head = weights.outputHead
    guard configuration.has(.outputScale), let scaled = space.branch else { return (head, space.x.address) }
    head.norm = 0
    return (head, scaled.address)
  }
}

extension ModelConfiguration.Activation {
  /// The activation's number in CUDAKernels.h.
  package var onDevice: Int {
    switch self {
    case .squaredReLU: activationSquaredReLU
    case .silu: activationSilu
    case .geluTanh: activationGeluTanh
    }
  }
}
