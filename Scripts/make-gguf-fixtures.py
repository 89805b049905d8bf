#!/usr/bin/env python3
"""Write Tests/Fixtures/blocks/quantised.safetensors: blocks of the quantised types of GGUF tables, and their values.

usage: make-gguf-fixtures.py OUTPUT.safetensors

Blocks are random bytes with moderate scales; values are those of the gguf package. Needs numpy and gguf.
"""
import json
import sys

import gguf
import numpy as np
from gguf.quants import dequantize

# The places of the half-precision factors in a block.
FACTORS = {"Q8_0": (0,), "Q4_0": (0,), "Q4_K": (0, 2), "Q6_K": (208,)}
ROWS = 8


def main():
    generator = np.random.default_rng(20)
    arrays = {}
    for name, places in FACTORS.items():
        kind = getattr(gguf.GGMLQuantizationType, name)
        size = gguf.GGML_QUANT_SIZES[kind][1]
        # Whole rows of 256 elements.
        count = ROWS * 256 // gguf.GGML_QUANT_SIZES[kind][0]
        blocks = generator.integers(0, 256, (count, size), dtype=np.uint8)
        for place in places:
            factors = generator.standard_normal(count).astype("<f2")
            factors[0] = np.float16(3e-7)  # subnormal
            blocks[:, place:place + 2] = factors.view(np.uint8).reshape(count, 2)
        arrays[name] = ("U8", blocks.reshape(-1))
        arrays[name + ".values"] = ("F32", dequantize(blocks, kind).astype("<f4").reshape(-1))
    names = sorted(arrays, key=lambda name: (-arrays[name][1].itemsize, name))
    header, offset = {}, 0
    for name in names:
        dtype, array = arrays[name]
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [offset, offset + array.nbytes]}
        offset += array.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(sys.argv[1], "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text + b"".join(arrays[name][1].tobytes() for name in names))


if __name__ == "__main__":
    main()
