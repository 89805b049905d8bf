package import BitNetCUDADriver
import BitNetInference
package import CBitNetCUDAKernels

extension CUDAForwardPass {
  /// Attention of a layer: rotates queries, adds keys and values to the cache, and attends.
  func attend(
    _ batch: DeviceBatch, layer: Int, from qkv: DeviceRows, to heads: DeviceRows
  ) throws(CUDAError) {
    let attention = configuration.attention(ofLayer: layer)
    // In bidirectional models also the causal layers: the other kernel has the tiles in a dimension of its grid that a
    // very long text could exceed.
    if let all = batch.all, attention.window != nil || configuration.isBidirectional {
      try rotate(all, batch, layer: layer, qkv)
      return try attendWindow(all, batch, attention, layer: layer, from: qkv, to: heads)
    }
    try rotate(batch.prompts, batch, layer: layer, qkv)
    if configuration.headSize > Int(longestPromptHead) {
      try attendWindow(batch.prompts, batch, .causal, layer: layer, from: qkv, to: heads)
    } else {
      try attendPrompt(batch.prompts, batch, layer: layer, from: qkv, to: heads)
    }
    try attendDecode(batch, layer: layer, from: qkv, to: heads)
  }

  /// Rotates the queries of tokens that attend together, and adds their keys and values to the cache.
  private func rotate(
    _ tiles: DeviceBatch.Tiles, _ batch: DeviceBatch, layer: Int, _ qkv: DeviceRows
  ) throws(CUDAError) {
    guard tiles.rowCount > 0 else { return }
    let rotary = rotary(ofLayer: layer)
    try library.launch(
      .rotateAndAppend, CUDAGrid(tiles.rowCount),
      RotateParameters(
        heads: space.shape, pages: batch.pages, rows: tiles.rows, slots: batch.slots,
        positions: batch.outputs.positions, qkv: qkv.address, cosines: rotary.cosines, sines: rotary.sines,
        layer: Int32(layer)))
  }

  /// Causal attention of the tokens of prompts, to all positions.
  private func attendPrompt(
    _ tiles: DeviceBatch.Tiles, _ batch: DeviceBatch, layer: Int, from qkv: DeviceRows, to heads: DeviceRows
  ) throws(CUDAError) {
    guard tiles.count > 0 else { return }
    try library.launch(
      .attendPrompt, CUDAGrid(configuration.keyValueHeadCount, tiles.count, (configuration.group + 63) / 64),
      sharedBytes: tileScratchBytes,
      AttendPromptParameters(
        heads: space.shape, pages: batch.pages, tiles: tiles.address, qkv: qkv.address, out: heads.address,
        layer: Int32(layer), outStride: Int32(heads.stride)))
  }

  /// Any other attention of tokens whose keys and values are in the cache.
  private func attendWindow(
    _ tiles: DeviceBatch.Tiles, _ batch: DeviceBatch, _ attention: ModelConfiguration.Attention, layer: Int,
    from qkv: DeviceRows, to heads: DeviceRows
  ) throws(CUDAError) {
    guard tiles.count > 0 else { return }
    try library.launch(
      .attendWindow, space.shape.windowGrid(tiles: tiles.count), sharedBytes: windowScratchBytes,
      AttendWindowParameters(
        heads: space.shape, pages: batch.pages, tiles: tiles.address, ends: batch.ends, qkv: qkv.address,
        out: heads.address, layer: Int32(layer), outStride: Int32(heads.stride),
        window: Int32(attention.window ?? endlessWindow), isBidirectional: attention.isBidirectional ? 1 : 0))
  }

  /// Attention of the tokens that attend one by one, chunk by chunk of their caches.
  private func attendDecode(
    _ batch: DeviceBatch, layer: Int, from qkv: DeviceRows, to heads: DeviceRows
  ) throws(CUDAError) {
    let step = space.attentionRows
    for start in stride(from: 0, to: batch.singleCount, by: step) {
      try library.launch(
        .attendDecode,
        CUDAGrid(min(batch.mostChunks, 64), configuration.keyValueHeadCount, min(step, batch.singleCount - start)),
        sharedBytes: space.shape.attentionBytes,
        AttendDecodeParameters(
          attention: attention(pages: batch.pages, layer: layer), rows: batch.singleRows + UInt64(4 * start),
          slots: batch.slots, positions: batch.outputs.positions, layer: Int32(layer)))
    }
  }

  /// The part of single tokens' attention that is the same for all blocks of a launch.
  func attention(pages: Pages, layer: Int) -> DecodeAttention {
    let rotary = rotary(ofLayer: layer)
    return DecodeAttention(
      heads: space.shape, pages: pages, partials: space.partials, qkv: space.qkv.address, cosines: rotary.cosines,
      sines: rotary.sines, out: space.inner.address, outStride: Int32(space.inner.stride), unused: 0)
  }
}

extension ModelConfiguration {
  /// Query heads that share a key/value head.
  var group: Int { headCount / keyValueHeadCount }
}

extension Heads {
  /// The grid of attend_window.
  package func windowGrid(tiles: Int) -> CUDAGrid {
    let slices = (Int(padded) + windowSlice - 1) / windowSlice
    let parts = (Int(queryHeads / keyValueHeads) + windowTileQueries - 1) / windowTileQueries
    return CUDAGrid(tiles, Int(keyValueHeads), slices * parts)
  }
}
