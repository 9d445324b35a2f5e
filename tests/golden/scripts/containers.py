"""containers.py - GGUF and safetensors files, read and written. Knows nothing of models."""
import json, mmap, struct
import numpy as np
import blocks
from blocks import bf16, unbf16

# GGUF's value types: number, struct code; "str" and arrays ("u32[]") are written out below.
VALUES = {"u8": (0, "B"), "i8": (1, "b"), "u16": (2, "H"), "i16": (3, "h"), "u32": (4, "I"), "i32": (5, "i"), "f32": (6, "f"),
          "bool": (7, "?"), "u64": (10, "Q"), "i64": (11, "q"), "f64": (12, "d")}
CODES = dict(VALUES.values())
STRING, ARRAY = 8, 9


def string(s):
    b = s.encode("utf-8", "surrogateescape")
    return struct.pack("<Q", len(b)) + b


def value(kind, v):
    if kind == "str": return struct.pack("<I", STRING) + string(v)
    if kind == "str[]": return struct.pack("<IIQ", ARRAY, STRING, len(v)) + b"".join(map(string, v))
    number, code = VALUES[kind.removesuffix("[]")]
    if kind.endswith("[]"): return struct.pack(f"<IIQ{len(v)}{code}", ARRAY, number, len(v), *v)
    return struct.pack("<I" + code, number, v)


def write_gguf(path, meta, tensors, align=32):
    """meta: (key, kind, value) list. tensors: (name, format of blocks.BLOCKS, array of numbers) list"""
    head = [b"GGUF", struct.pack("<IQQ", 3, len(tensors), len(meta))]
    head += [string(key) + value(kind, v) for key, kind, v in meta]
    data, at = [], 0
    for name, fmt, w in tensors:
        b = blocks.encode(fmt, w).tobytes()
        data.append(b + b"\0" * (-len(b) % align))
        head.append(string(name) + struct.pack(f"<I{w.ndim}QIQ", w.ndim, *w.shape[::-1], blocks.BLOCKS[fmt].type, at))
        at += len(data[-1])
    h = b"".join(head)
    with open(path, "wb") as f: f.writelines([h, b"\0" * (-len(h) % align), *data])


class Gguf:
    """meta: key -> value; tensors: name -> (format, shape with the rows last, uint8 array of its bytes)"""

    def __init__(self, path):
        with open(path, "rb") as f: self.bytes = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ)
        assert self.bytes[:4] == b"GGUF", path
        self.at = 8
        tensors, pairs = self.take("QQ")
        self.meta, self.tensors, infos = {}, {}, []
        for _ in range(pairs):
            key = self.string()
            self.meta[key] = self.value(*self.take("I"))
        for _ in range(tensors):
            name, (dims,) = self.string(), self.take("I")
            infos.append((name, self.take(f"{dims}Q")[::-1], *self.take("IQ")))
        align = self.meta.get("general.alignment", 32)
        base = (self.at + align - 1) // align * align
        for name, shape, number, offset in infos:
            fmt = blocks.OF_TYPE[number]
            block = blocks.BLOCKS[fmt]
            size = int(np.prod(shape, dtype=np.int64)) // block.numbers * block.bytes
            self.tensors[name] = fmt, shape, np.frombuffer(self.bytes, np.uint8, size, base + offset)

    def take(self, codes):
        out = struct.unpack_from("<" + codes, self.bytes, self.at)
        self.at += struct.calcsize("<" + codes)
        return out

    def string(self):
        (n,) = self.take("Q")
        self.at += n
        return self.bytes[self.at - n:self.at].decode("utf-8", "surrogateescape")

    def value(self, number):
        if number == STRING: return self.string()
        if number != ARRAY: return self.take(CODES[number])[0]
        of, n = self.take("IQ")
        return list(self.take(f"{n}{CODES[of]}")) if of in CODES else [self.value(of) for _ in range(n)]


# ---- safetensors

NUMPY = {"F32": "<f4", "F16": "<f2", "BF16": "<u2", "U32": "<u4", "U8": "u1"}


def store(dtype, w):
    """the array of a tensor's bytes; integers are taken as they are"""
    if dtype == "BF16": return bf16(w)
    return np.asarray(w).astype(NUMPY[dtype])


def write_safetensors(path, tensors, metadata, order=None, pad=8):
    """tensors: name -> (dtype, array as store() makes it). order: of the data; MLX's is not that of the names, and it does not pad"""
    head, at, names = {"__metadata__": metadata}, 0, order or sorted(tensors)
    for n in names:
        dtype, a = tensors[n]
        head[n] = {"dtype": dtype, "shape": list(a.shape), "data_offsets": [at, at + a.nbytes]}
        at += a.nbytes
    head = {n: head[n] for n in ("__metadata__", *sorted(tensors))}
    h = json.dumps(head, separators=(",", ":")).encode()
    h += b" " * (-len(h) % pad)
    with open(path, "wb") as f:
        f.writelines([struct.pack("<Q", len(h)), h, *(np.ascontiguousarray(tensors[n][1]).tobytes() for n in names)])


def read_safetensors(path):
    """name -> array: floats as float64, integers as they are"""
    with open(path, "rb") as f: data = f.read()
    (n,) = struct.unpack_from("<Q", data)
    out = {}
    for name, t in json.loads(data[8:8 + n]).items():
        if name == "__metadata__": continue
        begin, end = t["data_offsets"]
        a = np.frombuffer(data[8 + n + begin:8 + n + end], NUMPY[t["dtype"]]).reshape(t["shape"])
        out[name] = unbf16(a).astype(np.float64) if t["dtype"] == "BF16" else a.astype(np.float64) if t["dtype"][0] == "F" else a
    return out
