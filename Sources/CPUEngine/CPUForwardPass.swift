import BitNetInference
import BitNetTernary
import CBitNetTernary

/// One member's way through the forward pass over a slice of tokens. All members of the team run it side by side, phase
/// by phase: a phase divides its tokens, rows or heads among them and returns when all are done.
final class CPUForwardPass {
  /// One token of the slice.
  struct Token {
    /// What to compute for a token besides its keys and values. `index`: the place among the plan's outputs.
    enum Output {
      case none
      /// From the hidden state after the final norm, or from all logits.
      case whole(index: Int, needsLogits: Bool)
      /// From the logits that matter for the choice of the next token.
      case candidates(index: Int, CPUScreenedHead.Choice)
    }

    let id: Int
    let position: Int
    /// The end of the positions that it attends to where attention is bidirectional; `position + 1` in causal models.
    let end: Int
    /// The pages of its sequence's cache, up to and including this token's position, in plain pointers: threads that
    /// hold on to the same objects would all write to their reference counts.
    let pages: UnsafePointer<UnsafeMutablePointer<UInt16>>
    let output: Output
  }

  let model: CPUModel
  let weights: ModelWeights
  let configuration: ModelConfiguration
  let kernels: TernaryKernels
  let space: Workspace
  let member: ThreadTeam.Member
  let tokens: [Token]
  let results: CPUModel.Results

  init(_ model: CPUModel, _ member: ThreadTeam.Member, _ tokens: [Token], _ results: CPUModel.Results) {
    self.model = model
    weights = model.weights
    configuration = model.weights.configuration
    kernels = model.kernels
    space = model.space
    self.member = member
    self.tokens = tokens
    self.results = results
  }

  /// Runs the slice through the model.
  func forward() {
    var x = embed()
    for (index, layer) in weights.layers.enumerated() {
      // Project q·k·v.
      let qkv = multiply(quantize(&x, for: .queryKeyValue, of: layer), .queryKeyValue, layer: index)

      // Attend.
      let queries = rotateAndStore(qkv, layer: index)
      let heads = attend(queries, layer: index)

      // Project out.
      let output = multiply(quantize(heads, for: .attentionOutput, of: layer), .attentionOutput, layer: index)
      x.add(output, layer[.attentionPost])

      // Gate·up.
      let gateUp = multiply(quantize(&x, for: .gateUp, of: layer), .gateUp, layer: index)
      let inner = activate(gateUp)

      // Down.
      let down = multiply(quantize(inner, for: .down, of: layer), .down, layer: index)
      x.add(down, layer[.feedForwardPost])
    }
    // Head.
    let outputs = SliceOutputs(tokens)
    let hidden = normalize(&x, rows: outputs.tokens)
    deliverHiddenStates(hidden, outputs)
    scaleHidden(hidden, outputs)
    deliverLogits(hidden, outputs)
    deliverCandidates(hidden, outputs)
  }

  /// The embeddings of the tokens, from which the residual stream starts.
  private func embed() -> Activations {
    let x = space.residual
    let scale = Float(configuration.embeddingScale)
    member.phase(tokens.count) { t in
      let row = weights.embedding.row(tokens[t].id)
      for i in row.indices { x[t][i] = Float(bfloat16Bits: row[i]) }
      if scale != 1 { for i in row.indices { x[t][i] *= scale } }
    }
    return Activations(x, width: configuration.hiddenSize)
  }

  /// The input of a matrix: RMSNorm, if there is a norm, and the absmax quantiser.
  private func quantize(_ x: inout Activations, for role: MatrixRole, of layer: LayerWeights) -> Codes {
    let norm = layer[role.inputNorm]
    if model.hasPartNorms { return quantize(&x, norm, role.partNorms.map { layer[$0] }) }
    let codes = Codes(rows: space.codes, sums: space.sums, scales: space.scales)
    let scratch = space.scratch[member.index]
    let epsilon = Float(configuration.normEpsilon)
    let pending = x
    member.phase(tokens.count) { t in
      let row = complete(pending, row: t)
      codes.scales[t] =
        if let norm {
          norm.withUnsafeBufferPointer {
            kernels.normalizeAndQuantize(
              row, $0.baseAddress, epsilon, x.width, scratch, codes.rows[t], codes.sums + t)
          }
        } else {
          kernels.normalizeAndQuantize(row, nil, epsilon, x.width, scratch, codes.rows[t], codes.sums + t)
        }
    }
    x.pending = .nothing
    return codes
  }

