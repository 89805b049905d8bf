#!/usr/bin/env python3
"""Times torch's BF16 product like `bitnet bench kernels` times its own: torch.nn.functional.linear with the same shapes
and tokens, cold (cycling through so many copies of the weights that they come from memory) and warm (one copy),
launched from a CUDA graph. Prints JSON.

usage: gpu_check_torch.py [SHAPE ...], as in 2560x6912
"""

import json
import statistics
import sys

import torch
import torch.nn.functional as F

SHAPES = ["2560x2560", "3840x2560", "13824x2560", "2560x6912", "3200x3200", "4800x3200", "3200x10240", "20480x3200"]
TOKENS = [1, 2, 4, 8, 64, 512]
SAMPLES = 15
SAMPLE_SECONDS = 0.002


def quantile(values, share):
    """Interpolates linearly between two samples."""
    place = share * (len(values) - 1)
    low = int(place)
    return values[low] + (place - low) * (values[min(low + 1, len(values) - 1)] - values[low])


def elapsed(work):
    """Returns the seconds of some work. The work is submitted twice, and the second run is timed, while the device is
    still busy with the first."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    work()
    start.record()
    work()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / 1000


def measure(weights, x):
    """Returns the seconds of one product, cycling through all copies of the weights."""
    launches = len(weights)
    with torch.no_grad():
        for weight in weights[:3]:
            F.linear(x, weight)
        one = elapsed(lambda: F.linear(x, weights[0]))
        rotations = max(1, round(SAMPLE_SECONDS / max(one, 1e-7) / launches))
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            for _ in range(rotations):
                for weight in weights:
                    F.linear(x, weight)
    for _ in range(3):
        graph.replay()
    samples = sorted(elapsed(graph.replay) / (rotations * launches) for _ in range(SAMPLES))
    return {
        "median": statistics.median(samples),
        "minimum": samples[0],
        "percentile10": quantile(samples, 0.1),
        "percentile90": quantile(samples, 0.9),
        "samples": len(samples),
    }


def main():
    properties = torch.cuda.get_device_properties(0)
    l2 = getattr(properties, "L2_cache_size", 0) or 64 << 20
    results = []
    for shape in sys.argv[1:] or SHAPES:
        rows, columns = (int(side) for side in shape.split("x"))
        copies = 2 * l2 // (2 * rows * columns) + 1
        weights = [torch.randn(rows, columns, device="cuda", dtype=torch.bfloat16) for _ in range(copies)]
        for tokens in TOKENS:
            x = torch.randn(tokens, columns, device="cuda", dtype=torch.bfloat16)
            cold, warm = measure(weights, x), measure(weights[:1], x)
            results.append({"shape": shape, "tokens": tokens, "copies": copies, "cold": cold, "warm": warm})
    report = {
        "device": properties.name,
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "l2_bytes": l2,
        "results": results,
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
