#!/usr/bin/env python3
"""make_bad_gguf.py REGRESSIONS CORPUS SPLIT - the hostile and broken GGUF files of fuzz/regressions/gguf, one for each way a file may
lie, and the small, valid model they start from (good.gguf in fuzz/corpus/gguf, which must load; in two parts in tests/golden/split). Each changes one thing. Names
that begin with cve_ are past incidents of other engines. tests/engine/test_gguf.c says what each refusal must read.
"""
import os, struct, sys

U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
PACK = {U8: "<B", I8: "<b", U16: "<H", I16: "<h", U32: "<I", I32: "<i", F32: "<f", BOOL: "<B", U64: "<Q", I64: "<q", F64: "<d"}
T_F32, T_F16, T_Q8_0 = 0, 1, 8
HIDDEN, FFN, VOCAB = 8, 16, 259


def string(s, n=None):
    b = s if isinstance(s, bytes) else s.encode()
    return struct.pack("<Q", len(b) if n is None else n) + b


def array(element, values, n=None):
    body = b"".join(string(v) if element == STRING else struct.pack(PACK[element], v) for v in values)
    return struct.pack("<IQ", element, len(values) if n is None else n) + body


def key(name, typ, value):
    """value: bytes go in as they are"""
    if not isinstance(value, bytes):
        value = string(value) if typ == STRING else struct.pack(PACK[typ], value)
    return string(name) + struct.pack("<I", typ) + value


def alphabet():
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [b for b in range(256) if b not in plain]
    return [chr(b) if b in plain else chr(0x100 + rest.index(b)) for b in range(256)]


class Model:
    """Ordered keys and tensors that a case may change; blob() lays them out."""

    def __init__(self):
        self.magic, self.version, self.alignment = b"GGUF", 3, 32
        self.tensors_n = self.keys_n = None
        self.keys = {
            "general.architecture": (STRING, "llama"), "general.name": (STRING, "small"),
            "llama.block_count": (U32, 1), "llama.context_length": (U32, 64), "llama.embedding_length": (U32, HIDDEN),
            "llama.feed_forward_length": (U32, FFN), "llama.attention.head_count": (U32, 1),
            "llama.attention.head_count_kv": (U32, 1), "llama.attention.layer_norm_rms_epsilon": (F32, 1e-5),
            "tokenizer.ggml.model": (STRING, "gpt2"), "tokenizer.ggml.pre": (STRING, "smollm"),
            "tokenizer.ggml.tokens": (ARRAY, array(STRING, ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *alphabet()])),
            "tokenizer.ggml.token_type": (ARRAY, array(I32, [3] * 3 + [1] * 256)),
            "tokenizer.ggml.merges": (ARRAY, array(STRING, [])),
            "tokenizer.ggml.bos_token_id": (U32, 1), "tokenizer.ggml.eos_token_id": (U32, 2),
        }
        self.tensors = {}            # name -> [dims (innermost first), type, bytes, offset or None]
        self.add("token_embd.weight", [HIDDEN, VOCAB], T_F16)
        self.add("output_norm.weight", [HIDDEN])
        for name, dims in {"attn_norm": [HIDDEN], "attn_q": [HIDDEN, HIDDEN], "attn_k": [HIDDEN, HIDDEN], "attn_v": [HIDDEN, HIDDEN],
                           "attn_output": [HIDDEN, HIDDEN], "ffn_norm": [HIDDEN], "ffn_gate": [HIDDEN, FFN], "ffn_up": [HIDDEN, FFN],
                           "ffn_down": [FFN, HIDDEN]}.items():
            self.add(f"blk.0.{name}.weight", dims)
        self.raw_keys = b""          # after the others

    def add(self, name, dims, typ=T_F32, offset=None):
        n = 1
        for d in dims: n *= d
        matrix, pack = len(dims) > 1, "<e" if typ == T_F16 else "<f"
        data = b"".join(struct.pack(pack, ((i * 37 % 64) - 32) / 64 if matrix else 1) for i in range(n)) if n < 1 << 16 else b""
        self.tensors[name] = [dims, typ, data, offset]

    def blob(self):
        keys = b"".join(key(n, t, v) for n, (t, v) in self.keys.items()) + self.raw_keys
        infos, data = b"", b""
        for name, (dims, typ, body, offset) in self.tensors.items():
            infos += string(name) + struct.pack(f"<I{len(dims)}Q", len(dims), *dims)
            infos += struct.pack("<IQ", typ, len(data) if offset is None else offset)
            data += body + b"\0" * (-len(body) % self.alignment)
        n_keys = len(self.keys) + (1 if self.raw_keys else 0)
        head = self.magic + struct.pack("<IQQ", self.version, len(self.tensors) if self.tensors_n is None else self.tensors_n,
                                        n_keys if self.keys_n is None else self.keys_n) + keys + infos
        return head + b"\0" * (-len(head) % self.alignment) + data

    def parts(self):
        """The same model as a split set of two."""
        names = list(self.tensors)
        for no, some in enumerate((names[:5], names[5:])):
            m = Model()
            if no: m.keys.clear()
            m.keys |= {"split.no": (U16, no), "split.count": (U16, 2), "split.tensors.count": (I32, len(names))}
            m.tensors = {n: self.tensors[n] for n in some}
            yield f"good-{no + 1:05}-of-00002.gguf", m.blob()

    def header_only(self, *keep):
        """Without weights and tokens, for cases that are refused before those matter."""
        self.tensors.clear()
        for k in list(self.keys):
            if k.startswith("tokenizer.") and k not in keep: del self.keys[k]
        return self


