#!/usr/bin/env python3
"""make_tiny.py OUT - every tiny model in every container, and the logits that they must have.

    OUT/<model>/hf, hf-*, mlx-*, *.gguf     see containers() below
    OUT/goldens.json, OUT/logits.f32        what refmodel.py computes of each of those files: the entry of a model and a length
                                            says which rows, and where in logits.f32 they begin (float32 [rows][vocab])
The same input gives the same bytes. Needs numpy alone; takes some seconds; does nothing where OUT is up to date. Last, what
refmodel.py computes of the unquantised files is compared with ../tiny/goldens.json, which stands for transformers, mlx_lm and
llama.cpp: see its "about". Exit status 1 where they differ.
"""
import fcntl, hashlib, json, os, shutil, sys, time
import numpy as np
import blocks, model_files, refmodel, specs

HERE = os.path.dirname(os.path.abspath(__file__))
IDS = (3 + np.random.Generator(np.random.PCG64(7)).integers(0, 480, 4200)).tolist()
MAIN = ("hf", "f16.gguf", "mlx-4bit-g64", "mlx-4bit-g128", "mlx-mxfp4")      # these are computed at every length, the others at the first

NOT_YET = ("gpt_oss/hf", "gpt_oss/hf-new", "gpt_oss/mlx-mxfp4")     # refused by the engine: experts in MXFP4 with scales apart

GGUF = {"llama_tied": ["f32", "bf16", "q8_0", "q4_0", "q4_1", "q5_0", "q5_1", "iq4_nl", "mxfp4"],
        "llama_k256": ["q2_k", "q3_k", "q4_k", "q5_k", "q6_k", "iq4_xs", "mixed_k"], "gpt_oss": ["mxfp4_q8_0"]}
MLX = {"llama_tied": ["4bit-g64", "4bit-g32", "8bit-g64", "6bit-g64", "5bit-g32", "3bit-g64", "2bit-g32", "mixed", "bf16",
                      "4bit-g64-f16", "4bit-g64-f32"],
       "llama_k256": ["4bit-g128", "mixed_3_6"], "phi3_longrope": ["4bit-g64", "8bit-g64"], "gpt_oss": ["mxfp4"]}


def mixed_k(name):
    """as the usual mixtures of k-quants: more bits where they count more"""
    part = name.split(".")[-2]
    return {"token_embd": "q3_k", "output": "q6_k", "attn_v": "q6_k", "ffn_down": "q5_k", "ffn_gate": "q2_k"}.get(part, "q4_k")


def mxfp4(layer):
    """gpt-oss: the experts stay as they are"""
    return {"group_size": 32, "bits": 4, "mode": "mxfp4"} if ".experts." in layer else False if layer.endswith(".router") else {}


def mxfp4_q8_0(name): return "mxfp4" if "_exps" in name else "q8_0"


def mixed(layer):
    if "embed_tokens" in layer: return {"group_size": 64, "bits": 8}
    if "v_proj" in layer or "down_proj" in layer: return {"group_size": 32, "bits": 6}
    return False if "layers.0.self_attn.o_proj" in layer else {}


def mixed_3_6(layer):
    return {"group_size": 64, "bits": 6} if any(s in layer for s in ("v_proj", "down_proj", "lm_head")) else {}


def router_8(layer): return {"group_size": 64, "bits": 8} if layer.endswith("mlp.gate") else {}


def mlx_options(variant):
    """4bit-g64-f16 -> what save_mlx takes"""
    if variant == "bf16": return {"bits": None, "group": None}
    if variant == "mixed": return {"bits": 4, "group": 64, "override": mixed}
    if variant == "mxfp4": return {"bits": 8, "group": 64, "override": mxfp4}
    if variant == "mixed_3_6": return {"bits": 3, "group": 64, "override": mixed_3_6}
    bits, group, *dtype = variant.split("-")
    return {"bits": int(bits[0]), "group": int(group[1:]), "dtype": (dtype or ["bf16"])[0].upper(), "override": router_8}


