"""affine.py - MLX's affine quantisation in numpy: w = scale * q + bias for each group of a row.

The numbers q of a row are one little-endian stream of bits, at every width, in 32-bit words.
"""
import numpy as np


def pack(q, bits):
    """uint8 [..., n] -> uint32 [..., n * bits / 32]"""
    stream = (q[..., None] >> np.arange(bits, dtype=np.uint8) & 1).reshape(q.shape[:-1] + (-1,))
    return np.packbits(stream, axis=-1, bitorder="little").view("<u4")


def unpack(words, bits):
    """uint32 [..., m] -> uint8 [..., m * 32 / bits]"""
    stream = np.unpackbits(np.ascontiguousarray(words).view(np.uint8), axis=-1, bitorder="little")
    return (stream.reshape(words.shape[:-1] + (-1, bits)) << np.arange(bits, dtype=np.uint8)).sum(-1, dtype=np.uint8)


def quantise(w, bits, group, store):
    """float [..., n] -> words, scales, biases; store: what a float becomes in the file (rounded before q is chosen)"""
    x = w.reshape(w.shape[:-1] + (-1, group)).astype(np.float64)
    bias = store(x.min(-1))
    scale = store(np.maximum((x.max(-1) - bias) / (2 ** bits - 1), 1e-7))
    q = np.clip(np.rint((x - bias[..., None]) / scale[..., None]), 0, 2 ** bits - 1).astype(np.uint8)
    return pack(q.reshape(w.shape), bits), scale, bias


def dequantise(words, scales, biases, group):
    """exact, in float64; the width follows from the shapes, whatever a config says"""
    n = scales.shape[-1] * group
    q = unpack(words, words.shape[-1] * 32 // n).reshape(scales.shape + (group,))
    return (q * scales[..., None].astype(np.float64) + biases[..., None]).reshape(scales.shape[:-1] + (n,))
