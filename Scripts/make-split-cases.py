#!/usr/bin/env python3
"""Writes the expected pieces of the split patterns: Tests/TokenizationTests/Fixtures/split-cases.jsonl.

usage: pip install tokenizers==0.23.3; python make-split-cases.py OUTPUT [TEXTS.jsonl]

Each line has a text and, for each pattern, the lengths of its pieces in UTF-8 bytes. The "text" of each line of
TEXTS.jsonl is added to the random texts. The reference is Hugging Face tokenizers and not Python's `regex`, because the
latter follows the newest Unicode, in which some scalars are letters that no tokenizer in use treats as letters.
"""
import json
import random
import sys
from tokenizers import Regex, pre_tokenizers

LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
          r"|\s*[\r\n]+|\s+(?!\S)|\s+")
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
SPLITTERS = {name: pre_tokenizers.Split(Regex(pattern), "isolated")
             for name, pattern in (("llama3", LLAMA3), ("gpt2", GPT2))}

TRICKY = list(" \t\n\r'aAsStTrReEvVmMlLdD1.,!<|>") + [
    "  ", "\r\n", "'s", "'LL", "'\u017f", "\u017f", "\u212a", "\u00a0", "\u0085", "\u2003", "\u2028", "\u3000",
    "\u200b", "\ufeff", "\u180e", "\x1c", "\x0b", "\u0301", "é", "ß", "你", "٣", "½", "Ⅷ", "😀", "\u200d", "\U000e0041",
    "𝟙", "\ud7ff", "\uffff", "\x00"]
RANGES = [(0x20, 0x7F), (0x20, 0x7F), (0x80, 0x250), (0x250, 0x530), (0x590, 0x1000), (0x1000, 0x2000),
          (0x2000, 0x3100), (0x3100, 0xD800), (0xE000, 0x10000), (0x10000, 0x20000), (0x20000, 0x110000)]


def random_texts(count=2000):
    choose = random.Random(1)
    for index in range(count):
        length = choose.randint(1, 24)
        if index % 2:
            yield "".join(choose.choice(TRICKY) for _ in range(length))
        else:
            ranges = [choose.choice(RANGES) for _ in range(choose.randint(1, 3))]
            yield "".join(chr(choose.randrange(*choose.choice(ranges))) for _ in range(length))


def lengths(name, text):
    pieces = [piece for piece, _ in SPLITTERS[name].pre_tokenize_str(text)]
    assert "".join(pieces) == text
    return [len(piece.encode()) for piece in pieces]


def main():
    texts = list(random_texts())
    for path in sys.argv[2:]:
        with open(path) as f:
            texts += [json.loads(line)["text"] for line in f]
    with open(sys.argv[1], "w") as f:
        for text in dict.fromkeys(texts):
            case = {"text": text} | {name: lengths(name, text) for name in SPLITTERS}
            f.write(json.dumps(case, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
