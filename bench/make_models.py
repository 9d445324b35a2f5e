#!/usr/bin/env python3
"""make_models.py SHAPE FORM [OUT] - a model of a real shape in one form, to measure speed on; prints where it lies.

SHAPE: smollm2-135m has the real weights: models/SmolLM2-135M-Instruct.Q4_1.gguf, quantised anew (by llama.cpp for GGUF, by our own
affine.py for MLX). phi3-mini and qwen3-0.6b have random weights; their tokenizer is the tiny models' own with made-up tokens up to
the real number, so texts mean nothing there. FORM: q4_0, q4_1, q8_0 and q4_K_M are GGUF files, with the mix of formats that
llama.cpp would choose; mlx-BITSbit-gGROUP (mlx-4bit-g32, mlx-4bit-g64, mlx-8bit-g64) are MLX folders.

Made once, into build/random (a 2.2 GB one in some ten seconds), and again when this script is newer. Needs numpy; llama-cpp-python
for the real weights as GGUF.
"""
import ctypes, json, os, re, shutil, struct, subprocess, sys
import numpy as np

ROOT = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
sys.path.insert(0, f"{ROOT}/tests/golden/scripts")
import blocks, containers, model_files, specs, tokjson     # noqa: E402

REAL = {"smollm2-135m": f"{ROOT}/models/SmolLM2-135M-Instruct.Q4_1.gguf"}
SHAPES = {      # the tiny model whose kind it is, and what differs
    "phi3-mini": ("phi3_longrope", dict(hidden_size=3072, intermediate_size=8192, num_hidden_layers=32, num_attention_heads=32,
        num_key_value_heads=32, vocab_size=32064, max_position_embeddings=131072, original_max_position_embeddings=4096, sliding_window=262144)),
    "qwen3-0.6b": ("qwen3", dict(hidden_size=1024, intermediate_size=3072, num_hidden_layers=28, num_attention_heads=16,
        num_key_value_heads=8, head_dim=128, vocab_size=151936, max_position_embeddings=40960)),
}
GGUF_FORMS = ("q4_0", "q4_1", "q8_0", "q4_K_M")
FILE_TYPES = {"q4_0": 2, "q8_0": 7, "q4_K_M": 15}       # llama.cpp's enum llama_ftype
# Of a block: how a random one is made sane. The f16 scale is the first of `halves`; a second one is the minimum, which is then
# `middle` scales below zero. spread: the standard deviation of a number, in scales, when all other bits are random.
BLOCK = {"q4_0": dict(halves=[0], spread=4.6), "q4_1": dict(halves=[0, 2], middle=-7.5, spread=4.6), "q8_0": dict(halves=[0], spread=74),
         "q4_k": dict(halves=[0, 2], middle=7.5, spread=190), "q5_k": dict(halves=[0, 2], middle=15.5, spread=390),
         "q6_k": dict(halves=[208], spread=1370)}
SMALLEST_HALF = 6.2e-5      # nothing subnormal


def shape_config(shape):
    tiny, own = SHAPES[shape]
    c = dict(specs.SPECS[tiny], **own)
    if c["rope_scaling"]:
        half = c["hidden_size"] // c["num_attention_heads"] // 2
        c["rope_scaling"] = dict(c["rope_scaling"], short_factor=[1 + 0.01 * i for i in range(half)], long_factor=[1 + i for i in range(half)])
    return tiny, c


def tensors_of(c):
    """(name, rows, columns) of every matrix, (name, length) of every norm, under Hugging Face's names"""
    h, f, d = c["hidden_size"], c["intermediate_size"], c.get("head_dim") or c["hidden_size"] // c["num_attention_heads"]
    q, kv = c["num_attention_heads"] * d, c["num_key_value_heads"] * d
    matrices, norms = [("model.embed_tokens", c["vocab_size"], h)], [("model.norm", h)]
    if not c["tie_word_embeddings"]: matrices.append(("lm_head", c["vocab_size"], h))
    for i in range(c["num_hidden_layers"]):
        p = f"model.layers.{i}."
        norms += [(p + "input_layernorm", h), (p + "post_attention_layernorm", h)]
        if c["model_type"] == "phi3":
            matrices += [(p + "self_attn.qkv_proj", q + 2 * kv, h), (p + "mlp.gate_up_proj", 2 * f, h)]
        else:
            norms += [(p + "self_attn.q_norm", d), (p + "self_attn.k_norm", d)]
            matrices += [(p + f"self_attn.{x}_proj", n, h) for x, n in (("q", q), ("k", kv), ("v", kv))]
            matrices += [(p + f"mlp.{x}_proj", f, h) for x in ("gate", "up")]
        matrices += [(p + "self_attn.o_proj", h, q), (p + "mlp.down_proj", h, f)]
    return matrices, norms


