#!/usr/bin/env python3
"""Writes Sources/Tokenization/UnicodeClassRanges.swift: the scalars that tokenizers in use match by \\p{L}, \\p{N}
and \\s.

usage: pip install tokenizers==0.23.3 tiktoken==0.14.0; python make-unicode-table.py OUTPUT

The script asks Hugging Face tokenizers (Oniguruma) and tiktoken (Rust's regex) for the class of every scalar, and the
two must agree. Asking them instead of a Unicode database pins the table to the libraries that split texts.
"""
import sys
import tiktoken
from tokenizers import Regex, pre_tokenizers

SCALARS = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
CLASSES = [("letters", r"\p{L}", r"[^\p{L}]"), ("numbers", r"\p{N}", r"[^\p{N}]"), ("whitespace", r"\s", r"\S")]


def chunks():
    for start in range(0, len(SCALARS), 4096):
        yield "".join(map(chr, SCALARS[start:start + 4096]))


def members_huggingface(inverse):
    remover = pre_tokenizers.Split(Regex(inverse), "removed")
    return {ord(ch) for text in chunks() for piece, _ in remover.pre_tokenize_str(text) for ch in piece}


def members_tiktoken(pattern):
    byte_ranks = {bytes([b]): b for b in range(256)}
    matcher = tiktoken.Encoding("class", pat_str=pattern, mergeable_ranks=byte_ranks, special_tokens={})
    return {ord(ch) for text in chunks() for ch in bytes(matcher.encode_ordinary(text)).decode()}


def ranges(members):
    out = []
    for c in sorted(members):
        if out and out[-1][1] == c - 1:
            out[-1][1] = c
        else:
            out.append([c, c])
    return out


def main():
    lines = [
        "// Made by Scripts/make-unicode-table.py; do not edit.",
        "// swift-format-ignore-file",
        "",
        "/// The scalars of `\\p{L}`, `\\p{N}` and `\\s` in Unicode 16: first and last scalar of each range, sorted.",
        "/// Hugging Face tokenizers 0.23 and tiktoken 0.14 agree on them.",
        "///",
        "/// The properties of the standard library follow the Unicode version of the toolchain. A letter that a",
        "/// later version adds would change how text is split, and with it the tokens.",
        "enum UnicodeClassRanges {",
    ]
    for name, pattern, inverse in CLASSES:
        members = members_huggingface(inverse)
        if members != members_tiktoken(pattern):
            sys.exit(f"{pattern}: tokenizers and tiktoken disagree")
        flat = [f"0x{edge:X}" for r in ranges(members) for edge in r]
        lines.append(f"  static let {name}: [UInt32] = [")
        for i in range(0, len(flat), 12):
            lines.append("    " + ", ".join(flat[i:i + 12]) + ",")
        lines.append("  ]")
        lines.append("")
    lines[-1] = "}"
    with open(sys.argv[1], "w") as f:
        f.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
