#!/usr/bin/env python3
"""Write a random model of BitNet b1.58 2B-4T's shape as a Hugging Face folder.

usage: make_model.py FOLDER [--master] [--layers 30]

It generates noise, but loading, converting and generating cost the same as with the real model. With --master, the
weights are bfloat16 masters (4.8 GB) instead of packed codes (1.2 GB). Needs numpy.
"""
import argparse
import itertools
import json
from pathlib import Path

import numpy as np

HIDDEN, FFN, HEADS, KV_HEADS, VOCABULARY = 2560, 6912, 20, 5, 128256
KV = HIDDEN // HEADS * KV_HEADS
PROJECTIONS = {
    "self_attn.q_proj": (HIDDEN, HIDDEN), "self_attn.k_proj": (KV, HIDDEN), "self_attn.v_proj": (KV, HIDDEN),
    "self_attn.o_proj": (HIDDEN, HIDDEN), "mlp.gate_proj": (FFN, HIDDEN), "mlp.up_proj": (FFN, HIDDEN),
    "mlp.down_proj": (HIDDEN, FFN),
}
NORMS = {
    "input_layernorm": (HIDDEN, 0.02), "post_attention_layernorm": (HIDDEN, 1.3),
    "self_attn.attn_sub_norm": (HIDDEN, 0.04), "mlp.ffn_sub_norm": (FFN, 0.03),
}


def bfloat16(values):
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype("<u2")


def tensors(layers, master):
    """(name, dtype, shape, maker) in file order"""
    yield "model.embed_tokens.weight", "BF16", (VOCABULARY, HIDDEN), lambda g, n: bfloat16(
        0.6 * g.standard_normal(n, np.float32)
    )
    for layer in range(layers):
        prefix = f"model.layers.{layer}."
        for name, (width, centre) in NORMS.items():
            yield prefix + name + ".weight", "BF16", (width,), lambda g, n, c=centre: bfloat16(
                c * g.uniform(0.7, 1.3, n)
            )
        for name, (rows, columns) in PROJECTIONS.items():
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
    yield "model.norm.weight", "BF16", (HIDDEN,), lambda g, n: bfloat16(0.1 * g.uniform(0.7, 1.3, n))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--master", action="store_true")
    parser.add_argument("--layers", type=int, default=30)
    arguments = parser.parse_args()

    arguments.folder.mkdir(parents=True, exist_ok=True)
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, dtype, shape, _ in tensors(arguments.layers, arguments.master):
        size = int(np.prod(shape)) * (1 if dtype == "U8" else 2)
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    generator = np.random.default_rng(1)
    with open(arguments.folder / "model.safetensors", "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for _, _, shape, make in tensors(arguments.layers, arguments.master):
            remaining = int(np.prod(shape))
            while remaining > 0:
                count = min(remaining, 1 << 24)
                file.write(make(generator, count).tobytes())
                remaining -= count
    (arguments.folder / "config.json").write_text(json.dumps({
        "architectures": ["BitNetForCausalLM"], "model_type": "bitnet", "hidden_act": "relu2", "hidden_size": HIDDEN,
        "intermediate_size": FFN, "num_hidden_layers": arguments.layers, "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS, "vocab_size": VOCABULARY, "rms_norm_eps": 1e-5, "rope_theta": 500000.0,
        "max_position_embeddings": 4096, "tie_word_embeddings": True, "bos_token_id": 128000, "eos_token_id": 128001,
        "quantization_config": {"quant_method": "bitnet", "linear_class": "autobitlinear",
                                "quantization_mode": "online" if arguments.master else "offline"}}, indent=1) + "\n")


if __name__ == "__main__":
    main()