CASES = {}


def case(f):
    CASES[f.__name__] = f
    return f


def number(name, k, typ, value):
    def f(m):
        m.header_only().keys[k] = (typ, value)
    CASES[name] = f


# ---- offsets and sizes beyond the file ----
@case
def cve_2026_7482_offset_beyond_file(m): m.header_only().add("w", [8], offset=1 << 40)
@case
def cve_2026_7482_size_beyond_file(m): m.header_only().add("w", [1 << 20, 1 << 10])
@case
def offset_plus_size_wraps(m): m.header_only().add("w", [8], offset=(1 << 64) - 32)
@case
def cut_in_data(m): return m.blob()[:-64]
@case
def cut_in_tensor_info(m):
    m.header_only().add("w", [8])
    return m.blob()[:-60]
@case
def cut_in_key(m): m.header_only(); return m.blob()[:200]
@case
def cut_in_head(m): return m.blob()[:20]
@case
def misaligned_offset(m): m.header_only().add("w", [64], offset=16)

# ---- counts times sizes ----
@case
def cve_2025_53630_dims_wrap(m): m.header_only().add("w", [1 << 32, 1 << 32])
@case
def cve_2025_53630_four_dims_wrap(m): m.header_only().add("w", [1 << 16] * 4)
@case
def cve_2026_27940_array_bytes_wrap(m): m.header_only().raw_keys = key("x", ARRAY, array(U64, [1], n=(1 << 61) + 1))
@case
def tensors_huge(m): m.header_only().tensors_n = 1 << 60
@case
def keys_huge(m): m.header_only().keys_n = (1 << 64) - 1
@case
def keys_more_than_bytes(m): m.header_only().keys_n = 16000

# ---- lengths and counts without bound ----
@case
def string_huge(m): m.header_only().raw_keys = key("x", STRING, string("x", n=1 << 63))
@case
def string_beyond_file(m): m.header_only().raw_keys = key("x", STRING, string("x", n=100000))
@case
def key_huge(m): m.header_only().raw_keys = key("k" * 300, U32, 1)
@case
def tensor_name_huge(m): m.header_only().add("w" * 300, [8])
@case
def array_huge(m): m.header_only().raw_keys = key("x", ARRAY, array(U8, [1], n=1 << 33))
@case
def array_beyond_file(m): m.header_only().raw_keys = key("x", ARRAY, array(U32, [1], n=1 << 20))
@case
def array_of_strings_beyond_file(m): m.header_only().raw_keys = key("x", ARRAY, array(STRING, ["a"], n=1 << 20))
@case
def nested_arrays(m): m.header_only().raw_keys = key("x", ARRAY, struct.pack("<IQ", ARRAY, 1) * 1000)

