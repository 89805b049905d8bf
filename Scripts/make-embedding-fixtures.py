#!/usr/bin/env python3
"""Write the fixtures of models with a norm before each projection, with their float64 answers.

usage: make-embedding-fixtures.py OUTPUT

OUTPUT is Tests/Fixtures. Weights come from NumPy's seeded generator and answers from embedding64.py, so the files are
reproducible bit for bit. Needs numpy.

  embedding-qwen3                 bfloat16 masters, names without "model.", prompts, last-token pooling; and as GGUF
                                  in the form of Microsoft's converter (model.gguf)
  embedding-gemma3                causal, windows and local rotary base in two of three layers; and as GGUF
  embedding-gemma3-bidirectional  attention in both directions, mean pooling, parameters of transformers 5
  llama-normed-yarn               packed, use_rms_norm, YaRN
"""
import argparse
import json
import math
import struct
from pathlib import Path

import numpy as np

import embedding64 as oracle
from fixture_files import bfloat16, write_safetensors

LENGTHS = (1, 7, 64)
VOCABULARY = 257  # bytes and the token that ends a text
END = 256
TEXTS = ["The cat sat on the mat.", "A feline rested upon a rug.", "Quarterly revenue grew by 12 %.",
         "Grüße aus Köln: 日本語 🙂", "ok", "long " * 40]
PROMPT = "query: "
PROJECTIONS = {"q": "self_attn.q_proj", "k": "self_attn.k_proj", "v": "self_attn.v_proj", "o": "self_attn.o_proj",
               "gate": "mlp.gate_proj", "up": "mlp.up_proj", "down": "mlp.down_proj"}
NORMS = {"in_norm": "input_layernorm", "q_norm": "self_attn.q_norm", "k_norm": "self_attn.k_norm"}
QWEN3 = {**NORMS, "ffn_norm": "post_attention_layernorm"}
GEMMA3 = {**NORMS, "post_norm": "post_attention_layernorm", "ffn_norm": "pre_feedforward_layernorm",
          "ffn_post_norm": "post_feedforward_layernorm"}
GGUF_NAMES = {"in_norm": "attn_norm", "q_norm": "attn_q_norm", "k_norm": "attn_k_norm",
              "post_norm": "post_attention_norm", "ffn_norm": "ffn_norm", "ffn_post_norm": "post_ffw_norm",
              "q": "attn_q", "k": "attn_k", "v": "attn_v", "o": "attn_output", "gate": "ffn_gate", "up": "ffn_up",
              "down": "ffn_down"}


def widened(bits):
    return (bits.astype(np.uint32) << 16).view(np.float32)


# ---------------------------------------------------------------- weights
def shapes(config):
    hidden, ffn, size = config["hidden_size"], config["intermediate_size"], config["head_dim"]
    query, kv = config["num_attention_heads"] * size, config["num_key_value_heads"] * size
    return {"q": (query, hidden), "k": (kv, hidden), "v": (kv, hidden), "o": (hidden, query), "gate": (ffn, hidden),
            "up": (ffn, hidden), "down": (hidden, ffn)}


def weights(generator, config, norms, less_one):
    """-> arrays as embedding64.Model takes them, with master weights in place of (codes, scale); norms as they act"""
    hidden = config["hidden_size"]
    width = {"q_norm": config["head_dim"], "k_norm": config["head_dim"]}

    def norm(count):
        if less_one:  # multiples of 1/256, so that 1 + w is exact in half precision
            return 1 + np.clip(np.rint(0.3 * generator.standard_normal(count) * 256), -200, 250) / 256
        signs = np.where(generator.random(count) < 0.05, -1, 1)
        return widened(bfloat16(generator.uniform(0.6, 1.4, count) * signs))
    # Multiples of 2^-12, so that half precision holds them too.
    embed = np.rint((0.08 if less_one else 0.5) * generator.standard_normal((VOCABULARY, hidden)) * 4096) / 4096
    arrays = {"embed": widened(bfloat16(embed)), "norm": norm(hidden)}
    for layer in range(config["num_hidden_layers"]):
        for name in norms:
            arrays[f"{layer}.{name}"] = norm(width.get(name, hidden))
        for name, shape in shapes(config).items():
            arrays[f"{layer}.{name}"] = widened(bfloat16(0.08 * generator.standard_normal(shape)))
            arrays[f"{layer}.{name}_in"] = widened(
                bfloat16(generator.uniform(0.6, 1.4, shape[1]) * np.where(generator.random(shape[1]) < 0.05, -1, 1)))
    return arrays