  private func quantize(_ x: Activations, for role: MatrixRole, of layer: LayerWeights) -> Codes {
    var x = x
    return quantize(&x, for: role, of: layer)
  }

  /// The inputs of a matrix whose stacked parts have norms of their own, `[parts][tokens]`.
  private func quantize(_ x: inout Activations, _ norm: [Float]?, _ partNorms: [[Float]?]) -> Codes {
    let codes = Codes(rows: space.codes, sums: space.sums, scales: space.scales, partStride: space.tokens)
    let (scratch, second) = (space.scratch[member.index], space.second[member.index])
    let epsilon = Float(configuration.normEpsilon)
    let partEpsilon = Float(configuration.projectionNormEpsilon ?? configuration.normEpsilon)
    let pending = x
    member.phase(tokens.count) { t in
      var row = complete(pending, row: t)
      if let norm {
        norm.withUnsafeBufferPointer { kernels.normalize(row, $0.baseAddress!, epsilon, x.width, scratch) }
        row = scratch
      }
      for (part, norm) in partNorms.enumerated() {
        let place = part * codes.partStride + t
        func quantize(_ weight: UnsafePointer<Float>?) -> Float {
          kernels.normalizeAndQuantize(
            row, weight, partEpsilon, x.width, second, codes.rows[place], codes.sums + place)
        }
        codes.scales[place] = norm?.withUnsafeBufferPointer { quantize($0.baseAddress) } ?? quantize(nil)
      }
    }
    x.pending = .nothing
    return codes
  }

  /// The exact products of all tokens with a matrix of a layer.
  private func multiply(_ codes: Codes, _ role: MatrixRole, layer: Int) -> Product {
    let matrix = weights.layers[layer][role]
    let dots = space.dots
    member.fetchWhileWaiting(share(after: role, layer: layer))
    func multiply(_ rows: Range<Int>, part: Int) {
      kernels.multiply(
        matrix.tiles(fromRow: rows.lowerBound), matrix.tilesPerRow, rows.count,
        codes.rows[part * codes.partStride], codes.rows.stride, codes.sums + part * codes.partStride, tokens.count,
        dots.base + rows.lowerBound, dots.stride)
    }
    member.rows(of: matrix) { rows in
      guard codes.partStride > 0 else { return multiply(rows, part: 0) }
      for part in matrix.parts.indices {
        let end = part + 1 < matrix.parts.count ? matrix.parts[part + 1].firstRow : matrix.paddedRows
        let own = rows.clamped(to: matrix.parts[part].firstRow..<end)
        if !own.isEmpty { multiply(own, part: part) }
      }
    }
    return Product(dots: dots, scales: codes.scales, partStride: codes.partStride, parts: matrix.parts)
  }

  /// The member's share of the weights that it reads after a matrix: of the next matrix, or of the LM head.
  func share(after role: MatrixRole, layer: Int) -> UnsafeRawBufferPointer {
    let roles = MatrixRole.allCases.count
    let (nextLayer, next) = (layer * roles + role.rawValue + 1).quotientAndRemainder(dividingBy: roles)
    guard nextLayer < weights.layers.count else { return headShare }
    return member.share(of: weights.layers[nextLayer][MatrixRole(rawValue: next)!])
  }

