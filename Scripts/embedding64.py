"""Float64 forward pass of models with norms before each projection, sliding windows, YaRN and the like, in NumPy.

It is written from the papers and the models' descriptions, apart from the Swift code that it judges. Everything is
float64, except what the models' own arithmetic has in float32: the codes of master weights, rotary frequencies and
angles.
"""
import json
import math
from pathlib import Path

import numpy as np

nearest_tie = [1.0]  # the smallest distance of an activation from a rounding tie since it was last reset


def load_safetensors(path):
    raw = Path(path).read_bytes()
    length = int.from_bytes(raw[:8], "little")
    tensors = {}
    for name, entry in json.loads(raw[8:8 + length]).items():
        if name == "__metadata__":
            continue
        first, last = entry["data_offsets"]
        part = raw[8 + length + first:8 + length + last]
        if entry["dtype"] == "BF16":
            array = (np.frombuffer(part, "<u2").astype(np.uint32) << 16).view(np.float32)
        else:
            array = np.frombuffer(part, {"F32": "<f4", "F16": "<f2", "U8": "u1"}[entry["dtype"]])
        tensors[name] = array.reshape(entry["shape"])
    return tensors


def rms(x, weight, epsilon):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + epsilon) * weight


def absmean(weight):
    """-> codes, scale of a float32 master"""
    mean = max(np.abs(weight).astype(np.float64).mean(), 1e-5)
    return np.clip(np.rint(weight * np.float32(1 / np.float32(mean))), -1, 1), mean


def unpacked(bytes_):
    return np.concatenate([(bytes_ >> 2 * i) & 3 for i in range(4)]).astype(np.float32) - 1


def plain_frequencies(theta, size):
    exponents = np.arange(0, size, 2, dtype=np.float32) / np.float32(size)
    return np.float32(theta) ** exponents


def yarn_frequencies(theta, size, scaling):
    """-> frequencies and the factor of cosines and sines, as `rope_type: yarn` says"""
    powers = plain_frequencies(theta, size)
    original, factor = scaling["original_max_position_embeddings"], scaling["factor"]

    def pair(rotations):
        return size * math.log(original / (rotations * 2 * math.pi)) / (2 * math.log(theta))
    low, high = pair(scaling.get("beta_fast", 32)), pair(scaling.get("beta_slow", 1))
    if scaling.get("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, size - 1)
    high += 0.001 if low == high else 0
    ramp = (np.arange(size // 2, dtype=np.float32) - np.float32(low)) / np.float32(high - low)
    kept = np.float32(1) - np.clip(ramp, 0, 1).astype(np.float32)
    one = np.float32(1)
    frequencies = one / (np.float32(factor) * powers) * (one - kept) + one / powers * kept
    attention = scaling.get("attention_factor") or (0.1 * math.log(factor) + 1 if factor > 1 else 1.0)
    return frequencies.astype(np.float32), attention


class Model:
    """A model from plain arrays.

    settings: layers, heads, kv_heads, head_size, epsilon, projection_epsilon, activation ("silu", "gelu", "relu2"),
    embedding_scale, attention_scale, and for each layer window (None: all), theta or (frequencies, factor), and
    bidirectional.
    arrays: "embed", "norm", optionally "head", and for each layer i "i.NAME" with NAME among the norms in_norm,
    q_norm, k_norm, sub_norm, post_norm, ffn_norm, ffn_sub_norm, ffn_post_norm, those before projections q_in, k_in,
    v_in, o_in, gate_in, up_in, down_in, and the projections q, k, v, o, gate, up, down as (codes, scale).
    """

    def __init__(self, settings, arrays):
        self.settings, self.arrays = settings, arrays

    def linear(self, layer, name, x):
        norm = self.arrays.get(f"{layer}.{name}_in")
        if norm is not None:
            x = rms(x, norm.astype(np.float64), self.settings["projection_epsilon"])
        scale = 127 / np.maximum(np.abs(x).max(-1, keepdims=True), 1e-5)
        scaled = x * scale
        nearest_tie[0] = min(nearest_tie[0], float(np.abs(scaled - np.floor(scaled) - 0.5).min()))
        codes, factor = self.arrays[f"{layer}.{name}"]
        return np.clip(np.rint(scaled), -128, 127) @ codes.T.astype(np.float64) / scale * factor

    def norm(self, key, x):
        weight = self.arrays.get(key)
        return x if weight is None else rms(x, weight.astype(np.float64), self.settings["epsilon"])

    def hidden(self, ids):
        """-> the hidden states after the final norm, [tokens, hidden]"""
        s, count, size = self.settings, len(ids), self.settings["head_size"]
        x = self.arrays["embed"][np.asarray(ids)].astype(np.float64) * s["embedding_scale"]
        places = np.arange(count)
        for layer in range(s["layers"]):
            a = self.norm(f"{layer}.in_norm", x)
            q, k, v = (self.linear(layer, name, a).reshape(count, -1, size) for name in "qkv")
            q, k = self.norm(f"{layer}.q_norm", q), self.norm(f"{layer}.k_norm", k)
            frequencies, factor = s["frequencies"][layer]
            angles = (places.astype(np.float32)[:, None] * frequencies[None]).astype(np.float64)
            cos, sin = (f(angles)[:, None] * factor for f in (np.cos, np.sin))

            def rotated(y):
                low, high = y[..., :size // 2], y[..., size // 2:]
                return np.concatenate([low * cos - high * sin, high * cos + low * sin], -1)
            q, k = rotated(q), rotated(k)
            group = s["heads"] // s["kv_heads"]
            scores = np.einsum("thd,shd->hts", q, k.repeat(group, 1)) * s["attention_scale"]
            back = places[:, None] - places[None]
            allowed = back >= 0 if not s["bidirectional"] else back >= -count
            if s["windows"][layer]:
                allowed = allowed & (np.abs(back) < s["windows"][layer])
            scores = np.where(allowed, scores, -np.inf)
            weights = np.exp(scores - scores.max(-1, keepdims=True))
            weights /= weights.sum(-1, keepdims=True)
            heads = np.einsum("hts,shd->thd", weights, v.repeat(group, 1)).reshape(count, -1)
            branch = self.linear(layer, "o", self.norm(f"{layer}.sub_norm", heads))
            x = x + self.norm(f"{layer}.post_norm", branch)
            b = self.norm(f"{layer}.ffn_norm", x)
            gate, up = self.linear(layer, "gate", b), self.linear(layer, "up", b)
            inner = ACTIVATIONS[s["activation"]](gate) * up
            branch = self.linear(layer, "down", self.norm(f"{layer}.ffn_sub_norm", inner))
            x = x + self.norm(f"{layer}.ffn_post_norm", branch)
        return self.norm("norm", x)

    def logits(self, ids):
        head = self.arrays.get("head", self.arrays["embed"])
        return self.hidden(ids) @ head.T.astype(np.float64)


ACTIVATIONS = {
    "relu2": lambda g: np.maximum(g, 0)**2,
    "silu": lambda g: g / (1 + np.exp(-g)),
    "gelu": lambda g: 0.5 * g * (1 + np.tanh(math.sqrt(2 / math.pi) * (g + 0.044715 * g**3))),
}


def pooled(hidden, kind):
    vector = hidden[-1] if kind == "last" else hidden.mean(0)
    return vector / np.linalg.norm(vector)