# ---- wrong types ----
@case
def tokens_of_numbers(m): m.keys["tokenizer.ggml.tokens"] = (ARRAY, array(U32, [1] * 8))
@case
def tokens_not_an_array(m): m.keys["tokenizer.ggml.tokens"] = (STRING, "a b c")
@case
def token_types_of_floats(m): m.keys["tokenizer.ggml.token_type"] = (ARRAY, array(F32, [1.0] * VOCAB))
@case
def token_types_too_few(m): m.keys["tokenizer.ggml.token_type"] = (ARRAY, array(I32, [1] * 8))
@case
def merges_of_bools(m): m.keys["tokenizer.ggml.merges"] = (ARRAY, array(BOOL, [1] * 8))
@case
def array_element_unknown(m): m.header_only().raw_keys = key("x", ARRAY, struct.pack("<IQ", 99, 1) + b"\0" * 8)
@case
def value_type_unknown(m): m.header_only().raw_keys = string("x") + struct.pack("<I", 13) + b"\0" * 8
@case
def bool_of_two(m): m.header_only().raw_keys = key("x", BOOL, 2)
number("integer_is_string", "llama.block_count", STRING, "30")
number("integer_negative", "llama.block_count", I32, -1)
number("integer_too_wide", "llama.block_count", U64, (1 << 64) - 1)
number("float_is_integer", "llama.attention.layer_norm_rms_epsilon", U32, 1)
number("float_is_nan", "llama.attention.layer_norm_rms_epsilon", F32, float("nan"))

# ---- zero where something is divided or aligned ----
number("cve_2025_0317_alignment_0", "general.alignment", U32, 0)
number("alignment_odd", "general.alignment", U32, 24)
number("alignment_huge", "general.alignment", U32, 1 << 31)
number("alignment_is_string", "general.alignment", STRING, "32")
number("head_count_0", "llama.attention.head_count", U32, 0)
number("head_count_kv_0", "llama.attention.head_count_kv", U32, 0)
number("block_count_0", "llama.block_count", U32, 0)
number("embedding_length_0", "llama.embedding_length", U32, 0)
number("feed_forward_length_0", "llama.feed_forward_length", U32, 0)
number("context_length_0", "llama.context_length", U32, 0)
number("epsilon_0", "llama.attention.layer_norm_rms_epsilon", F32, 0.0)
number("key_length_0", "llama.attention.key_length", U32, 0)
number("freq_base_0", "llama.rope.freq_base", F32, 0.0)
number("rope_dimension_0", "llama.rope.dimension_count", U32, 0)

# ---- numbers that do not fit each other ----
number("block_count_huge", "llama.block_count", U32, 1 << 30)
number("heads_do_not_divide", "llama.attention.head_count_kv", U32, 3)
number("head_dim_odd", "llama.attention.key_length", U32, 12)
number("value_length_differs", "llama.attention.value_length", U32, 16)
number("rope_dimension_odd", "llama.rope.dimension_count", U32, 7)
number("rope_dimension_too_large", "llama.rope.dimension_count", U32, 16)
number("rope_scaling_unknown", "llama.rope.scaling.type", STRING, "sinusoidal")
number("rope_scaling_without_factors", "llama.rope.scaling.type", STRING, "longrope")
number("softcap_negative", "llama.attn_logit_softcapping", F32, -1.0)
number("rope_scaling_negative", "llama.rope.scaling.factor", F32, -4.0)
number("experts_used_missing", "llama.expert_count", U32, 8)
@case
def experts(m): m.header_only().keys |= {"llama.expert_count": (U32, 8), "llama.expert_used_count": (U32, 2)}
number("architecture_unknown", "general.architecture", STRING, "mamba")
number("architecture_hostile", "general.architecture", STRING, string(b"\xff\x1b[31m"))
@case
def architecture_missing(m): del m.header_only().keys["general.architecture"]

# ---- what stands twice, or is not a name ----
@case
def key_twice(m): m.header_only().raw_keys = key("general.name", U32, 1)
@case
def tensor_twice(m):
    m.header_only().add("w", [8])
    m.add("v", [8])
    return m.blob().replace(string("v") + b"\1\0\0\0", string("w") + b"\1\0\0\0")
@case
def key_with_control_bytes(m): m.header_only().raw_keys = key(b"a\x1b[2J", U32, 1)
@case
def key_not_utf8(m): m.header_only().raw_keys = key(b"a\xff", U32, 1)
@case
def key_empty(m): m.header_only().raw_keys = key("", U32, 1)