def containers(folder, name):
    """writes one model in all its containers"""
    c, w, tokenizer = specs.SPECS[name], specs.weights(name), specs.tokenizer(name)
    model_files.save_hf(f"{folder}/hf", c, w, tokenizer)
    model_files.save_hf(f"{folder}/hf-new", c, w, tokenizer, new_spelling=True)
    if name == "llama_tied":
        model_files.save_hf(f"{folder}/hf-f32", c, w, tokenizer, "F32")
        model_files.save_hf(f"{folder}/hf-f16", c, w, tokenizer, "F16")
        model_files.save_hf(f"{folder}/hf-sharded", c, w, tokenizer, shards=3)
    for variant in MLX.get(name, ["4bit-g64"]):
        model_files.save_mlx(f"{folder}/mlx-{variant}", c, w, tokenizer, **mlx_options(variant))
    for fmt in ["f16"] + GGUF.get(name, ["q8_0", "q4_0"]):
        model_files.save_gguf(f"{folder}/{fmt}.gguf", c, w, tokenizer, {"mixed_k": mixed_k, "mxfp4_q8_0": mxfp4_q8_0}.get(fmt, lambda _, f=fmt: f))


def lengths(name, container):
    if container not in MAIN: return [16]
    if name == "phi3_longrope": return [16, 4200]
    return [16, 100] if name in ("qwen3_moe", "gpt_oss") else [16, 100, 300]


def rows_of(n):
    """which positions' logits are kept"""
    return list(range(n)) if n <= 16 else list(range(n - 4, n)) if n > 300 else [*range(0, n, 10), n - 1]


def goldens(out):
    entries, at = [], 0
    with open(f"{out}/logits.f32", "wb") as f:
        for name in specs.SPECS:
            for container in sorted(x for x in os.listdir(f"{out}/{name}")):
                c, w = model_files.load(f"{out}/{name}/{container}")
                for n in lengths(name, container):
                    y = refmodel.forward(c, w, IDS[:n], rows_of(n))
                    assert np.isfinite(y).all()
                    entries.append({"model": f"{name}/{container}", "n": n, "rows": rows_of(n), "vocab": y.shape[1], "at": at})
                    f.write(y.astype("<f4").tobytes())
                    at += y.size
                if c.get("_router_gap", 1) < 1e-3: sys.exit(f"{name}/{container}: a routing decision is a near-tie ({c['_router_gap']})")
    with open(f"{out}/goldens.json", "w", encoding="utf-8") as f:
        f.write('{"ids":%s,\n"entries":[\n%s\n]}\n' % (json.dumps(IDS, separators=(",", ":")), ",\n".join(json.dumps(e) for e in entries if e["model"] not in NOT_YET)))
    return entries


def check(out, entries):
    """the committed goldens against the computed ones: how far off at most, of how many"""
    with open(f"{HERE}/../tiny/goldens.json", encoding="utf-8") as f: committed = json.load(f)["entries"]
    logits = np.fromfile(f"{out}/logits.f32", "<f4")
    found = {(e["model"], e["n"]): e for e in entries}
    worst = 0
    for e in committed:
        ours = found[e["model"], e["n"]]
        assert ours["rows"] == e["rows"]
        y = logits[ours["at"]:ours["at"] + len(e["rows"]) * ours["vocab"]].reshape(-1, ours["vocab"])
        off = max(np.abs(y[-1][:32] - e["first32"]).max(), *(abs(y[r, i] - v) for r, row in enumerate(e["top"]) for i, v in row))
        worst = max(worst, off)
        if off > 2e-4: print(f"{e['model']}, {e['n']} tokens: {off:.5f} away from what other implementations agree on", file=sys.stderr)
    return worst, len(committed)


def digest():
    h = hashlib.sha256(np.__version__.encode())
    for path in sorted([f"{HERE}/{x}" for x in os.listdir(HERE) if x.endswith(".py")] + [f"{HERE}/../tiny/{x}" for x in os.listdir(f"{HERE}/../tiny")]):
        if os.path.isfile(path):
            with open(path, "rb") as f: h.update(f.read())
    return h.hexdigest()


def main():
    out, started = sys.argv[1].rstrip("/"), time.monotonic()
    os.makedirs(os.path.dirname(os.path.abspath(out)), exist_ok=True)
    with open(out + ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        stamp = f"{out}/made"
        if os.path.exists(stamp) and open(stamp).read() == digest(): return 0
        shutil.rmtree(out, ignore_errors=True)
        for name in specs.SPECS:
            os.makedirs(f"{out}/{name}")
            containers(f"{out}/{name}", name)
        entries = goldens(out)
        worst, n = check(out, entries)
        print(f"{len(entries)} goldens of {len({e['model'] for e in entries})} models in {time.monotonic() - started:.1f} s; "
              f"at most {worst:.6f} from {n} of other implementations")
        if worst > 2e-4: return 1
        with open(stamp, "w") as f: f.write(digest())
    return 0


if __name__ == "__main__": sys.exit(main())
