#!/usr/bin/env python3
"""Write the fixtures under Tests/Fixtures for which the oracle has no checkpoint.

usage: make-fixtures.py ORACLE OUTPUT

ORACLE is a folder with ref64.py, the independent float64 forward pass; OUTPUT is Tests/Fixtures. Weights come from
NumPy's seeded generator and float64 logits from ref64.py, so the files are reproducible bit for bit. Needs numpy.

  llama-online-scaled-tied   bfloat16 masters, multi-head attention, Llama 3.1's rotary scaling, tied
  bitnet-packed-divided-mqa  packed, reciprocal scales in float32, one key/value head, untied, two shards,
                             rope_parameters
"""
import argparse
import json
import sys
from pathlib import Path

import numpy as np

from fixture_files import bfloat16, write_safetensors

PROMPTS = (1, 7, 64, 200)
BASE = {"hidden_size": 128, "intermediate_size": 192, "num_hidden_layers": 2, "num_attention_heads": 2, "head_dim": 64,
        "vocab_size": 256, "max_position_embeddings": 1024, "rms_norm_eps": 1e-5, "bos_token_id": 0, "eos_token_id": 1}


def norms_and_embeddings(generator, config, sub_norms, tied):
    hidden, ffn = config["hidden_size"], config["intermediate_size"]
    width = config["num_attention_heads"] * config["head_dim"]

    def norm(count, centre):
        return "BF16", bfloat16(
            centre * generator.uniform(0.6, 1.4, count) * np.where(generator.random(count) < 0.05, -1, 1)
        )
    tensors = {
        "model.embed_tokens.weight": (
            "BF16",
            bfloat16(0.5 * generator.standard_normal((config["vocab_size"], hidden))),
        ),
        "model.norm.weight": norm(hidden, 1.0),
    }
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}."
        tensors[prefix + "input_layernorm.weight"] = norm(hidden, 1.2)
        tensors[prefix + "post_attention_layernorm.weight"] = norm(hidden, 1.2)
        if sub_norms:
            tensors[prefix + "self_attn.attn_sub_norm.weight"] = norm(width, 0.5)
            tensors[prefix + "mlp.ffn_sub_norm.weight"] = norm(ffn, 0.4)
    if not tied:
        tensors["lm_head.weight"] = ("BF16", bfloat16(0.4 * generator.standard_normal((config["vocab_size"], hidden))))
    return tensors


def projections(config):
    hidden, ffn, size = config["hidden_size"], config["intermediate_size"], config["head_dim"]
    width, kv = config["num_attention_heads"] * size, config["num_key_value_heads"] * size
    shapes = {"self_attn.q_proj": (width, hidden), "self_attn.k_proj": (kv, hidden), "self_attn.v_proj": (kv, hidden),
              "self_attn.o_proj": (hidden, width), "mlp.gate_proj": (ffn, hidden), "mlp.up_proj": (ffn, hidden),
              "mlp.down_proj": (hidden, ffn)}
    for layer in range(config["num_hidden_layers"]):
        for name, shape in shapes.items():
            yield f"model.layers.{layer}.{name}.weight", shape


def llama_online(folder, generator):
    config = {
        **BASE,
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        "num_key_value_heads": 2,
        "rope_theta": 500000.0,
        "tie_word_embeddings": True,
        "rope_scaling": {
            "rope_type": "llama3",
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 128,
        },
        "quantization_config": {
            "quant_method": "bitnet",
            "linear_class": "autobitlinear",
            "quantization_mode": "online",
        },
    }
    tensors = norms_and_embeddings(generator, config, sub_norms=False, tied=True)
    for name, shape in projections(config):
        tensors[name] = ("BF16", bfloat16(0.06 * generator.standard_normal(shape)))
    write_safetensors(folder / "model.safetensors", tensors)
    return config, config


def bitnet_packed(folder, generator):
    config = {
        **BASE,
        "architectures": ["BitNetForCausalLM"],
        "model_type": "bitnet",
        "hidden_act": "relu2",
        "num_key_value_heads": 1,
        "rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"},
        "tie_word_embeddings": False,
        "quantization_config": {"quant_method": "bitnet", "linear_class": "bitlinear", "quantization_mode": "offline"},
    }
    tensors = norms_and_embeddings(generator, config, sub_norms=True, tied=False)
    for name, (rows, columns) in projections(config):
        codes = generator.integers(0, 3, (4, rows // 4, columns), dtype=np.uint8)
        tensors[name] = ("U8", codes[0] | codes[1] << 2 | codes[2] << 4 | codes[3] << 6)
        tensors[name + "_scale"] = ("F32", np.array([generator.uniform(5, 20)], np.float32))
    names = list(tensors)
    parts = names[:len(names) // 2], names[len(names) // 2:]
    index = {}
    for number, part in enumerate(parts, 1):
        file = f"model-{number:05d}-of-00002.safetensors"
        write_safetensors(folder / file, {name: tensors[name] for name in part})
        index.update(dict.fromkeys(part, file))
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {}, "weight_map": index}, indent=1) + "\n"
    )
    return config, {**config, "rope_theta": 10000.0}  # ref64.py knows the older spelling


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("oracle", type=Path)
    parser.add_argument("output", type=Path)
    arguments = parser.parse_args()
    sys.path.insert(0, str(arguments.oracle))
    import ref64

    for seed, (name, make) in enumerate(
        {"llama-online-scaled-tied": llama_online, "bitnet-packed-divided-mqa": bitnet_packed}.items()
    ):
        generator = np.random.default_rng(100 + seed)
        folder = arguments.output / name
        folder.mkdir(parents=True, exist_ok=True)
        config, spelt_for_oracle = make(folder, generator)
        (folder / "config.json").write_text(json.dumps(spelt_for_oracle, indent=1) + "\n")
        model = ref64.Model(folder)
        (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
        expected = {}
        for length in PROMPTS:
            while True:  # away from exact rounding ties, which float64 itself decides by its last bit
                ids = generator.integers(2, config["vocab_size"], length)
                ref64.nearest_tie[0] = 1.0
                logits = model(ids)
                if length > 64 or ref64.nearest_tie[0] > 1e-9:
                    break
            if length <= 64:
                expected[f"f64_{length}"] = ("F64", logits.astype("<f8"))
            expected[f"ids_{length}"] = ("I32", ids.astype("<i4"))
        ordered = dict(sorted(expected.items(), key=lambda item: (-item[1][1].itemsize, item[0])))
        write_safetensors(folder / "expected.safetensors", ordered)
        print(name, "logits std %.2f" % logits.std())


if __name__ == "__main__":
    main()