def checkpoint(arrays, config, norms, prefix, less_one):
    stored = {"embed": "embed_tokens.weight", "norm": "norm.weight"}
    for layer in range(config["num_hidden_layers"]):
        block = f"layers.{layer}."
        stored |= {f"{layer}.{key}": f"{block}{name}.weight" for key, name in norms.items()}
        stored |= {f"{layer}.{key}": f"{block}{name}.weight" for key, name in PROJECTIONS.items()}
        stored |= {f"{layer}.{key}_in": f"{block}{name}.norm.weight" for key, name in PROJECTIONS.items()}

    def own(key):
        return less_one and (key == "norm" or key.split(".")[-1] in norms)
    return {prefix + name: ("BF16", bfloat16(arrays[key] - 1 if own(key) else arrays[key]))
            for key, name in stored.items()}


# ---------------------------------------------------------------- answers
def quantised(arrays, rounding=float):
    result = {}
    for key, array in arrays.items():
        if key.split(".")[-1] in PROJECTIONS:
            codes, scale = oracle.absmean(array)
            result[key] = codes, float(rounding(scale))
        else:
            result[key] = array
    return result


def settings(config, **own):
    layers, size = config["num_hidden_layers"], config["head_dim"]
    theta = config.get("rope_theta", 1e6)
    plain = {"layers": layers, "heads": config["num_attention_heads"], "kv_heads": config["num_key_value_heads"],
             "head_size": size, "epsilon": config["rms_norm_eps"], "projection_epsilon": config["rms_norm_eps"],
             "activation": "silu", "embedding_scale": 1.0, "attention_scale": size**-0.5, "windows": [None] * layers,
             "frequencies": [(1 / oracle.plain_frequencies(theta, size), 1.0)] * layers, "bidirectional": False}
    return {**plain, **own}


def tokens(text):
    return list(text.encode()) + [END]


def answers(model, generator, pooling, logits=False):
    expected = {}
    for length in LENGTHS:
        while True:  # away from exact rounding ties, which float64 itself decides by its last bit
            ids = generator.integers(0, 256, length)
            oracle.nearest_tie[0] = 1.0
            result = model.logits(ids) if logits else model.hidden(ids)
            if oracle.nearest_tie[0] > 1e-9:
                break
        expected[f"f64_{length}"] = ("F64", result.astype("<f8"))
        expected[f"ids_{length}"] = ("I32", ids.astype("<i4"))
    for index, text in enumerate([] if logits else TEXTS + [PROMPT + TEXTS[0]]):
        oracle.nearest_tie[0] = 1.0
        expected[f"text_{index}"] = ("F64", oracle.pooled(model.hidden(tokens(text)), pooling).astype("<f8"))
        assert oracle.nearest_tie[0] > 1e-10, text
    return dict(sorted(expected.items(), key=lambda item: (-item[1][1].itemsize, item[0])))


# ---------------------------------------------------------------- files around the weights
def byte_characters():
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return [chr(byte) if byte in plain else chr(next(others)) for byte in range(256)]


