#!/usr/bin/env python3
"""Convert a NumPy .npz archive to a .safetensors file, which the Swift tests can read.

usage: npz-to-safetensors.py INPUT.npz OUTPUT.safetensors [--skip PREFIX ...]

It converted the oracle's reference logits (expected.npz) and block layouts for Tests/Fixtures. Needs numpy. It writes
the format itself, so that nothing else has to be installed.
"""
import argparse
import json

import numpy as np

DTYPES = {"<f8": "F64", "<f4": "F32", "<i4": "I32", "<i8": "I64", "<u2": "U16", "|u1": "U8", "|i1": "I8"}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("input")
    parser.add_argument("output")
    parser.add_argument("--skip", nargs="*", default=[], help="leave out arrays whose names start so")
    arguments = parser.parse_args()

    archive = np.load(arguments.input)
    names = [n for n in archive.files if not n.startswith(tuple(arguments.skip) or ("\0",))]
    arrays = {n: np.ascontiguousarray(archive[n]) for n in names}
    # Write the widest elements first, so that every array is aligned to its element size.
    names.sort(key=lambda n: (-arrays[n].itemsize, n))
    header, offset = {}, 0
    for name in names:
        size = arrays[name].nbytes
        header[name] = {"dtype": DTYPES[arrays[name].dtype.str], "shape": list(arrays[name].shape),
                        "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(arguments.output, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in names:
            file.write(arrays[name].tobytes())


if __name__ == "__main__":
    main()
