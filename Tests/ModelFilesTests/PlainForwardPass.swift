import ModelFilesSupport

#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif
#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// A forward pass in Double over the tensors of a tiny model whose norms have Gemma's names. It is independent of the
/// package's matrices, configuration, roles and arithmetic.
struct PlainForwardPass {
  /// By tensor name, row-major; codes come with the model's one scale multiplied out.
  let tensors: [String: [Double]]
  let hidden = TinyModel.hidden
  let headSize = TinyModel.headSize
  let vocabulary = TinyModel.vocabulary
  let layers = TinyModel.layers
  var epsilon = 1e-5
  var theta = 10000.0
  var localTheta = 100.0
  /// The window of the first layer; the second layer sees all positions, or all earlier ones.
  var window = 5
  var isBidirectional = false
  var embeddingScale = 3.0
  var residualScale = 0.5
  var outputScale = 0.25
  var attentionScale = 0.3

  func norm(_ x: [Double], _ name: String) -> [Double] {
    let weight = tensors[name + ".weight"]!
    let r = 1 / (x.reduce(0) { $0 + $1 * $1 } / Double(x.count) + epsilon).squareRoot()
    return x.indices.map { x[$0] * r * weight[$0] }
  }

  func project(_ x: [Double], _ name: String) -> [Double] {
    let weight = tensors[name + ".weight"]!
    let s = 127 / max(x.map(abs).max()!, 1e-5)
    let codes = x.map { min(127, max(-128, ($0 * s).rounded(.toNearestOrEven))) }
    return (0..<weight.count / x.count).map { row in
      x.indices.reduce(0) { $0 + codes[$1] * weight[row * x.count + $1] } / s
    }
  }

  func rotate(_ head: [Double], position: Int, theta: Double) -> [Double] {
    let half = head.count / 2
    var y = head
    for i in 0..<half {
      // The frequencies' single precision is part of every model; these bases have powers that it represents the same
      // everywhere.
      let frequency = 1 / Float(pow(theta, Double(Float(2 * i) / Float(head.count))))
      let angle = Double(Float(position) * frequency)
      y[i] = head[i] * cos(angle) - head[i + half] * sin(angle)
      y[i + half] = head[i + half] * cos(angle) + head[i] * sin(angle)
    }
    return y
  }

  func gelu(_ x: Double) -> Double { x / 2 * (1 + tanh((2 / Double.pi).squareRoot() * (x + 0.044715 * x * x * x))) }

  /// The logits after each token.
  func logits(_ ids: [Int32]) -> [[Double]] {
    let embedding = tensors["model.embed_tokens.weight"]!
    func row(_ id: Int) -> [Double] { Array(embedding[id * hidden..<(id + 1) * hidden]) }
    var x = ids.map { row(Int($0)).map { $0 * embeddingScale } }
    for layer in 0..<layers {
      let prefix = "model.layers.\(layer)."
      let isLocal = layer == 0
      let theta = isLocal ? localTheta : theta
      func split(_ x: [Double]) -> [[Double]] {
        stride(from: 0, to: x.count, by: headSize).map { Array(x[$0..<$0 + headSize]) }
      }
      let inputs = x.map { norm($0, prefix + "input_layernorm") }
      let queries = inputs.enumerated().map { position, x in
        split(project(x, prefix + "self_attn.q_proj")).map {
          rotate(norm($0, prefix + "self_attn.q_norm"), position: position, theta: theta)
        }
      }
      let keys = inputs.enumerated().map { position, x in
        rotate(
          norm(project(x, prefix + "self_attn.k_proj"), prefix + "self_attn.k_norm"), position: position, theta: theta)
      }
      let values = inputs.map { project($0, prefix + "self_attn.v_proj") }
      for t in x.indices {
        let seen = x.indices.filter { (isBidirectional || $0 <= t) && (!isLocal || abs($0 - t) < window) }
        let attended = queries[t].flatMap { query in
          let scores = seen.map { key in exp(zip(query, keys[key]).reduce(0) { $0 + $1.0 * $1.1 } * attentionScale) }
          return (0..<headSize).map { i in
            zip(seen, scores).reduce(0) { $0 + values[$1.0][i] * $1.1 } / scores.reduce(0, +)
          }
        }
        let output = norm(project(attended, prefix + "self_attn.o_proj"), prefix + "post_attention_layernorm")
        for i in 0..<hidden { x[t][i] += residualScale * output[i] }
        let normed = norm(x[t], prefix + "pre_feedforward_layernorm")
        let inner = zip(project(normed, prefix + "mlp.gate_proj"), project(normed, prefix + "mlp.up_proj")).map {
          gelu($0) * $1
        }
        let down = norm(project(inner, prefix + "mlp.down_proj"), prefix + "post_feedforward_layernorm")
        for i in 0..<hidden { x[t][i] += residualScale * down[i] }
      }
    }
    return x.map { x in
      let x = norm(x, "model.norm").map { $0 * outputScale }
      return (0..<vocabulary).map { id in zip(row(id), x).reduce(0) { $0 + $1.0 * $1.1 } }
    }
  }
}
