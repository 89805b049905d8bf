#!/usr/bin/env python3
"""Write a random embedding model of bitnet-embedding-0.6b's shape as a folder that sentence-transformers reads too.

usage: make_model.py FOLDER [--layers 28]

It generates noise, but costs the same as the real model: bfloat16 masters, a norm before each projection, and a
byte-level tokenizer without merges, so that a text has as many tokens as bytes, and one more. PyTorch takes the same
weights for a plain Qwen 3, without these norms. 1.2 GB; needs numpy.
"""
import argparse
import json
from pathlib import Path

import numpy as np

HIDDEN, FFN, HEADS, KV_HEADS, SIZE, VOCABULARY, END = 1024, 3072, 16, 8, 128, 151936, 256
PROJECTIONS = {
    "self_attn.q_proj": (HEADS * SIZE, HIDDEN), "self_attn.k_proj": (KV_HEADS * SIZE, HIDDEN),
    "self_attn.v_proj": (KV_HEADS * SIZE, HIDDEN), "self_attn.o_proj": (HIDDEN, HEADS * SIZE),
    "mlp.gate_proj": (FFN, HIDDEN), "mlp.up_proj": (FFN, HIDDEN), "mlp.down_proj": (HIDDEN, FFN),
}
NORMS = {"input_layernorm": HIDDEN, "post_attention_layernorm": HIDDEN, "self_attn.q_norm": SIZE,
         "self_attn.k_norm": SIZE}
CONFIGURATION = {
    "architectures": ["Qwen3Model"], "model_type": "qwen3", "hidden_size": HIDDEN, "intermediate_size": FFN,
    "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS, "head_dim": SIZE, "hidden_act": "silu",
    "vocab_size": VOCABULARY, "max_position_embeddings": 32768, "rms_norm_eps": 1e-6, "rope_theta": 1000000.0,
    "attention_bias": False, "tie_word_embeddings": True, "eos_token_id": END, "torch_dtype": "bfloat16",
    "use_sliding_window": False, "sliding_window": None,
}


def bfloat16(values):
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype("<u2")


def tensors(layers):
    """-> (name, shape, centre, spread) in the order of the file"""
    yield "embed_tokens.weight", (VOCABULARY, HIDDEN), 0, 0.05
    yield "norm.weight", (HIDDEN,), 1, 0.1
    for layer in range(layers):
        block = f"layers.{layer}."
        for name, width in NORMS.items():
            yield f"{block}{name}.weight", (width,), 1, 0.1
        for name, shape in PROJECTIONS.items():
            yield f"{block}{name}.weight", shape, 0, 0.02
            yield f"{block}{name}.norm.weight", shape[1:], 1, 0.1


def write_json(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def tokenizer():
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    vocabulary = {chr(byte) if byte in plain else chr(next(others)): byte for byte in range(256)}
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    single = [{"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}}]
    return {
        "version": "1.0", "truncation": None, "padding": None, "normalizer": None, "pre_tokenizer": level,
        "decoder": level, "added_tokens": [
            {"id": END, "content": "<|endoftext|>", "single_word": False, "lstrip": False, "rstrip": False,
             "normalized": False, "special": True}],
        "post_processor": {
            "type": "TemplateProcessing", "single": single,
            "pair": single[:1] + [{"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<|endoftext|>": {"id": "<|endoftext|>", "ids": [END], "tokens": ["<|endoftext|>"]}}},
        "model": {
            "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
            "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
            "vocab": vocabulary, "merges": []}}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--layers", type=int, default=28)
    arguments = parser.parse_args()
    folder = arguments.folder
    write_json(folder / "config.json", {**CONFIGURATION, "num_hidden_layers": arguments.layers,
                                        "max_window_layers": arguments.layers})
    write_json(folder / "tokenizer.json", tokenizer())
    write_json(folder / "tokenizer_config.json", {
        "tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "<|endoftext|>", "eos_token": "<|endoftext|>",
        "padding_side": "left", "model_max_length": 32768})
    write_json(folder / "modules.json", [
        {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for index, (path, kind) in enumerate(
            [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")])])
    write_json(folder / "1_Pooling/config.json", {
        "word_embedding_dimension": HIDDEN, "pooling_mode_cls_token": False, "pooling_mode_mean_tokens": False,
        "pooling_mode_lasttoken": True, "include_prompt": True})
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, shape, _, _ in tensors(arguments.layers):
        size = 2 * int(np.prod(shape))
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    generator = np.random.default_rng(1)
    with open(folder / "model.safetensors", "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for _, shape, centre, spread in tensors(arguments.layers):
            rows = shape[0] if len(shape) > 1 else 1
            columns = shape[-1]
            for start in range(0, rows, 4096):
                values = generator.standard_normal((min(4096, rows - start), columns), np.float32)
                file.write(bfloat16(centre + spread * values).tobytes())


if __name__ == "__main__":
    main()