def write_json(path, value):
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def write_tokenizer(folder):
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    template = [{"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}}]
    pair = template[:1] + [{"Sequence": {"id": "B", "type_id": 1}}]
    write_json(folder / "tokenizer.json", {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [{"id": END, "content": "<|endoftext|>", "single_word": False, "lstrip": False,
                          "rstrip": False, "normalized": False, "special": True}],
        "normalizer": None, "pre_tokenizer": level, "decoder": level,
        "post_processor": {"type": "TemplateProcessing", "single": template, "pair": pair, "special_tokens": {
            "<|endoftext|>": {"id": "<|endoftext|>", "ids": [END], "tokens": ["<|endoftext|>"]}}},
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                  "vocab": {character: byte for byte, character in enumerate(byte_characters())}, "merges": []}})


def write_sentence_files(folder, pooling, hidden):
    kinds = ["Transformer", "Pooling", "Normalize"]
    write_json(folder / "modules.json", [
        {"idx": index, "name": str(index), "path": "" if index == 0 else f"{index}_{kind}",
         "type": f"sentence_transformers.models.{kind}"} for index, kind in enumerate(kinds)])
    write_json(folder / "1_Pooling/config.json", {
        "word_embedding_dimension": hidden, "pooling_mode_cls_token": False,
        "pooling_mode_mean_tokens": pooling == "mean", "pooling_mode_lasttoken": pooling == "last",
        "include_prompt": True})
    write_json(folder / "config_sentence_transformers.json", {
        "prompts": {"query": PROMPT, "document": ""}, "default_prompt_name": None, "similarity_fn_name": "cosine"})


def gguf_string(text):
    return struct.pack("<Q", len(text.encode())) + text.encode()


def gguf_value(value):
    if isinstance(value, bool):
        return struct.pack("<I?", 7, value)
    if isinstance(value, int):
        return struct.pack("<II", 4, value)
    if isinstance(value, float):
        return struct.pack("<If", 6, value)
    if isinstance(value, str):
        return struct.pack("<I", 8) + gguf_string(value)
    if not value or isinstance(value[0], str):
        return struct.pack("<IIQ", 9, 8, len(value)) + b"".join(map(gguf_string, value))
    return struct.pack("<IIQ", 9, 5, len(value)) + struct.pack(f"<{len(value)}i", *value)


def write_gguf(path, architecture, config, arrays, norms):
    """In the form of Microsoft's converter: I2_S, norms and embedding in half precision, no keys about windows."""
    sizes = {"context_length": config["max_position_embeddings"], "embedding_length": config["hidden_size"],
             "block_count": config["num_hidden_layers"], "feed_forward_length": config["intermediate_size"],
             "attention.head_count": config["num_attention_heads"],
             "attention.head_count_kv": config["num_key_value_heads"], "attention.key_length": config["head_dim"],
             "attention.value_length": config["head_dim"],
             "attention.layer_norm_rms_epsilon": float(config["rms_norm_eps"]),
             "rope.freq_base": float(config["rope_theta"]), "pooling_type": 3}
    meta = {"general.architecture": architecture, "general.name": "fixture", "general.file_type": 40,
            **{f"{architecture}.{key}": value for key, value in sizes.items()},
            "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "qwen2",
            "tokenizer.ggml.tokens": byte_characters() + ["<|endoftext|>"],
            "tokenizer.ggml.token_type": [1] * 256 + [3], "tokenizer.ggml.merges": [],
            "tokenizer.ggml.eos_token_id": END, "tokenizer.ggml.add_eos_token": True}
    tensors = []

    def half(name, array):
        tensors.append((name, array.shape[::-1], 1, array.astype("<f2").tobytes()))
    half("token_embd.weight", arrays["embed"])
    half("output_norm.weight", arrays["norm"])
    for layer in range(config["num_hidden_layers"]):
        for key in norms:
            half(f"blk.{layer}.{GGUF_NAMES[key]}.weight", arrays[f"{layer}.{key}"])
        for key in PROJECTIONS:
            half(f"blk.{layer}.{GGUF_NAMES[key]}_norm_in.weight", arrays[f"{layer}.{key}_in"])
            codes, scale = oracle.absmean(arrays[f"{layer}.{key}"])
            fields = (codes.reshape(-1, 4, 32) + 1).astype(np.uint8)
            packed = fields[:, 0] << 6 | fields[:, 1] << 4 | fields[:, 2] << 2 | fields[:, 3]
            tail = struct.pack("<f", scale) + bytes(28)
            tensors.append((f"blk.{layer}.{GGUF_NAMES[key]}.weight", codes.shape[::-1], 36, packed.tobytes() + tail))
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(meta))
    head += b"".join(gguf_string(key) + gguf_value(value) for key, value in meta.items())
    offset, data = 0, b""
    for name, dimensions, kind, raw in tensors:
        head += gguf_string(name) + struct.pack("<I", len(dimensions))
        head += struct.pack(f"<{len(dimensions)}Q", *dimensions) + struct.pack("<IQ", kind, offset)
        raw += bytes(-len(raw) % 32)
        data += raw
        offset += len(raw)
    path.write_bytes(head + bytes(-len(head) % 32) + data)


