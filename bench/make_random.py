#!/usr/bin/env python3
"""make_random.py SHAPE OUT - an MLX 4-bit folder of a real model's shape with random weights, to measure loading and speed on.

SHAPE: phi3-mini (2.1 GB) or qwen3-0.6b. Groups of 64 with bf16 scales, as the usual MLX conversions have them. The tokenizer is the
tiny models' own (tests/golden/make makes it) with made-up tokens up to the real number, so texts mean nothing here. numpy alone.
"""
import json, os, shutil, struct, sys
import numpy as np

TINY = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "build", "golden")
SHAPES = {
    "phi3-mini": ("phi3_longrope/mlx-4bit-g64", dict(hidden_size=3072, intermediate_size=8192, num_hidden_layers=32,
        num_attention_heads=32, num_key_value_heads=32, vocab_size=32064, max_position_embeddings=131072,
        original_max_position_embeddings=4096, sliding_window=262144)),
    "qwen3-0.6b": ("qwen3/mlx-4bit-g64", dict(hidden_size=1024, intermediate_size=3072, num_hidden_layers=28,
        num_attention_heads=16, num_key_value_heads=8, head_dim=128, vocab_size=151936, max_position_embeddings=40960)),
}
GROUP = 64


def layers_of(name, c):
    """(module, rows, columns) of every matrix, (name, length) of every norm"""
    h, f, d = c["hidden_size"], c["intermediate_size"], c.get("head_dim") or c["hidden_size"] // c["num_attention_heads"]
    q, kv = c["num_attention_heads"] * d, c["num_key_value_heads"] * d
    matrices, norms = [("model.embed_tokens", c["vocab_size"], h)], [("model.norm", h)]
    if not c["tie_word_embeddings"]: matrices.append(("lm_head", c["vocab_size"], h))
    for i in range(c["num_hidden_layers"]):
        p = f"model.layers.{i}."
        norms += [(p + "input_layernorm", h), (p + "post_attention_layernorm", h)]
        if name == "phi3-mini":
            matrices += [(p + "self_attn.qkv_proj", q + 2 * kv, h), (p + "mlp.gate_up_proj", 2 * f, h)]
        else:
            norms += [(p + "self_attn.q_norm", d), (p + "self_attn.k_norm", d)]
            matrices += [(p + f"self_attn.{x}_proj", n, h) for x, n in (("q", q), ("k", kv), ("v", kv))]
            matrices += [(p + f"mlp.{x}_proj", f, h) for x in ("gate", "up")]
        matrices += [(p + "self_attn.o_proj", h, q), (p + "mlp.down_proj", h, f)]
    return matrices, norms


def bf16(x): return (np.asarray(x, np.float32).view(np.uint32) >> 16).astype("<u2")


def main():
    name, final = sys.argv[1], sys.argv[2]
    out = final + ".part"                       # what was interrupted must not look finished
    tiny, shape = SHAPES[name]
    with open(f"{TINY}/{tiny}/config.json", encoding="utf-8") as f: c = dict(json.load(f), **shape)
    for key in ("quantization", "quantization_config"): c[key] = {"group_size": GROUP, "bits": 4}
    if c.get("rope_scaling"):
        half = shape["hidden_size"] // shape["num_attention_heads"] // 2
        c["rope_scaling"] = dict(c["rope_scaling"], short_factor=[1 + 0.01 * i for i in range(half)], long_factor=[1 + i for i in range(half)])
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(f"{TINY}/{tiny}", out, ignore=lambda _, files: [x for x in files if "safetensors" in x or x == "config.json"])
    with open(f"{out}/config.json", "w", encoding="utf-8") as f: json.dump(c, f, indent=1)
    with open(f"{out}/tokenizer.json", encoding="utf-8") as f: t = json.load(f)
    used = {*t["model"]["vocab"].values(), *(x["id"] for x in t["added_tokens"])}
    t["model"]["vocab"].update((f"made{i}up", i) for i in range(c["vocab_size"]) if i not in used)
    with open(f"{out}/tokenizer.json", "w", encoding="utf-8") as f: json.dump(t, f, ensure_ascii=False)
    matrices, norms = layers_of(name, c)
    head, at = {}, 0
    for key, dtype, dims, size in (t for m, rows, cols in matrices for t in (
            (m + ".weight", "U32", [rows, cols // 8], 4), (m + ".scales", "BF16", [rows, cols // GROUP], 2), (m + ".biases", "BF16", [rows, cols // GROUP], 2))):
        n = dims[0] * dims[1] * size
        head[key] = {"dtype": dtype, "shape": dims, "data_offsets": [at, at + n]}
        at += n
    for key, n in norms:
        head[key + ".weight"] = {"dtype": "BF16", "shape": [n], "data_offsets": [at, at + 2 * n]}
        at += 2 * n
    text, random = json.dumps(head).encode(), np.random.Generator(np.random.PCG64(1))
    with open(f"{out}/model.safetensors", "wb") as f:
        f.writelines([struct.pack("<Q", len(text)), text])
        for i, (_, rows, cols) in enumerate(matrices):
            scales = 0.02 * random.random((rows, cols // GROUP), np.float32) / 8
            f.writelines([random.bytes(rows * cols // 2), bf16(scales).tobytes(), bf16(-8 * scales).tobytes()])
            if sys.stderr.isatty(): print(f"\r{out}: {f.tell() / 1e9:.2f} of {at / 1e9:.2f} GB", end="", file=sys.stderr)
        for _, n in norms: f.write(bf16(np.ones(n)).tobytes())
    shutil.rmtree(final, ignore_errors=True)
    os.rename(out, final)
    print(f"\r{final}: {at / 1e9:.2f} GB of random weights in the shape of {name}", file=sys.stderr)


if __name__ == "__main__": main()
