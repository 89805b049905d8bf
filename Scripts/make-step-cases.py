#!/usr/bin/env python3
"""Writes small tokenizer.json files that use every step in many ways, with what Hugging Face tokenizers makes of texts:
Tests/TokenizationTests/Fixtures/step-cases.jsonl.

usage: pip install tokenizers==0.23.3; python make-step-cases.py OUTPUT [TEXTS_FOR_EACH] [SEED]

Each line has "tokenizer", the file, and "cases": a text, its ids with special tokens as text and as tokens, and the
text that the latter decode to.
"""
import json
import random
import sys
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

SOURCE = ("the cat and the dog, don't 123 4567! Héllo wörld \u4f60\u597d \u4f60\u4eec\n\n  a  b   c <b>x</b> x=1+2; "
          "The END's 'LL e\u0301 o\u0308 \uac00\uac01 \u0939\u093f\u0928\u094d\u0926\u0940 ٣٤ ²³ \u2581\u2581x ") * 4
BEHAVIORS = ["Isolated", "Removed", "Contiguous", "MergedWithPrevious", "MergedWithNext"]
EXPRESSIONS = [
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
    r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    r"[\u4e00-\u9fa5\u3040-\u309f]+", r"\d", r"[0-9][0-9][0-9]", r"[\p{P}\$\+<=>\^~\|`]+", r"\p{N}{1,3}",
    r"(?=(\d{3})+(?!\d))", r"a+?b|x*(?>a+)a|[^\W\d_]{2,}", r" ?[^(\s|[.,!?])]+", r"[\s\S](?i)THE|(c|ca)(t|)",
]
SPECIALS = [
    {"content": "<s>", "special": True}, {"content": "</s>", "special": True}, {"content": "<|end|>", "special": True},
    {"content": "<b>", "special": False}, {"content": "<b>x", "special": False},
]


def split(pattern, behavior="Isolated", invert=False):
    kind = "String" if len(pattern) < 3 else "Regex"
    return {"type": "Split", "pattern": {kind: pattern}, "behavior": behavior, "invert": invert}


def byte_level(space=False, regex=False):
    return {"type": "ByteLevel", "add_prefix_space": space, "trim_offsets": True, "use_regex": regex}


def metaspace(scheme, does_split):
    return {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": scheme, "split": does_split}


def replace(old, new, kind="String"):
    return {"type": "Replace", "pattern": {kind: old}, "content": new}


def sequence(name, steps):
    return steps[0] if len(steps) == 1 else {"type": "Sequence", name: steps}


def byte_level_steps(choose):
    for pattern in EXPRESSIONS:
        yield [split(pattern), byte_level()]
    for behavior in BEHAVIORS:
        for invert in (False, True):
            yield [split(choose.choice(EXPRESSIONS[3:8]), behavior, invert), byte_level(regex=True)]
        yield [{"type": "Punctuation", "behavior": behavior}, byte_level(space=choose.random() < 0.5)]
        yield [split(choose.choice([" ", "a", "th"]), behavior), byte_level()]
    for individual in (False, True):
        yield [{"type": "Digits", "individual_digits": individual}, byte_level(regex=True)]
        yield [byte_level(regex=True), {"type": "Digits", "individual_digits": individual}]
    yield [{"type": "Punctuation", "behavior": "Contiguous"}, byte_level(regex=True),
           {"type": "Digits", "individual_digits": False}, split("[0-9][0-9][0-9]")]
    yield [byte_level(space=True, regex=True)]
    yield [byte_level(regex=False)]


def character_steps(choose):
    mark = replace(" ", "\u2581")
    llama = [{"type": "Prepend", "prepend": "\u2581"}, mark]
    yield llama, []
    yield [mark], [split(" ", "MergedWithPrevious")]
    yield [{"type": "NFC"}, mark], []
    yield [replace("``", '"'), {"type": "NFC"}] + llama, [split("\u2581", "MergedWithNext")]
    yield [replace(r" {2,}", " ", "Regex"), mark], [{"type": "Digits", "individual_digits": True}]
    for scheme in ("always", "first", "never"):
        for does_split in (False, True):
            yield [], [metaspace(scheme, does_split)]
        yield [], [split(choose.choice([r"\d", " ", "a"]), choose.choice(BEHAVIORS)), metaspace(scheme, False)]
        yield [], [metaspace(scheme, True), {"type": "Punctuation", "behavior": "Isolated"}]
    yield [], [split(r"\s+", "Removed")]
    yield [{"type": "NFC"}], []


def decoder(choose):
    steps = [replace("\u2581", " "), {"type": "ByteFallback"}, {"type": "Fuse"}]
    # The library fails if both ends overlap.
    start, stop = choose.choice([(0, 0), (1, 0), (2, 0), (0, 1)])
    strip = {"type": "Strip", "content": " ", "start": start, "stop": stop}
    return choose.choice([
        {"type": "Sequence", "decoders": steps + [strip]},
        {"type": "Sequence", "decoders": steps},
        {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": choose.choice(["always", "never"]),
         "split": True},
        {"type": "Sequence", "decoders": [{"type": "ByteFallback"}, metaspace("always", False)]},
        {"type": "Sequence", "decoders": [replace("\u2581", " "), {"type": "Strip", "content": "a", "start": 1,
                                                                   "stop": 0}, {"type": "Fuse"}]},
    ])


def trained(is_byte_level, choose, size):
    tokenizer = Tokenizer(models.BPE(unk_token=None if is_byte_level else "<unk>"))
    source = SOURCE
    if is_byte_level:
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        alphabet, specials = pre_tokenizers.ByteLevel.alphabet(), []
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never", split=choose.random() < 0.8)
        alphabet, specials = [], ["<unk>"]
    trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, special_tokens=specials,
                                  show_progress=False)
    tokenizer.train_from_iterator([source], trainer)
    return json.loads(tokenizer.to_str())["model"]