# ---- tensors ----
@case
def dims_0(m): m.header_only().add("w", [])
@case
def dims_5(m): m.header_only().add("w", [1] * 5)
@case
def dim_of_0(m): m.header_only().add("w", [8, 0])
@case
def row_not_of_blocks(m): m.header_only().add("w", [40], T_Q8_0)
@case
def type_iq2_xxs(m): m.header_only().add("w", [256], 16)
@case
def type_of_other_container(m): m.header_only().add("w", [32], 0xffffffff)
@case
def type_unknown(m): m.header_only().add("w", [32], 4)
@case
def tensor_missing(m): del m.tensors["blk.0.attn_k.weight"]
@case
def tensor_misshapen(m): m.add("blk.0.attn_k.weight", [HIDDEN, 2 * HIDDEN])
@case
def tensor_of_three_dims(m): m.add("blk.0.attn_k.weight", [HIDDEN, HIDDEN, 2])
@case
def tensor_unknown(m): m.add("blk.0.attn_q.gate", [HIDDEN])
@case
def layer_too_many(m): m.add("blk.1.attn_norm.weight", [HIDDEN])
@case
def rope_factor_0(m):
    m.add("rope_freqs.weight", [HIDDEN // 2])
    m.tensors["rope_freqs.weight"][2] = b"\0" * 16
@case
def template_not_utf8(m): m.keys["tokenizer.chat_template"] = (STRING, string(b"{{ x }}\xff"))

# ---- not a file for us ----
@case
def not_gguf(m): return b"PK\3\4" + b"\0" * 60
@case
def empty(m): return b""
@case
def version_1(m): m.header_only().version = 1
@case
def version_4(m): m.header_only().version = 4
@case
def big_endian(m): return b"GGUF" + struct.pack(">IQQ", 3, 0, 0) + b"\0" * 64
@case
def big_endian_magic(m): return b"FUGG" + struct.pack(">IQQ", 3, 0, 0) + b"\0" * 64
@case
def split(m): m.header_only().keys["split.count"] = (U16, 3)
@case
def split_huge(m): m.header_only().keys["split.count"] = (U32, 1 << 31)
@case
def longrope_factors_misshapen(m): m.add("rope_factors_long.weight", [HIDDEN])
@case
def longrope_factor_0(m):
    for name in ("long", "short"):
        m.add(f"rope_factors_{name}.weight", [HIDDEN // 2])
        m.tensors[f"rope_factors_{name}.weight"][2] = b"\0" * 16


# ---- tokens ----
@case
def cve_2025_49847_token_huge(m):
    m.keys["tokenizer.ggml.tokens"] = (ARRAY, array(STRING, ["a" * 5000]))
    for k in ("token_type", "bos_token_id", "eos_token_id"): del m.keys[f"tokenizer.ggml.{k}"]
@case
def byte_token_malformed(m):
    m.keys["tokenizer.ggml.tokens"] = (ARRAY, array(STRING, ["<|endoftext|>", "<|im_start|>", "<0x4>", *alphabet()]))
    m.keys["tokenizer.ggml.token_type"] = (ARRAY, array(I32, [3, 3, 6] + [1] * 256))
@case
def token_type_unknown(m): m.keys["tokenizer.ggml.token_type"] = (ARRAY, array(I32, [-1] * VOCAB))
@case
def merge_of_no_token(m): m.keys["tokenizer.ggml.merges"] = (ARRAY, array(STRING, ["a b"]))
@case
def tokens_none(m):
    m.keys["tokenizer.ggml.tokens"] = (ARRAY, array(STRING, []))
    del m.keys["tokenizer.ggml.token_type"]
@case
def eos_out_of_range(m): m.keys["tokenizer.ggml.eos_token_id"] = (U32, VOCAB)
@case
def tokenizer_unknown(m): m.keys["tokenizer.ggml.model"] = (STRING, "rwkv")


if __name__ == "__main__":
    regressions, corpus, split = sys.argv[1:4]
    for name, change in {**CASES, "good": lambda m: None}.items():
        folder = corpus if name == "good" else regressions
        os.makedirs(folder, exist_ok=True)
        m = Model()
        blob = change(m)
        with open(f"{folder}/{name}.gguf", "wb") as f: f.write(m.blob() if blob is None else blob)
    os.makedirs(split, exist_ok=True)
    for name, blob in Model().parts():
        with open(f"{split}/{name}", "wb") as f: f.write(blob)
    print(f"{len(CASES)} files")
