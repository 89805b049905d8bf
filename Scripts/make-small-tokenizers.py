#!/usr/bin/env python3
"""Trains the two small tokenizers of the tests, and writes the ids that Hugging Face tokenizers gives with them.

usage: pip install tokenizers==0.23.3; python make-small-tokenizers.py TEXT OUTPUT_FOLDER

Writes small-llama3.json (Llama 3's split pattern, ignore_merges, merges as pairs, a BOS template), small-gpt2.json
(GPT-2's pattern, merges as strings, its end-of-text token also in the vocabulary) and small-cases.jsonl: texts with
their ids, with special tokens encoded as text ("llama3", "gpt2") and parsed as tokens ("llama3_special",
"gpt2_special").
"""
import json
import random
import sys
from pathlib import Path
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
          r"|\s*[\r\n]+|\s+(?!\S)|\s+")
SPECIALS = ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>",
            "<|eot_id|>>"]


def train(pre_tokenizer, text, size):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator([text], trainer)
    return tokenizer


def make_llama3(text):
    split = pre_tokenizers.Split(Regex(LLAMA3), "isolated")
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer = train(pre_tokenizers.Sequence([split, byte_level]), text, 500)
    parts = json.loads(tokenizer.to_str())
    vocab = parts["model"]["vocab"]
    for token in ("Ġwonderland", "ĠwhiteRabbit", "xyzzy"):  # reached as whole pieces only
        vocab[token] = len(vocab)
    parts["model"]["ignore_merges"] = True
    tokenizer = Tokenizer.from_str(json.dumps(parts))
    tokenizer.add_tokens([AddedToken("<note>", special=False), AddedToken("<note>!", special=False)])
    tokenizer.add_special_tokens(SPECIALS)
    bos = SPECIALS[0]
    template = processors.TemplateProcessing(single=f"{bos} $A", special_tokens=[(bos, tokenizer.token_to_id(bos))])
    tokenizer.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), template])
    return tokenizer.to_str()


def make_gpt2(text):
    tokenizer = train(pre_tokenizers.ByteLevel(add_prefix_space=False), text, 420)
    parts = json.loads(tokenizer.to_str())
    vocab = parts["model"]["vocab"]
    vocab["<|endoftext|>"] = len(vocab)
    parts["model"]["merges"] = [" ".join(pair) for pair in parts["model"]["merges"]]
    tokenizer = Tokenizer.from_str(json.dumps(parts))
    tokenizer.add_special_tokens(["<|endoftext|>"])
    made = json.loads(tokenizer.to_str())
    made["model"]["merges"] = parts["model"]["merges"]
    return json.dumps(made, ensure_ascii=False)


def texts(source):
    choose = random.Random(2)
    words = source.split()
    yield from ["", " ", "a", "wonderland", " wonderland", "in wonderland whiteRabbit whiteRabbit", "xyzzy xyzzy",
                "it's IT'S '\u017f", "1234567 ½ Ⅷ", "a\r\n\r\n  b\n", "naïve café 你好 😀", "e\u0301", "\x00\x7f",
                "q" * 300, "ab" * 200, " " * 100,
                "<|eot_id|>", "a<|eot_id|>b<|begin_of_text|>", "<|eot_id|>>", "<|eot_id|", "<|endoftext|>",
                "x <|endoftext|> y", "<note>",
                "a<note>b<note>!c <note", "<<note>>", "<|start_header_id|>user<|end_header_id|>\n\nhi<|eot_id|>"]
    for _ in range(120):
        start = choose.randrange(len(words) - 60)
        yield choose.choice([" ", "  ", "\n"]).join(words[start:start + choose.randint(1, 60)])
    for _ in range(60):
        parts = ["the", "rabbit", " ", "\n", "'s", "1", "é", "你", "😀", "<note>", "<|eot_id|>", "!"]
        yield "".join(choose.choice(parts) for _ in range(choose.randint(1, 20)))


def ids(tokenizer, text, specials):
    tokenizer.encode_special_tokens = not specials
    return tokenizer.encode(text, add_special_tokens=False).ids


def main():
    source = Path(sys.argv[1]).read_text()
    folder = Path(sys.argv[2])
    files = {"llama3": make_llama3(source), "gpt2": make_gpt2(source)}
    tokenizers = {name: Tokenizer.from_str(file) for name, file in files.items()}
    for name, file in files.items():
        (folder / f"small-{name}.json").write_text(json.dumps(json.loads(file), ensure_ascii=False, indent=1) + "\n")
    with open(folder / "small-cases.jsonl", "w") as f:
        for text in texts(source):
            case = {"text": text}
            for name, tokenizer in tokenizers.items():
                case[name] = ids(tokenizer, text, False)
                case[f"{name}_special"] = ids(tokenizer, text, True)
            f.write(json.dumps(case) + "\n")


if __name__ == "__main__":
    main()