def added_tokens(vocab, choose, is_normalized):
    tokens = []
    for token in SPECIALS:
        flags = {name: choose.random() < 0.25 for name in ("lstrip", "rstrip", "single_word")}
        identifier = vocab.get(token["content"], max(list(vocab.values()) + [t["id"] for t in tokens]) + 1)
        tokens.append(token | flags | {"id": identifier,
                                       "normalized": is_normalized and choose.random() < 0.5})
    return tokens


def files(choose):
    for steps in byte_level_steps(choose):
        model = trained(True, choose, 256 + choose.randrange(20, 60)) | {"ignore_merges": choose.random() < 0.3}
        normalizers = choose.choice([[], [{"type": "NFC"}], [replace("a", "b")]])
        yield {"version": "1.0", "truncation": None, "padding": None,
               "added_tokens": added_tokens(model["vocab"], choose, bool(normalizers)),
               "normalizer": sequence("normalizers", normalizers) if normalizers else None,
               "pre_tokenizer": sequence("pretokenizers", steps), "post_processor": None,
               "decoder": byte_level(), "model": model}
    for normalizers, steps in character_steps(choose):
        model = trained(False, choose, choose.randrange(90, 140))
        if choose.random() < 0.7:
            model["byte_fallback"] = True
            for byte in range(256):
                model["vocab"][f"<0x{byte:02X}>"] = max(model["vocab"].values()) + 1
        model |= {"fuse_unk": choose.random() < 0.5, "ignore_merges": choose.random() < 0.2}
        yield {"version": "1.0", "truncation": None, "padding": None,
               "added_tokens": added_tokens(model["vocab"], choose, True),
               "normalizer": sequence("normalizers", normalizers) if normalizers else None,
               "pre_tokenizer": sequence("pretokenizers", steps) if steps else None, "post_processor": None,
               "decoder": decoder(choose), "model": model}


PARTS = [
    "the", " cat", "don't", "'LL", " ", "  ", "\n", "\r\n", "\t", "123", "4567", "½²", "٣", "é", "e\u0301",
    "o\u0308\u0323", "\uac00", "\u1100\u1161\u11a8", "你好", "😀", "<b>", "<b>x", "<s>", "</s>", "<|end|>", "a", "b",
    "x", "_", "!", "...", "$", "\u2581", "\u2581x", "\u00a0", "\u3000", "\u212b", "\u017f", "Ж", "ß", "हिन्दी", "``", "<unk>",
    "<0x0A>", "aaab", "THE",
]


def texts(choose, count):
    yield from ["", " ", "  ", "a", " a", "\u2581", "<s>", " <s> ", "<b>x", "a<b>b", "<s>a"]
    for _ in range(count):
        yield "".join(choose.choice(PARTS) for _ in range(choose.randint(1, 14)))


def decode(tokenizer, file, ids):
    """The text with and without special tokens; None where the library fails or shows another text than the file's."""
    if "Prepend" in json.dumps(file["normalizer"]) and any(token["normalized"] for token in file["added_tokens"]):
        return None  # it shows the normalized text of such tokens, and does not skip them
    special = {token["id"] for token in file["added_tokens"] if token["special"]}
    if all(token in special for token in ids):
        return None  # Strip fails if there is no text
    return [tokenizer.decode(ids, skip_special_tokens=skips) for skips in (False, True)]


def main():
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 12
    choose = random.Random(int(sys.argv[3]) if len(sys.argv) > 3 else 3)
    with open(sys.argv[1], "w") as output:
        for file in files(choose):
            text = json.dumps(file)
            tokenizer = Tokenizer.from_str(text)
            cases = []
            for sample in dict.fromkeys(texts(choose, count)):
                tokenizer.encode_special_tokens = True
                case = {"text": sample, "ids": tokenizer.encode(sample, add_special_tokens=False).ids}
                tokenizer.encode_special_tokens = False
                case["ids_special"] = tokenizer.encode(sample, add_special_tokens=False).ids
                decoded = decode(tokenizer, file, case["ids_special"])
                if decoded is not None:
                    case["decoded"], case["skipped"] = decoded
                cases.append(case)
            output.write(json.dumps({"tokenizer": text, "cases": cases}, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
