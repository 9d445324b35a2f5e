"""blocks.py - GGUF's block formats, both ways, in numpy: BLOCKS[name].decode and .encode.

decode is exact: float64 numbers out of uint8 [blocks, bytes], from the formats' definition. encode makes valid blocks that use
every field's whole range; it rounds simply, and is no match for a quantiser that minds the model's quality.
"""
from typing import Callable, NamedTuple
import numpy as np


class Block(NamedTuple):
    type: int               # the number in a GGUF file
    numbers: int
    bytes: int
    decode: Callable        # uint8 [n, bytes] -> float64 [n, numbers]
    encode: Callable        # float64 [n, numbers] -> uint8 [n, bytes]


IQ4 = np.array([-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113], np.float64)
MX4 = np.array([0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12], np.float64)      # twice the e2m1 numbers


def bf16(x):
    """float32 -> its bfloat16 bits, rounded to nearest even"""
    u = np.ascontiguousarray(x, np.float32).view(np.uint32).astype(np.uint64)
    return ((u + 0x7FFF + ((u >> 16) & 1)) >> 16).astype("<u2")


def unbf16(u):
    return (np.asarray(u, np.uint16).astype(np.uint32) << 16).view(np.float32)


def half(b):
    """the f16 at the two bytes b [n, 2] -> float64 [n, 1]"""
    return np.ascontiguousarray(b).view("<f2").astype(np.float64)


def halves(x):
    return np.ascontiguousarray(x, "<f2").reshape(-1, 1).view(np.uint8)


def rounded(x):
    """what a scale becomes when it is stored as f16"""
    return x.astype(np.float16).astype(np.float64)


def ratio(x, y):
    """x / y, 0 where y is 0"""
    return np.divide(x, y, out=np.zeros(np.broadcast(x, y).shape), where=np.broadcast_to(y, np.broadcast(x, y).shape) != 0)


def pick(x, low, high):
    return np.clip(np.rint(x), low, high).astype(np.int64)


def nearest(x, table):
    """indices of the table's entries nearest to x"""
    order = np.argsort(table, kind="stable")
    s = table[order]
    return order[np.searchsorted((s[1:] + s[:-1]) / 2, x)]


def signed_peak(x):
    """the number of largest magnitude in each row, with its sign [n, 1]"""
    return np.take_along_axis(x, np.abs(x).argmax(-1)[..., None], -1)


def u8(x):
    return np.asarray(x).astype(np.uint8)


def nibbles(b):
    """16 bytes -> 32 numbers: the low nibbles, then the high ones"""
    return np.concatenate([b & 15, b >> 4], -1)


def unnibbles(q):
    h = q.shape[-1] // 2
    return u8(q[..., :h] | q[..., h:] << 4)


# ---- plain numbers

def f32_decode(b): return b.view("<f4").astype(np.float64)
def f32_encode(w): return w.astype("<f4").view(np.uint8).reshape(-1, 4)
def f16_decode(b): return half(b)
def f16_encode(w): return halves(w)
def bf16_decode(b): return unbf16(b.view("<u2")).astype(np.float64)
def bf16_encode(w): return bf16(w).view(np.uint8).reshape(-1, 2)


# ---- blocks of 32 with one scale

def q8_0_decode(b): return half(b[:, :2]) * b[:, 2:].view(np.int8)


def q8_0_encode(w):
    d = rounded(np.abs(w).max(1, keepdims=True) / 127)
    return np.concatenate([halves(d), pick(ratio(w, d), -127, 127).astype(np.int8).view(np.uint8)], 1)


def q4_0_decode(b): return half(b[:, :2]) * (nibbles(b[:, 2:]) - 8.0)


def q4_0_encode(w):
    d = rounded(signed_peak(w) / -8)
    return np.concatenate([halves(d), unnibbles(pick(ratio(w, d) + 8, 0, 15))], 1)


def q4_1_decode(b): return half(b[:, :2]) * nibbles(b[:, 4:]) + half(b[:, 2:4])


def q4_1_encode(w):
    m = rounded(w.min(1, keepdims=True))
    d = rounded((w.max(1, keepdims=True) - m) / 15)
    return np.concatenate([halves(d), halves(m), unnibbles(pick(ratio(w - m, d), 0, 15))], 1)