def full_tokenizer(tiny, vocab):
    """the tiny model's, with made-up tokens up to the real number"""
    lengths, out = {"tokens": vocab, "token_type": vocab, "scores": vocab}, []
    for key, kind, value in specs.tokenizer(tiny):
        name = key.removeprefix("tokenizer.ggml.")
        if name in lengths:
            more = range(len(value), vocab)
            value = list(value) + [{"tokens": f"made{i}up", "token_type": 1, "scores": -1e4 - i}[name] for i in more]
        out.append((key, kind, value))
    return out


# ---- GGUF

def mixed(name, form, c):
    """the format of a matrix: what llama.cpp's quantiser takes for it"""
    head = name == "output.weight" or name == "token_embd.weight" and c["tie_word_embeddings"]
    if head and form != "q8_0": return "q6_k"
    if form != "q4_K_M": return form
    n = c["num_hidden_layers"]
    i = int(name.split(".")[1]) if name.startswith("blk.") else 0
    more = i < n // 8 or i >= 7 * n // 8 or (i - n // 8) % 3 == 2
    if "attn_qkv" in name: return "q5_k"
    return "q6_k" if more and ("attn_v" in name or "ffn_down" in name) else "q4_k"


def random_blocks(rng, fmt, rows, cols):
    block, b = BLOCK[fmt], blocks.BLOCKS[fmt]
    n = rows * cols // b.numbers
    raw = np.frombuffer(bytearray(rng.bytes(n * b.bytes)), np.uint8).reshape(n, b.bytes)
    d = np.maximum(rng.uniform(0.8, 1.2, n).astype(np.float32) / (block["spread"] * cols ** 0.5), SMALLEST_HALF)
    for at, factor in zip(block["halves"], (1, block.get("middle"))):
        raw[:, at:at + 2] = (d * factor).astype("<f2").view(np.uint8).reshape(n, 2)
    return raw


def random_gguf(shape, form, out):
    tiny, c = shape_config(shape)
    arch, rng = c["model_type"], np.random.Generator(np.random.PCG64(1))
    meta = [("general.architecture", "str", arch), ("general.name", "str", f"random {shape}"),
            *model_files.gguf_meta(c, arch), *full_tokenizer(tiny, c["vocab_size"])]
    matrices, norms = tensors_of(c)
    plain = [(model_files.gguf_name(name + ".weight", arch), np.ones(n)) for name, n in norms] + model_files.rope_tensors(c, arch)
    tensors = [(name, "f32", (x.size,), x) for name, x in plain]
    for name, rows, cols in matrices:
        gguf = model_files.gguf_name(name + ".weight", arch)
        tensors.append((gguf, mixed(gguf, form, c), (rows, cols), None))
    head = [b"GGUF", struct.pack("<IQQ", 3, len(tensors), len(meta))] + [containers.string(k) + containers.value(kind, v) for k, kind, v in meta]
    at, pad = 0, lambda size: -size % 32
    for name, fmt, dims, _ in tensors:
        b = blocks.BLOCKS[fmt]
        head.append(containers.string(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims[::-1], b.type, at))
        size = int(np.prod(dims)) // b.numbers * b.bytes
        at += size + pad(size)
    h = b"".join(head)
    with open(out, "wb") as f:
        f.writelines([h, b"\0" * pad(len(h))])
        for _, fmt, dims, x in tensors:
            raw = random_blocks(rng, fmt, *dims) if x is None else x.astype("<f4").view(np.uint8)
            f.write(raw.tobytes() + b"\0" * pad(raw.nbytes))


# ---- MLX

