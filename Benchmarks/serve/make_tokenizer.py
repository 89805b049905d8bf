#!/usr/bin/env python3
"""Add a tokenizer to a random model, so that servers can read prompts and write answers.

usage: make_tokenizer.py FOLDER

FOLDER is a Hugging Face folder written by Benchmarks/engine/make_model.py. The tokenizer is a byte-level BPE with the
pattern of Llama 3, like that of the models whose shape FOLDER has. Its tokens are the bytes, and then the shortest
sequences of lower-case letters, with and without a space before them. Only the tokens that begin and end a text are
special, so that servers show all others.
"""
import argparse
import itertools
import json
from pathlib import Path

PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
LETTERS = "etaoinshrdlucmfwypvbgkjqxz"
SPACE = "\u0120"


def byte_names():
    """The characters by which byte-level vocabularies write the bytes 0 to 255."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    names = {byte: chr(byte) for byte in shown}
    for place, byte in enumerate(byte for byte in range(256) if byte not in names):
        names[byte] = chr(256 + place)
    return [names[byte] for byte in range(256)]


def merges():
    """Pairs of tokens, each of which exists before it is needed; endless for this purpose."""
    for length in itertools.count(1):
        for letters in itertools.product(LETTERS, repeat=length):
            word = "".join(letters)
            if length > 1:
                yield word[:-1], word[-1]
            yield (SPACE + word[:-1], word[-1]) if length > 1 else (SPACE, word)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    configuration = json.loads((folder / "config.json").read_text())
    begin = configuration["bos_token_id"]
    vocabulary = {name: index for index, name in enumerate(byte_names())}
    pairs = list(itertools.islice(merges(), begin - len(vocabulary)))
    for pair in pairs:
        vocabulary["".join(pair)] = len(vocabulary)
    special = ["<|begin_of_text|>", "<|end_of_text|>"]
    special += [f"<|reserved_{index}|>" for index in range(configuration["vocab_size"] - begin - len(special))]
    tokenizer = {
        "version": "1.0", "truncation": None, "padding": None, "normalizer": None,
        "added_tokens": [
            {"id": begin + place, "content": content, "single_word": False, "lstrip": False, "rstrip": False,
             "normalized": False, "special": place < 2} for place, content in enumerate(special)],
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": PATTERN}, "behavior": "Isolated", "invert": False},
            {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}]},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": special[0], "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {special[0]: {"id": special[0], "ids": [begin], "tokens": [special[0]]}}},
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {
            "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
            "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
            "vocab": vocabulary, "merges": [list(pair) for pair in pairs]},
    }
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer, ensure_ascii=False))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": special[0], "eos_token": special[1]}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=1) + "\n")


if __name__ == "__main__":
    main()