def fifth_bits(b):
    """4 bytes -> 32 numbers: bit i belongs to number i"""
    return np.unpackbits(np.ascontiguousarray(b), axis=1, bitorder="little").astype(np.int64) << 4


def fifth_bytes(q):
    return np.packbits(u8(q >> 4 & 1), axis=1, bitorder="little")


def q5_0_decode(b): return half(b[:, :2]) * ((nibbles(b[:, 6:]) | fifth_bits(b[:, 2:6])) - 16.0)


def q5_0_encode(w):
    d = rounded(signed_peak(w) / -16)
    q = pick(ratio(w, d) + 16, 0, 31)
    return np.concatenate([halves(d), fifth_bytes(q), unnibbles(q & 15)], 1)


def q5_1_decode(b): return half(b[:, :2]) * (nibbles(b[:, 8:]) | fifth_bits(b[:, 4:8])) + half(b[:, 2:4])


def q5_1_encode(w):
    m = rounded(w.min(1, keepdims=True))
    d = rounded((w.max(1, keepdims=True) - m) / 31)
    q = pick(ratio(w - m, d), 0, 31)
    return np.concatenate([halves(d), halves(m), fifth_bytes(q), unnibbles(q & 15)], 1)


def iq4_nl_decode(b): return half(b[:, :2]) * IQ4[nibbles(b[:, 2:])]


def iq4_nl_encode(w):
    d = rounded(signed_peak(w) / -127)
    return np.concatenate([halves(d), unnibbles(nearest(ratio(w, d), IQ4))], 1)


def mxfp4_decode(b): return np.ldexp(MX4[nibbles(b[:, 1:])], b[:, :1].astype(np.int64) - 128)


def mxfp4_encode(w):
    peak = np.abs(w).max(1, keepdims=True)
    e = np.where(peak > 0, np.ceil(np.log2(np.maximum(peak, 1e-30) / 6)), -127) + 127
    return np.concatenate([u8(e), unnibbles(nearest(np.ldexp(w, 128 - e.astype(np.int64)), MX4))], 1)


# ---- super-blocks of 256, whose own scales are numbers of 4 to 8 bits

def pairs_of_six(s):
    """12 bytes of Q4_K and Q5_K -> 8 scales and 8 mins of 6 bits each, [n, 8, 1]"""
    a, b, c = s[:, 0:4], s[:, 4:8], s[:, 8:12]
    scales = np.concatenate([a & 63, (c & 15) | (a >> 6) << 4], 1)
    mins = np.concatenate([b & 63, c >> 4 | (b >> 6) << 4], 1)
    return scales[..., None].astype(np.float64), mins[..., None].astype(np.float64)


def six_pairs(scales, mins):
    a = scales[:, :4] | scales[:, 4:] >> 4 << 6
    b = mins[:, :4] | mins[:, 4:] >> 4 << 6
    return u8(np.concatenate([a, b, scales[:, 4:] & 15 | (mins[:, 4:] & 15) << 4], 1))


def with_mins(w, groups, largest, scale_max):
    """[n, 256] -> d, dmin as stored; scales, mins, q of each group: w is about d*scale*q - dmin*min"""
    x = w.reshape(len(w), groups, -1)
    low = np.maximum(-x.min(2), 0)
    step = (x.max(2) + low) / largest
    d = rounded(step.max(1, keepdims=True) / scale_max)
    dmin = rounded(low.max(1, keepdims=True) / scale_max)
    scales, mins = pick(ratio(step, d), 0, scale_max), pick(ratio(low, dmin), 0, scale_max)
    q = pick(ratio(x + (dmin * mins)[..., None], (d * scales)[..., None]), 0, largest)
    return d, dmin, scales, mins, q


def q4_k_decode(b):
    scales, mins = pairs_of_six(b[:, 4:16])
    q = nibbles(b[:, 16:].reshape(-1, 4, 32)).reshape(-1, 8, 32)
    return (half(b[:, :2])[..., None] * scales * q - half(b[:, 2:4])[..., None] * mins).reshape(-1, 256)