# ---------------------------------------------------------------- fixtures
BASE = {"hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 4, "head_dim": 32, "rms_norm_eps": 1e-6,
        "vocab_size": VOCABULARY, "max_position_embeddings": 1024, "attention_bias": False, "eos_token_id": END,
        "tie_word_embeddings": True}


def qwen3(folder, generator):
    config = {**BASE, "architectures": ["Qwen3Model"], "model_type": "qwen3", "hidden_act": "silu",
              "num_hidden_layers": 2, "num_key_value_heads": 2, "rope_theta": 1000000.0, "use_sliding_window": False,
              "sliding_window": None, "max_window_layers": 2}
    arrays = weights(generator, config, QWEN3, False)
    write_safetensors(folder / "model.safetensors", checkpoint(arrays, config, QWEN3, "", False))
    write_json(folder / "config.json", config)
    write_sentence_files(folder, "last", config["hidden_size"])
    expected = answers(oracle.Model(settings(config), quantised(arrays)), generator, "last")
    write_safetensors(folder / "expected.safetensors", expected)
    write_gguf(folder / "model.gguf", "qwen3", config, arrays, QWEN3)
    expected = answers(oracle.Model(settings(config), quantised(arrays, np.float32)), generator, "last")
    write_safetensors(folder / "expected-gguf.safetensors", expected)


GEMMA = {**BASE, "architectures": ["Gemma3TextModel"], "model_type": "gemma3_text",
         "hidden_activation": "gelu_pytorch_tanh", "num_hidden_layers": 3, "num_key_value_heads": 1,
         "query_pre_attn_scalar": 48, "sliding_window": 24}


def gemma_settings(config, window, sliding, **own):
    size = config["head_dim"]
    local, full = ((1 / oracle.plain_frequencies(theta, size), 1.0) for theta in (10000.0, 1000000.0))
    return settings(config, activation="gelu", embedding_scale=math.sqrt(config["hidden_size"]),
                    windows=[window if layer else None for layer in sliding],
                    frequencies=[local if layer else full for layer in sliding],
                    **{"attention_scale": config["query_pre_attn_scalar"]**-0.5, **own})


def gemma3(folder, generator):
    config = {**GEMMA, "rope_theta": 1000000.0, "rope_local_base_freq": 10000.0, "_sliding_window_pattern": 3}
    arrays = weights(generator, config, GEMMA3, True)
    write_safetensors(folder / "model.safetensors", checkpoint(arrays, config, GEMMA3, "model.", True))
    write_json(folder / "config.json", config)
    write_sentence_files(folder, "last", config["hidden_size"])
    model = oracle.Model(gemma_settings(config, 24, (True, True, False)), quantised(arrays))
    write_safetensors(folder / "expected.safetensors", answers(model, generator, "last"))
    # What the file does not say is as in Gemma 3: five of six layers are local, with a window of 512.
    write_gguf(folder / "model.gguf", "gemma3", config, arrays, GEMMA3)
    own = gemma_settings(config, 512, (True, True, True), attention_scale=config["head_dim"]**-0.5)
    model = oracle.Model(own, quantised(arrays, np.float32))
    write_safetensors(folder / "expected-gguf.safetensors", answers(model, generator, "last"))


