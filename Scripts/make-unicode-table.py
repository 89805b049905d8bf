#!/usr/bin/env python3
"""Writes the Unicode tables of Sources/Tokenization/Unicode: UnicodeClassRanges.swift, UnicodeCategories.swift and
UnicodeCompositions.swift.

usage: pip install tokenizers==0.23.3 tiktoken==0.14.0; python make-unicode-table.py FOLDER

The script asks Hugging Face tokenizers (Oniguruma, Rust) and tiktoken (Rust's regex) for the class of every scalar.
Where both have a class, they must agree. Asking them instead of a Unicode database pins the tables to the libraries
that split and normalize texts: each of them follows a Unicode version of its own.
"""
import sys
from pathlib import Path
import tiktoken
from tokenizers import Regex, normalizers, pre_tokenizers

SCALARS = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
SHARED = [("letters", r"\p{L}", r"[^\p{L}]"), ("numbers", r"\p{N}", r"[^\p{N}]"), ("whitespace", r"\s", r"\S")]
CATEGORIES = ["Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Nd", "Nl", "No", "Pc", "Pd", "Ps", "Pe", "Pi", "Pf",
              "Po", "Sm", "Sc", "Sk", "So", "Zs", "Zl", "Zp", "Cc", "Cf", "Co"]
HANGUL = range(0xAC00, 0xD7A4)
HEADER = ["// Made by Scripts/make-unicode-table.py; do not edit.", "// swift-format-ignore-file", ""]


def chunks():
    for start in range(0, len(SCALARS), 4096):
        yield "".join(map(chr, SCALARS[start:start + 4096]))


def kept(pre_tokenizer):
    return {ord(ch) for text in chunks() for piece, _ in pre_tokenizer.pre_tokenize_str(text) for ch in piece}


def members_huggingface(inverse):
    return kept(pre_tokenizers.Split(Regex(inverse), "removed"))


def members_tiktoken(pattern):
    byte_ranks = {bytes([b]): b for b in range(256)}
    matcher = tiktoken.Encoding("class", pat_str=pattern, mergeable_ranks=byte_ranks, special_tokens={})
    return {ord(ch) for text in chunks() for ch in bytes(matcher.encode_ordinary(text)).decode()}


def digits():
    split = pre_tokenizers.Digits(individual_digits=True)
    return {c for c in SCALARS if len(split.pre_tokenize_str(f"a{chr(c)}a")) == 3}


def ranges(members):
    out = []
    for c in sorted(members):
        if out and out[-1][1] == c - 1:
            out[-1][1] = c
        else:
            out.append([c, c])
    return out


def table(name, numbers, comment):
    flat = [f"0x{number:X}" for number in numbers]
    lines = [f"  /// {line}" for line in comment] + [f"  static let {name}: [UInt32] = ["]
    count = 12 if max(map(len, flat)) <= 7 else 10
    lines += ["    " + ", ".join(flat[i:i + count]) + "," for i in range(0, len(flat), count)]
    return lines + ["  ]", ""]


def write(path, lines):
    while not lines[-1]:
        lines.pop()
    path.write_text("\n".join(HEADER + lines + ["}"]) + "\n")


def class_ranges():
    lines = [
        "/// Classes of scalars: first and last scalar of each range, sorted.",
        "///",
        "/// The properties of the standard library follow the Unicode version of the toolchain. A letter that a",
        "/// later version adds would change how text is split, and with it the tokens.",
        "enum UnicodeClassRanges {",
    ]
    for name, pattern, inverse in SHARED:
        members = members_huggingface(inverse)
        if members != members_tiktoken(pattern):
            sys.exit(f"{pattern}: tokenizers and tiktoken disagree")
        comment = [f"`{pattern}` of Unicode 16, on which Hugging Face tokenizers 0.23 and tiktoken 0.14 agree."]
        lines += table(name, sum(ranges(members), []), comment)
    rest = [
        ("punctuation", set(SCALARS) - kept(pre_tokenizers.Punctuation("removed")),
         ["What the pre-tokenizer Punctuation splits off: ASCII's symbols and `\\p{P}` of an older Unicode."]),
        ("digits", digits(), ["What the pre-tokenizer Digits splits off: numbers of a newer Unicode."]),
        ("wordCharacters", members_tiktoken(r"\w"), ["`\\w`, what an added token with `single_word` may not touch."]),
    ]
    for name, members, comment in rest:
        lines += table(name, sum(ranges(members), []), comment)
    return lines