def q4_k_encode(w):
    d, dmin, scales, mins, q = with_mins(w, 8, 15, 63)
    return np.concatenate([halves(d), halves(dmin), six_pairs(scales, mins), unnibbles(q.reshape(-1, 4, 64)).reshape(-1, 128)], 1)


def q5_k_decode(b):     # byte l of qh holds the fifth bits of number l of each of the 8 groups
    scales, mins = pairs_of_six(b[:, 4:16])
    high = b[:, None, 16:48] >> np.arange(8, dtype=np.uint8)[:, None] & 1
    q = nibbles(b[:, 48:].reshape(-1, 4, 32)).reshape(-1, 8, 32) | high << 4
    return (half(b[:, :2])[..., None] * scales * q - half(b[:, 2:4])[..., None] * mins).reshape(-1, 256)


def q5_k_encode(w):
    d, dmin, scales, mins, q = with_mins(w, 8, 31, 63)
    high = ((q >> 4) << np.arange(8)[:, None]).sum(1)
    low = unnibbles((q & 15).reshape(-1, 4, 64)).reshape(-1, 128)
    return np.concatenate([halves(d), halves(dmin), six_pairs(scales, mins), u8(high), low], 1)


def crumbs(b):
    """[n, 32 k] bytes -> [n, k * 128] numbers of two bits: 32 bytes hold four runs of 32, lowest bits first"""
    x = b.reshape(len(b), -1, 1, 32) >> np.array([0, 2, 4, 6], np.uint8)[:, None] & 3
    return x.reshape(len(b), -1)


def uncrumbs(q):
    x = q.reshape(len(q), -1, 4, 32) << np.array([0, 2, 4, 6])[:, None]
    return u8(x.sum(2)).reshape(len(q), -1)


def q2_k_decode(b):
    scales, mins = (b[:, :16] & 15)[..., None], (b[:, :16] >> 4)[..., None]
    q = crumbs(b[:, 16:80]).reshape(-1, 16, 16)
    return (half(b[:, 80:82])[..., None] * scales * q - half(b[:, 82:84])[..., None] * mins).reshape(-1, 256)


def q2_k_encode(w):
    d, dmin, scales, mins, q = with_mins(w, 16, 3, 15)
    return np.concatenate([u8(scales | mins << 4), uncrumbs(q.reshape(-1, 256)), halves(d), halves(dmin)], 1)


def without_mins(w, groups, lowest, scale_max):
    """[n, 256] -> d as stored, signed scales, q in [lowest, -lowest - 1] of each group: w is about d*scale*q"""
    x = w.reshape(len(w), groups, -1)
    step = signed_peak(x)[..., 0] / lowest
    d = rounded(np.abs(step).max(1, keepdims=True) / scale_max)
    scales = pick(ratio(step, d), -scale_max - 1, scale_max)
    return d, scales, pick(ratio(x, (d * scales)[..., None]), lowest, -lowest - 1)


def q3_k_decode(b):     # bit g of hmask's byte l: number l of the g-th run of 32 has its 4 (it is absent where the bit is 0)
    s = b[:, 96:108]
    low, high = nibbles(s[:, :8]), np.concatenate([s[:, 8:] >> k & 3 for k in (0, 2, 4, 6)], 1)
    scales = (low | high << 4).astype(np.float64)[..., None] - 32
    bit = b[:, None, :32] >> np.arange(8, dtype=np.uint8)[:, None] & 1
    q = crumbs(b[:, 32:96]).astype(np.float64).reshape(-1, 8, 32) - 4.0 * (1 - bit)
    return (half(b[:, 108:110])[..., None] * scales * q.reshape(-1, 16, 16)).reshape(-1, 256)


def q3_k_encode(w):
    d, scales, q = without_mins(w, 16, -4, 31)
    q, s = (q + 4).reshape(-1, 8, 32), scales + 32
    mask = ((q >> 2) << np.arange(8)[:, None]).sum(1)
    high = (s >> 4).reshape(-1, 4, 4) << np.array([0, 2, 4, 6])[:, None]
    packed = np.concatenate([unnibbles(s & 15), u8(high.sum(1))], 1)
    return np.concatenate([u8(mask), uncrumbs((q & 3).reshape(-1, 256)), packed, halves(d)], 1)