def random_mlx(shape, form, out):
    tiny, c = shape_config(shape)
    bits, group = map(int, re.findall(r"\d+", form))
    tokenizer, rng = full_tokenizer(tiny, c["vocab_size"]), np.random.Generator(np.random.PCG64(1))
    os.makedirs(out)
    c = model_files.config_of(dict(c, quantization={"group_size": group, "bits": bits}), tokenizer, "BF16")
    model_files.write_json(f"{out}/config.json", c)
    tokjson.write(model_files.metadata(c, tokenizer), out)
    matrices, norms = tensors_of(c)
    head, at = {}, 0
    def declare(name, dtype, dims):
        nonlocal at
        size = int(np.prod(dims)) * (4 if dtype == "U32" else 2)
        head[name] = {"dtype": dtype, "shape": dims, "data_offsets": [at, at + size]}
        at += size
    for m, rows, cols in matrices:
        declare(m + ".weight", "U32", [rows, cols * bits // 32])
        for part in (".scales", ".biases"): declare(m + part, "BF16", [rows, cols // group])
    for m, n in norms: declare(m + ".weight", "BF16", [n])
    text = json.dumps(head).encode()
    with open(f"{out}/model.safetensors", "wb") as f:
        f.writelines([struct.pack("<Q", len(text)), text])
        for _, rows, cols in matrices:
            scales = rng.uniform(0.8, 1.2, (rows, cols // group)) / (0.29 * 2 ** bits * cols ** 0.5)
            f.writelines([rng.bytes(rows * cols * bits // 8), blocks.bf16(scales).tobytes(),
                          blocks.bf16(scales * -(2 ** (bits - 1) - 0.5)).tobytes()])
        for _, n in norms: f.write(blocks.bf16(np.ones(n)).tobytes())


# ---- real weights

def real_gguf(source, form, out):
    import llama_cpp
    quiet = llama_cpp.llama_log_callback(lambda level, text, data: None)
    llama_cpp.llama_log_set(quiet, ctypes.c_void_p(0))
    p = llama_cpp.llama_model_quantize_default_params()
    p.ftype, p.allow_requantize = FILE_TYPES[form], True
    if llama_cpp.llama_model_quantize(source.encode(), out.encode(), ctypes.byref(p)): sys.exit(f"llama.cpp cannot make {out}")


def real_mlx(source, form, out):
    bits, group = map(int, re.findall(r"\d+", form))
    if form == "mlx-4bit-g32":      # the very same numbers
        subprocess.run([sys.executable, f"{ROOT}/tests/golden/scripts/exact_mlx.py", source, out], check=True, stdout=subprocess.DEVNULL)
        return
    c, w = model_files.load_gguf(source)
    tokenizer = [(k, None, v) for k, v in containers.Gguf(source).meta.items() if k.startswith("tokenizer.")]
    c = dict(specs.LLAMA, **c, vocab_size=len(w["model.embed_tokens.weight"]), tie_word_embeddings="lm_head.weight" not in w,
             intermediate_size=len(w["model.layers.0.mlp.up_proj.weight"]))
    model_files.save_mlx(out, c, w, tokenizer, bits, group, "F16")


def path_of(shape, form): return f"{ROOT}/build/random/{shape}.{form}" + (".gguf" if form in GGUF_FORMS else "")


def make(shape, form, out=None):
    """the path of the model, which is made if it isn't there"""
    if shape in REAL and form == "q4_1": return REAL[shape]
    out = out or path_of(shape, form)
    if os.path.exists(out) and os.path.getmtime(out) > os.path.getmtime(__file__): return out
    part = out + ".part"                        # what was interrupted must not look finished
    for old in (part, out):
        if os.path.isdir(old): shutil.rmtree(old)
        elif os.path.lexists(old): os.remove(old)
    os.makedirs(os.path.dirname(out) or ".", exist_ok=True)
    print(f"making {os.path.relpath(out)}", file=sys.stderr, flush=True)
    gguf = form in GGUF_FORMS
    if shape in REAL: (real_gguf if gguf else real_mlx)(REAL[shape], form, part)
    else: (random_gguf if gguf else random_mlx)(shape, form, part)
    os.rename(part, out)
    os.utime(out)
    return out


def main():
    if not 3 <= len(sys.argv) <= 4 or sys.argv[1] not in {*REAL, *SHAPES} or not re.fullmatch(r"q4_[01]|q8_0|q4_K_M|mlx-\d+bit-g\d+", sys.argv[2]):
        sys.exit(__doc__)
    print(make(*sys.argv[1:]))


if __name__ == "__main__": main()
