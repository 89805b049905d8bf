#!/usr/bin/env python3
"""Write a random model of BitNet b1.58 2B-4T's shape as a Hugging Face folder.

usage: make_model.py FOLDER [--master] [--layers COUNT] [--shape 2b|demo]

It generates noise, but loading, converting and generating cost the same as with the real model. With --master, the
weights are bfloat16 masters (4.8 GB) instead of packed codes (1.2 GB). --shape demo takes the shape of the demo model.
Needs numpy.
"""
import argparse
import dataclasses
import itertools
import json
from pathlib import Path

import numpy as np



@dataclasses.dataclass
class Shape:
    hidden: int
    ffn: int
    heads: int
    kv_heads: int
    vocabulary: int
    layers: int
    context: int
    rope_theta: float

    @property
    def projections(self):
        kv = self.hidden // self.heads * self.kv_heads
        return {
            "self_attn.q_proj": (self.hidden, self.hidden), "self_attn.k_proj": (kv, self.hidden),
            "self_attn.v_proj": (kv, self.hidden), "self_attn.o_proj": (self.hidden, self.hidden),
            "mlp.gate_proj": (self.ffn, self.hidden), "mlp.up_proj": (self.ffn, self.hidden),
            "mlp.down_proj": (self.hidden, self.ffn),
        }

    @property
    def norms(self):
        return {
            "input_layernorm": (self.hidden, 0.02), "post_attention_layernorm": (self.hidden, 1.3),
            "self_attn.attn_sub_norm": (self.hidden, 0.04), "mlp.ffn_sub_norm": (self.ffn, 0.03),
        }


SHAPES = {
    "2b": Shape(2560, 6912, 20, 5, 128256, 30, 4096, 500000.0), "demo": Shape(256, 768, 4, 2, 4096, 6, 512, 10000.0),
}


def bfloat16(values):
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype("<u2")


def tensors(shape, master):
    """(name, dtype, shape, maker) in file order"""
    yield "model.embed_tokens.weight", "BF16", (shape.vocabulary, shape.hidden), lambda g, n: bfloat16(
        0.6 * g.standard_normal(n, np.float32)
    )
    for layer in range(shape.layers):
        prefix = f"model.layers.{layer}."
        for name, (width, centre) in shape.norms.items():
            yield prefix + name + ".weight", "BF16", (width,), lambda g, n, c=centre: bfloat16(
                c * g.uniform(0.7, 1.3, n)
            )
        for name, (rows, columns) in shape.projections.items():
            if master:
                yield prefix + name + ".weight", "BF16", (rows, columns), lambda g, n: bfloat16(
                    g.standard_normal(n, np.float32)
                )
            else:
                codes = itertools.product(range(3), repeat=4)
                fields = np.array([a | b << 2 | c << 4 | d << 6 for a, b, c, d in codes], np.uint8)
                yield prefix + name + ".weight", "U8", (rows // 4, columns), lambda g, n: fields[
                    g.integers(0, 81, n, np.uint8)
                ]
                yield prefix + name + ".weight_scale", "BF16", (1,), lambda g, n: bfloat16(g.uniform(1.0, 1.6, n))
    yield "model.norm.weight", "BF16", (shape.hidden,), lambda g, n: bfloat16(0.1 * g.uniform(0.7, 1.3, n))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--master", action="store_true")
    parser.add_argument("--layers", type=int)
    parser.add_argument("--shape", choices=SHAPES, default="2b")
    arguments = parser.parse_args()
    model = SHAPES[arguments.shape]
    if arguments.layers:
        model = dataclasses.replace(model, layers=arguments.layers)

    arguments.folder.mkdir(parents=True, exist_ok=True)
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, dtype, shape, _ in tensors(model, arguments.master):
        size = int(np.prod(shape)) * (1 if dtype == "U8" else 2)
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    generator = np.random.default_rng(1)
    with open(arguments.folder / "model.safetensors", "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for _, _, shape, make in tensors(model, arguments.master):
            remaining = int(np.prod(shape))
            while remaining > 0:
                count = min(remaining, 1 << 24)
                file.write(make(generator, count).tobytes())
                remaining -= count
    (arguments.folder / "config.json").write_text(json.dumps({
        "architectures": ["BitNetForCausalLM"], "model_type": "bitnet", "hidden_act": "relu2",
        "hidden_size": model.hidden, "intermediate_size": model.ffn, "num_hidden_layers": model.layers,
        "num_attention_heads": model.heads, "num_key_value_heads": model.kv_heads, "vocab_size": model.vocabulary,
        "rms_norm_eps": 1e-5, "rope_theta": model.rope_theta, "max_position_embeddings": model.context,
        "tie_word_embeddings": True, "bos_token_id": model.vocabulary - 256, "eos_token_id": model.vocabulary - 255,
        "quantization_config": {"quant_method": "bitnet", "linear_class": "autobitlinear",
                                "quantization_mode": "online" if arguments.master else "offline"}}, indent=1) + "\n")


if __name__ == "__main__":
    main()