def q6_k_decode(b):     # each half of 128: 64 bytes of nibbles, two runs of 32 low then high, and 32 bytes of two bits
    low = b[:, :128].reshape(-1, 2, 64)
    low = np.concatenate([low & 15, low >> 4], 2).reshape(-1, 256)
    q = (low | crumbs(b[:, 128:192]) << 4).astype(np.float64) - 32
    scales = b[:, 192:208].view(np.int8).astype(np.float64)[..., None]
    return (half(b[:, 208:210])[..., None] * scales * q.reshape(-1, 16, 16)).reshape(-1, 256)


def q6_k_encode(w):
    d, scales, q = without_mins(w, 16, -32, 127)
    q = (q + 32).reshape(-1, 256)
    low = (q & 15).reshape(-1, 2, 2, 64)
    return np.concatenate([u8(low[:, :, 0] | low[:, :, 1] << 4).reshape(-1, 128), uncrumbs(q >> 4),
                           scales.astype(np.int8).view(np.uint8), halves(d)], 1)


def iq4_xs_decode(b):
    high = np.ascontiguousarray(b[:, 2:4]).view("<u2").astype(np.int64) >> np.arange(0, 16, 2) & 3
    low = np.stack([b[:, 4:8] & 15, b[:, 4:8] >> 4], 2).reshape(-1, 8)
    scales = (low | high << 4).astype(np.float64)[..., None] - 32
    return (half(b[:, :2])[..., None] * scales * IQ4[nibbles(b[:, 8:].reshape(-1, 8, 16))]).reshape(-1, 256)


def iq4_xs_encode(w):
    x = w.reshape(-1, 8, 32)
    step = signed_peak(x)[..., 0] / -127
    d = rounded(np.abs(step).max(1, keepdims=True) / 31)
    scales = pick(ratio(step, d), -32, 31)
    q = nearest(ratio(x, (d * scales)[..., None]), IQ4)
    s = scales + 32
    high = (s >> 4 << np.arange(0, 16, 2)).sum(1).astype("<u2").reshape(-1, 1).view(np.uint8)
    low = u8(s[:, 0::2] & 15 | (s[:, 1::2] & 15) << 4)
    return np.concatenate([halves(d), high, low, unnibbles(q).reshape(-1, 128)], 1)


BLOCKS = {
    "f32": Block(0, 1, 4, f32_decode, f32_encode), "f16": Block(1, 1, 2, f16_decode, f16_encode),
    "bf16": Block(30, 1, 2, bf16_decode, bf16_encode),
    "q4_0": Block(2, 32, 18, q4_0_decode, q4_0_encode), "q4_1": Block(3, 32, 20, q4_1_decode, q4_1_encode),
    "q5_0": Block(6, 32, 22, q5_0_decode, q5_0_encode), "q5_1": Block(7, 32, 24, q5_1_decode, q5_1_encode),
    "q8_0": Block(8, 32, 34, q8_0_decode, q8_0_encode), "iq4_nl": Block(20, 32, 18, iq4_nl_decode, iq4_nl_encode),
    "mxfp4": Block(39, 32, 17, mxfp4_decode, mxfp4_encode),
    "q2_k": Block(10, 256, 84, q2_k_decode, q2_k_encode), "q3_k": Block(11, 256, 110, q3_k_decode, q3_k_encode),
    "q4_k": Block(12, 256, 144, q4_k_decode, q4_k_encode), "q5_k": Block(13, 256, 176, q5_k_decode, q5_k_encode),
    "q6_k": Block(14, 256, 210, q6_k_decode, q6_k_encode), "iq4_xs": Block(23, 256, 136, iq4_xs_decode, iq4_xs_encode),
}
OF_TYPE = {block.type: name for name, block in BLOCKS.items()}


def decode(name, raw, shape):
    block = BLOCKS[name]
    return block.decode(np.ascontiguousarray(raw).view(np.uint8).reshape(-1, block.bytes)).reshape(shape)


def encode(name, w):
    block = BLOCKS[name]
    return np.ascontiguousarray(block.encode(np.asarray(w, np.float64).reshape(-1, block.numbers)))
