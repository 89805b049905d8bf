#!/usr/bin/env python3
"""Times this package's tokenizer against the library that a file was made for: same text, same file, one thread each,
in alternating rounds.

usage: pip install tiktoken==0.14.0 tokenizers==0.23.3 sentencepiece==0.2.3
       python compare.py --model FILE [--ours ".build/release/bitnet tokenize"] [--rounds 7] TEXT...

FILE is a tokenizer.json (compared with tokenizers), a SentencePiece model (sentencepiece) or Llama 3's rank file
(tiktoken). OURS is run as `OURS --tokenizer FILE --text-file TEXT`, which prints the ids separated by spaces, and with
`--benchmark 1`, which prints one line "BYTES TOKENS SECONDS"; the seconds are those of encoding alone, after one
encoding to warm up. The ids of both must be equal before the measurement starts. Prints the median and the best of the
rounds.
"""
import argparse
import shlex
import statistics
import subprocess
import sys
import time

PATTERN = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
           r"|\s*[\r\n]+|\s+(?!\S)|\s+")


def peer(path):
    """The name of the library for a file, and its function from a text to ids."""
    with open(path, "rb") as f:
        start = f.read(64)
    if start.lstrip().startswith(b"{"):
        from tokenizers import Tokenizer
        tokenizer = Tokenizer.from_file(path)
        tokenizer.encode_special_tokens = True
        return "tokenizers", lambda text: tokenizer.encode(text, add_special_tokens=False).ids
    if start.startswith(b"\n"):
        import sentencepiece
        return "sentencepiece", sentencepiece.SentencePieceProcessor(model_file=path).encode
    import tiktoken
    from tiktoken.load import load_tiktoken_bpe
    ranks = load_tiktoken_bpe(path)
    return "tiktoken", tiktoken.Encoding(
        "llama3", pat_str=PATTERN, mergeable_ranks=ranks, special_tokens={}).encode_ordinary


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--ours", default=".build/release/bitnet tokenize")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("texts", nargs="+")
    arguments = parser.parse_args()
    name, encode = peer(arguments.model)

    print(f"{'text':40} {'MB':>7} {'tokens':>9} {name:>16} {'ours':>16} {'ratio':>7}")
    print(f"{'':40} {'':>7} {'':>9} {'MB/s med (best)':>16} {'MB/s med (best)':>16} {'median':>7}")
    for path in arguments.texts:
        with open(path, newline="") as f:
            text = f.read()
        size = len(text.encode())
        command = shlex.split(arguments.ours) + ["--tokenizer", arguments.model, "--text-file", path]

        def ours(*options):
            return subprocess.run(command + list(options), check=True, capture_output=True, text=True).stdout

        ids = encode(text)
        if list(map(int, ours().split())) != ids:
            sys.exit(f"{path}: the ids differ")
        theirs_speeds, our_speeds = [], []
        for _ in range(arguments.rounds):
            start = time.perf_counter()
            encode(text)
            theirs_speeds.append(size / (time.perf_counter() - start) / 1e6)
            our_bytes, our_tokens, seconds = ours("--benchmark", "1").split()
            if (int(our_bytes), int(our_tokens)) != (size, len(ids)):
                sys.exit(f"{path}: encoded {our_bytes} bytes to {our_tokens} tokens, expected {size} and {len(ids)}")
            our_speeds.append(size / float(seconds) / 1e6)
        theirs_median, our_median = statistics.median(theirs_speeds), statistics.median(our_speeds)
        print(f"{path.rsplit('/', 1)[-1][:40]:40} {size / 1e6:7.2f} {len(ids):9} "
              f"{theirs_median:8.1f} ({max(theirs_speeds):5.1f}) {our_median:8.1f} ({max(our_speeds):5.1f}) "
              f"{our_median / theirs_median:6.1f}x")


if __name__ == "__main__":
    main()
