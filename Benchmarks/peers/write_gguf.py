#!/usr/bin/env python3
"""Write a packed BitNet checkpoint as GGUF for llama.cpp: codes in TQ2_0, the tied embedding in F16.

usage: write_gguf.py FOLDER OUTPUT

FOLDER is a Hugging Face folder written by Benchmarks/engine/make_model.py, with a tokenizer if
Benchmarks/serve/make_tokenizer.py has added one. Only one tensor at a time is in memory. Needs numpy and gguf.
"""
import argparse
import json
import sys
from pathlib import Path

import gguf
import numpy as np

BLOCK = 256
LAYER_NAMES = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.attn_sub_norm": "attn_sub_norm",
    "mlp.ffn_sub_norm": "ffn_sub_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


class Checkpoint:
    """A memory-mapped safetensors file."""

    def __init__(self, path):
        self.file = np.memmap(path, np.uint8, "r")
        start = 8 + int.from_bytes(self.file[:8].tobytes(), "little")
        self.tensors = json.loads(self.file[8:start].tobytes())
        self.tensors.pop("__metadata__", None)
        self.start = start

    def bytes(self, name):
        first, last = self.tensors[name]["data_offsets"]
        return self.file[self.start + first:self.start + last].reshape(*self.tensors[name]["shape"], -1)

    def floats(self, name):
        bits = self.bytes(name).view("<u2")[..., 0]
        return (bits.astype(np.uint32) << 16).view(np.float32)


def tq2_0(packed, scale):
    """Return rows of blocks of 66 bytes. Both formats hold code + 1 in two bits; they differ in the order, and TQ2_0
    has the scale in each block."""
    # Bits 2j and 2j+1 of a byte belong to quarter j of the rows.
    fields = np.concatenate([packed >> 2 * j & 3 for j in range(4)])
    rows, columns = fields.shape
    # A block consists of two halves, each with four runs of 32 columns that share 32 bytes.
    fields = fields.reshape(rows, columns // BLOCK, 2, 4, 32)
    codes = fields[..., 0, :] | fields[..., 1, :] << 2 | fields[..., 2, :] << 4 | fields[..., 3, :] << 6
    scales = np.broadcast_to(np.array([scale], "<f2").view(np.uint8), (rows, columns // BLOCK, 2))
    return np.concatenate([codes.reshape(rows, columns // BLOCK, 64), scales], axis=-1).reshape(rows, -1)


def gguf_name(name):
    if name == "model.embed_tokens.weight":
        return "token_embd.weight"
    if name == "model.norm.weight":
        return "output_norm.weight"
    layer, _, part = name.removeprefix("model.layers.").removesuffix(".weight").partition(".")
    return f"blk.{layer}.{LAYER_NAMES[part]}.weight"


def add_tokenizer(writer, tokenizer, configuration):
    tokens = {index: token for token, index in tokenizer["model"]["vocab"].items()}
    added = {token["id"]: token["content"] for token in tokenizer["added_tokens"]}
    types = {token["id"]: gguf.TokenType.CONTROL if token["special"] else gguf.TokenType.USER_DEFINED
             for token in tokenizer["added_tokens"]}
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("llama-bpe")
    everything = [(tokens | added)[index] for index in range(configuration["vocab_size"])]
    writer.add_token_list(everything)
    writer.add_token_types([types.get(index, gguf.TokenType.NORMAL) for index in range(len(everything))])
    writer.add_token_merges([" ".join(merge) for merge in tokenizer["model"]["merges"]])
    writer.add_bos_token_id(configuration["bos_token_id"])
    writer.add_eos_token_id(configuration["eos_token_id"])
    writer.add_add_bos_token(True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("output", type=Path)
    arguments = parser.parse_args()
    try:
        configuration = json.loads((arguments.folder / "config.json").read_text())
        checkpoint = Checkpoint(arguments.folder / "model.safetensors")
    except (OSError, ValueError) as error:
        sys.exit(f"write_gguf.py: {arguments.folder} is no checkpoint: {error}")

    writer = gguf.GGUFWriter(arguments.output, "bitnet")
    writer.add_vocab_size(configuration["vocab_size"])
    writer.add_context_length(configuration["max_position_embeddings"])
    writer.add_embedding_length(configuration["hidden_size"])
    writer.add_block_count(configuration["num_hidden_layers"])
    writer.add_feed_forward_length(configuration["intermediate_size"])
    writer.add_head_count(configuration["num_attention_heads"])
    writer.add_head_count_kv(configuration["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(configuration["rms_norm_eps"])
    writer.add_rope_freq_base(configuration["rope_theta"])
    writer.add_rope_dimension_count(configuration["hidden_size"] // configuration["num_attention_heads"])
    tokenizer = arguments.folder / "tokenizer.json"
    if tokenizer.exists():
        add_tokenizer(writer, json.loads(tokenizer.read_text()), configuration)
    else:
        # llama-bench makes up token ids, so it needs no tokenizer.
        writer.add_tokenizer_model("none")

    names = [name for name in checkpoint.tensors if not name.endswith("_scale")]
    types = {}
    for name in names:
        shape = checkpoint.tensors[name]["shape"]
        if checkpoint.tensors[name]["dtype"] == "U8":
            shape = [4 * shape[0], shape[1]]
            types[name] = gguf.GGMLQuantizationType.TQ2_0
        else:
            types[name] = gguf.GGMLQuantizationType.F16 if len(shape) == 2 else gguf.GGMLQuantizationType.F32
        block, size = gguf.GGML_QUANT_SIZES[types[name]]
        # Declare floats, so that the shape counts values.
        writer.add_tensor_info(gguf_name(name), shape, np.dtype(np.float32), int(np.prod(shape)) // block * size,
                               types[name])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for name in names:
        if types[name] == gguf.GGMLQuantizationType.TQ2_0:
            data = tq2_0(checkpoint.bytes(name)[..., 0], checkpoint.floats(name + "_scale")[0])
        else:
            data = checkpoint.floats(name)
            if types[name] == gguf.GGMLQuantizationType.F16:
                data = data.astype(np.float16)
        writer.write_tensor_data(data)
    writer.close()


if __name__ == "__main__":
    main()
