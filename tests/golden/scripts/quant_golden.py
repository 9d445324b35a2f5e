#!/usr/bin/env python3
"""quant_golden.py - random blocks of every weight format with the values another program reads from them.

Writes quant/formats.json for tests/kernels/test_formats.c. GGUF's formats are read by the PyPI package
gguf (needs gguf and numpy); MLX's bit streams are packed by fxlib's mlx_pack, which was checked against
mx.quantize, and valued as mlx does: scale * n + bias in float32. Bytes and float32 values are in hex.
"""
import importlib.metadata
import json
import pathlib

import gguf
import numpy as np

import fxlib

OUT = pathlib.Path(__file__).resolve().parents[1] / "quant" / "formats.json"
BLOCKS = {32: 4, 256: 2}

# where a block has its half floats, and how large they are
HALVES = {
    "q8_0": {0: 0.01}, "q4_0": {0: 0.1}, "q4_1": {0: 0.1, 2: 1}, "q5_0": {0: 0.05}, "q5_1": {0: 0.05, 2: 1},
    "iq4_nl": {0: 0.01}, "mxfp4": {}, "q2_k": {80: 0.02, 82: 0.05}, "q3_k": {108: 0.01},
    "q4_k": {0: 0.001, 2: 0.01}, "q5_k": {0: 0.0005, 2: 0.01}, "q6_k": {208: 0.001}, "iq4_xs": {0: 0.0003},
}
# bits, group, type of the scales
AFFINE = [(2, 64, "bf16"), (3, 32, "f16"), (4, 64, "bf16"), (4, 128, "f32"), (5, 32, "bf16"), (6, 64, "f16"),
          (8, 128, "bf16")]


def hexed(array):
    return np.ascontiguousarray(array).tobytes().hex()


def ggml(rng, name, halves):
    kind = gguf.GGMLQuantizationType[name.upper()]
    block, size = gguf.GGML_QUANT_SIZES[kind]
    data = rng.integers(0, 256, (BLOCKS[block], size), dtype=np.uint8)
    for at, scale in halves.items():
        data[:, at:at + 2] = (rng.uniform(-scale, scale, (len(data), 1))).astype(np.float16).view(np.uint8)
    if name == "mxfp4":
        data[:, 0] = [0, 1, 119, 130]
    values = gguf.quants.dequantize(data, kind)
    assert np.isfinite(values).all()
    return {"format": name, "data": hexed(data), "values": hexed(values.astype("<f4"))}


def affine(rng, bits, group, scale_type):
    cols = 256
    n = rng.integers(0, 1 << bits, (1, cols), dtype=np.uint8)
    scales, biases = (rng.uniform(-size, size, (1, cols // group)).astype(np.float32) for size in (1 / 2**bits, 1))
    if scale_type == "bf16":
        stored = [fxlib.bf16(x) for x in (scales, biases)]
        scales, biases = (fxlib.unbf16(x) for x in stored)
    else:
        stored = [x.astype("<f2" if scale_type == "f16" else "<f4") for x in (scales, biases)]
        scales, biases = (x.astype(np.float32) for x in stored)
    values = np.repeat(scales, group, 1) * n.astype(np.float32) + np.repeat(biases, group, 1)
    return {"format": f"mlx{bits}", "group": group, "scale_type": scale_type,
            "data": hexed(fxlib.mlx_pack(n, bits)), "scales": hexed(stored[0]), "biases": hexed(stored[1]),
            "values": hexed(values.astype("<f4"))}


def main():
    rng = np.random.default_rng(4)
    cases = [ggml(rng, name, halves) for name, halves in HALVES.items()] + [affine(rng, *a) for a in AFFINE]
    OUT.parent.mkdir(exist_ok=True)
    made_by = f"quant_golden.py, gguf {importlib.metadata.version('gguf')}, numpy {np.__version__}"
    OUT.write_text(json.dumps({"made_by": made_by, "cases": cases}, indent=1) + "\n")


main()