  /// Scales and rotates the tokens' q, k and v, and stores k and v in the cache; a key/value head and the query heads that
  /// share it at a time.
  ///
  /// - Returns: the rotated queries.
  private func rotateAndStore(_ qkv: Product, layer: Int) -> Activations {
    let (layout, size) = (model.layout, configuration.headSize)
    let (queryWidth, keyValueWidth) = (configuration.queryWidth, configuration.keyValueWidth)
    let (heads, group, pairs) = (layout.heads, layout.group, size / 2)
    let (queryNorm, keyNorm) = (weights.layers[layer][.queryHead], weights.layers[layer][.keyHead])
    let angles = model.angles(ofLayer: layer)
    member.fetchWhileWaiting(cacheShare(layer: layer))
    member.phase(tokens.count * heads) { piece in
      let (t, head) = piece.quotientAndRemainder(dividingBy: heads)
      let position = tokens[t].position
      let page = tokens[t].pages[position / attentionChunkLength]
      let slot = layout.slot(position, in: page, layer: layer, head: head)
      // A key's elements are in as many cache lines as half the head is long; they arrive during the arithmetic.
      ternary_fetch_to_write(slot.key, 2 * 16 * size)
      ternary_fetch_to_write(slot.value, 2 * size)
      let query = space.heads[t] + head * group * size
      let key = space.heads[t] + queryWidth + head * size
      let value = key + keyValueWidth
      for (part, target, width) in [(0, query, group * size), (1, key, size), (2, value, size)] {
        let (dots, factor) = qkv.part(part, row: t)
        kernels.dequantize(dots + head * width, factor, width, target)
      }
      if let queryNorm { normalize(query, heads: group, queryNorm) }
      if let keyNorm { normalize(key, heads: 1, keyNorm) }
      let cosines = angles.cosines + position * pairs
      let sines = angles.sines + position * pairs
      kernels.rotate(query, group, pairs, cosines, sines)
      kernels.rotate(key, 1, pairs, cosines, sines)
      kernels.storeKeyValue(key, value, size, slot.key, slot.value)
    }
    return Activations(space.heads, width: queryWidth)
  }

  /// RMSNorm of each of some heads, in place.
  private func normalize(_ x: UnsafeMutablePointer<Float>, heads: Int, _ norm: [Float]) {
    let epsilon = Float(configuration.normEpsilon)
    norm.withUnsafeBufferPointer { weight in
      for head in 0..<heads {
        let row = x + head * weight.count
        kernels.normalize(row, weight.baseAddress!, epsilon, weight.count, row)
      }
    }
  }

  /// The gated activation.
  private func activate(_ gateUp: Product) -> Activations {
    Activations(space.inner, width: configuration.feedForwardSize, pending: .gating(gateUp))
  }

  /// Row t of activations, after doing what is pending for it.
  func complete(_ x: Activations, row t: Int) -> UnsafeMutablePointer<Float> {
    let row = x.rows[t]
    switch x.pending {
    case .nothing: break
    case .addition(let product, let norm):
      let (dots, factor) = product.part(0, row: t)
      guard !model.hasPlainBranches else {
        kernels.dequantizeAndAdd(dots, factor, x.width, row)
        break
      }
      let branch = space.scratch[member.index]
      kernels.dequantize(dots, factor, x.width, branch)
      norm?.withUnsafeBufferPointer {
        kernels.normalize(branch, $0.baseAddress!, Float(configuration.normEpsilon), x.width, branch)
      }
      kernels.addScaled(branch, Float(configuration.residualScale), x.width, row)
    case .gating(let gateUp):
      let (gate, gateFactor) = gateUp.part(0, row: t)
      let (up, upFactor) = gateUp.part(1, row: t)
      let code: Int32 =
        switch configuration.activation {
        case .squaredReLU: 0
        case .silu: 1
        case .geluTanh: 2
        }
      kernels.gate(gate, gateFactor, up, upFactor, code, x.width, row)
    }
    return row
  }
}

extension ThreadTeam.Member {
  /// A phase over a matrix's stacked rows, cut into the same shares whatever is done with them.
  func rows(of matrix: TernaryMatrix, _ body: (Range<Int>) -> Void) {
    // Pieces of some 100 KB: long enough streams for the prefetchers, short enough that the wait for the last one is
    // short.
    phase(matrix.paddedRows, unit: Tile.rows, perMember: Self.rowPieces, body)
  }

  private static let rowPieces = 8

  /// The tiles from the start of this member's share on.
  fileprivate func share(of matrix: TernaryMatrix) -> UnsafeRawBufferPointer {
    let row = shareStart(matrix.paddedRows, unit: Tile.rows, perMember: Self.rowPieces)
    return UnsafeRawBufferPointer(
      start: matrix.tiles(fromRow: row), count: matrix.tiles.count - matrix.byteOffset(ofRow: row))
  }
}