def categories():
    category = {}
    for number, name in enumerate(CATEGORIES):
        for c in members_huggingface(rf"[^\p{{{name}}}]"):
            if c in category:
                sys.exit(f"U+{c:X} has two categories")
            category[c] = number
    starts, last = [], None
    for c in range(0x110000):
        number = category.get(c, len(CATEGORIES))
        if number != last:
            starts.append(c << 5 | number)
        last = number
    return [
        "/// The general category of each scalar, as Hugging Face tokenizers 0.23 (Oniguruma, Unicode 16) has it.",
        "enum UnicodeCategories {",
        "  /// The names of the categories; their positions are the numbers in `runs`.",
        "  static let names = [",
        "    " + ", ".join(f'"{name}"' for name in CATEGORIES[:14]) + ",",
        "    " + ", ".join(f'"{name}"' for name in CATEGORIES[14:]) + ",",
        '    "Cn",',
        "  ]",
        "",
    ] + table("runs", starts, ["Runs of scalars of one category: the first scalar times 32 plus the category."])


def compositions():
    nfd, nfc = normalizers.NFD().normalize_str, normalizers.NFC().normalize_str
    decompositions, pairs = [], []
    for c in SCALARS:
        whole = nfd(chr(c))
        if whole == chr(c) or c in HANGUL:
            continue
        decompositions += [c, len(whole)] + [ord(ch) for ch in whole]
        if nfc(whole) == chr(c):
            first, last = nfc(whole[:-1]), whole[-1]
            if len(first) != 1 or nfc(first + last) != chr(c):
                sys.exit(f"U+{c:X} is not composed of two scalars")
            pairs += [ord(first), ord(last), c]
    return decompositions, pairs, combining_classes()


def combining_classes():
    """The canonical combining class of each scalar that the library reorders."""
    import unicodedata
    nfd = normalizers.NFD().normalize_str
    candidates = [c for c in SCALARS if unicodedata.combining(chr(c)) and nfd(chr(c)) == chr(c)]
    grave = "\u0300"

    def is_known(c):
        number = unicodedata.combining(c)
        return nfd(grave + c) == c + grave if number < 230 else number == 230 or nfd(c + grave) == grave + c

    # One scalar of each class; the library must order every other scalar among them as its class says.
    examples = {unicodedata.combining(chr(c)): chr(c) for c in reversed(candidates) if is_known(chr(c))}
    examples[230] = grave
    classes = {}
    for c in candidates:
        expected = unicodedata.combining(chr(c))
        lower = [e for v, e in examples.items() if v < expected]
        higher = [e for v, e in examples.items() if v > expected]
        if all(nfd(chr(c) + e) == e + chr(c) for e in lower) and all(nfd(e + chr(c)) == chr(c) + e for e in higher):
            classes[c] = expected
        elif any(nfd(chr(c) + e) != chr(c) + e or nfd(e + chr(c)) != e + chr(c) for e in lower + higher):
            sys.exit(f"the class of U+{c:X} is not {expected}, but not 0 either")
    out = []
    for c, number in sorted(classes.items()):
        if out and out[-1][1] == c - 1 and out[-1][2] == number:
            out[-1][1] = c
        else:
            out.append([c, c, number])
    return sum(out, [])


def composition_file():
    decompositions, pairs, classes = compositions()
    lines = [
        "/// Canonical decomposition and composition, as the normalizer NFC of Hugging Face tokenizers 0.23 has them.",
        "/// Hangul syllables are missing; they follow from arithmetic.",
        "enum UnicodeCompositions {",
    ]
    lines += table("decompositions", decompositions, [
        "Full canonical decompositions: a scalar, the number of scalars that it decomposes into, and these.",
        "Sorted by scalar."])
    lines += table("pairs", pairs, ["Canonical compositions: first scalar, second scalar, composed scalar."])
    return lines + table("combiningClasses", classes, [
        "Canonical combining classes other than 0: first and last scalar of a range, and its class. Sorted."])


def main():
    folder = Path(sys.argv[1])
    write(folder / "UnicodeClassRanges.swift", class_ranges())
    write(folder / "UnicodeCategories.swift", categories())
    write(folder / "UnicodeCompositions.swift", composition_file())


if __name__ == "__main__":
    main()