def gemma3_bidirectional(folder, generator):
    config = {**GEMMA, "use_bidirectional_attention": True,
              "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
              "rope_parameters": {"full_attention": {"rope_theta": 1000000.0, "rope_type": "default"},
                                  "sliding_attention": {"rope_theta": 10000.0, "rope_type": "default"}}}
    arrays = weights(generator, config, GEMMA3, True)
    write_safetensors(folder / "model.safetensors", checkpoint(arrays, config, GEMMA3, "model.", True))
    write_json(folder / "config.json", config)
    write_sentence_files(folder, "mean", config["hidden_size"])
    # Half of the window on each side.
    own = gemma_settings(config, 24 // 2 + 1, (True, False, True), bidirectional=True)
    write_safetensors(folder / "expected.safetensors",
                      answers(oracle.Model(own, quantised(arrays)), generator, "mean"))


def llama_normed(folder, generator):
    scaling = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}
    config = {**BASE, "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
              "num_hidden_layers": 2, "num_key_value_heads": 2, "rope_theta": 10000.0, "rope_scaling": scaling,
              "quantization_config": {"quant_method": "bitnet", "modules_to_not_convert": None, "use_rms_norm": True,
                                      "rms_norm_eps": 1e-4}}
    norms = {"in_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm"}
    arrays = weights(generator, config, norms, False)
    tensors = {"model.embed_tokens.weight": ("BF16", bfloat16(arrays["embed"])),
               "model.norm.weight": ("BF16", bfloat16(arrays["norm"]))}
    for layer in range(config["num_hidden_layers"]):
        block = f"model.layers.{layer}."
        for key, name in norms.items():
            tensors[f"{block}{name}.weight"] = ("BF16", bfloat16(arrays[f"{layer}.{key}"]))
        for key, name in PROJECTIONS.items():
            codes, scale = oracle.absmean(arrays[f"{layer}.{key}"])
            quarters = (codes + 1).astype(np.uint8).reshape(4, codes.shape[0] // 4, codes.shape[1])
            packed = quarters[0] | quarters[1] << 2 | quarters[2] << 4 | quarters[3] << 6
            reciprocal = np.array([1 / scale], np.float32)
            tensors[f"{block}{name}.weight"] = ("U8", packed)
            tensors[f"{block}{name}.weight_scale"] = ("F32", reciprocal)
            tensors[f"{block}{name}.rms_norm.weight"] = ("BF16", bfloat16(arrays[f"{layer}.{key}_in"]))
            arrays[f"{layer}.{key}"] = codes, 1 / float(reciprocal[0])
    write_safetensors(folder / "model.safetensors", tensors)
    write_json(folder / "config.json", config)
    frequencies = oracle.yarn_frequencies(config["rope_theta"], config["head_dim"], scaling)
    own = settings(config, projection_epsilon=1e-4, frequencies=[frequencies] * config["num_hidden_layers"])
    write_safetensors(folder / "expected.safetensors", answers(oracle.Model(own, arrays), generator, "last", True))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path)
    arguments = parser.parse_args()
    fixtures = {"embedding-qwen3": qwen3, "embedding-gemma3": gemma3,
                "embedding-gemma3-bidirectional": gemma3_bidirectional, "llama-normed-yarn": llama_normed}
    for seed, (name, make) in enumerate(fixtures.items()):
        folder = arguments.output / name
        folder.mkdir(parents=True, exist_ok=True)
        if name.startswith("embedding"):
            write_tokenizer(folder)
        make(folder, np.random.default_rng(200 + seed))
        print(name, sum(file.stat().st_size for file in folder.rglob("*.*")))


if __name__ == "__main__":
    main()
