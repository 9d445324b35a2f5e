#!/usr/bin/env python3
"""models.py LOGITS [--json] [--cpu NAME] [PART ...] - every tiny model in every container, held to its reference.

LOGITS is the tool that the build makes of tests/support/logits.c; tests/golden/make made the models, and the float64 logits that
transformers, mlx_lm and llama.cpp agree with. For each model, container and length: the largest difference of a logit, the mean
Kullback-Leibler divergence from the reference in nats, and how often the most likely token agrees. Where llama-cpp-python is
installed (bench/setup), llama.cpp's figures for the same GGUF file stand beside ours. PART: only the models whose name has it.
Exit status 1 if a model is refused, or further away than its kind of arithmetic allows.
"""
import argparse, ctypes, json, os, subprocess, sys, tempfile
import numpy as np

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
TINY = f"{ROOT}/build/golden"
# Largest difference and mean KL that are allowed. Float weights leave the rounding of keys and values to f16; quantised ones are
# multiplied with int8 activations, which moves single logits of these small random models far, but not the distribution.
FLOAT, INT8 = (2e-2, 1e-5), (1.0, 8e-3)
FLOATS = ("hf", "f32.gguf", "f16.gguf", "bf16.gguf", "mlx-bf16")


def tolerance(container): return FLOAT if container.startswith(FLOATS) else INT8


def log_softmax(x):
    x = x.astype(np.float64)
    x = x - x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def figures(reference, other):
    p, q = log_softmax(reference), log_softmax(other)
    return {"largest": float(np.abs(reference.astype(np.float64) - other).max()), "kl": float((np.exp(p) * (p - q)).sum(-1).mean()),
            "top1": float((reference.argmax(-1) == other.argmax(-1)).mean())}


def our_logits(a, path, ids, folder):
    """float32 [tokens][vocab], or what the engine says against the model"""
    with open(f"{folder}/ids", "w", encoding="utf-8") as f: f.write("\n".join(map(str, ids)))
    done = subprocess.run([a.logits, path, f"{folder}/ids", f"{folder}/out", *([a.cpu] if a.cpu else [])], capture_output=True, text=True,
                          check=False)
    if done.returncode: return done.stderr.strip() or f"exit status {done.returncode}"
    return np.fromfile(f"{folder}/out", "<f4").reshape(len(ids), -1)


class Llama:
    """llama.cpp with its defaults; a context just long enough, since that is what it chooses longrope's factors by"""

    def __init__(self):
        import llama_cpp
        self.lib = llama_cpp
        self.quiet = llama_cpp.llama_log_callback(lambda level, text, data: None)
        llama_cpp.llama_log_set(self.quiet, ctypes.c_void_p(0))

    def logits(self, path, ids):
        m = self.lib.Llama(path, n_ctx=-(-len(ids) // 256) * 256, n_batch=512, logits_all=True, verbose=False)
        m.eval(ids)
        out = np.array(m.scores[:len(ids)], np.float32)
        m.close()
        return out


def llama():
    try: return Llama()
    except ImportError: return None


def measure(a, goldens, reference, folder):
    other = llama()
    for e in goldens["entries"]:
        if a.parts and not any(part in e["model"] for part in a.parts): continue
        path, ids = f"{TINY}/{e['model']}", goldens["ids"][:e["n"]]
        expected = reference[e["at"]:e["at"] + len(e["rows"]) * e["vocab"]].reshape(-1, e["vocab"])
        model, container = e["model"].split("/")
        row = {"model": model, "container": container, "tokens": e["n"]}
        ours = our_logits(a, path, ids, folder)
        if isinstance(ours, str): row.update(ok=False, refused=ours.removeprefix("logits: "))
        else:
            row["ours"] = figures(expected, ours[e["rows"]])
            most, kl = tolerance(container)
            row["ok"] = row["ours"]["largest"] <= most and row["ours"]["kl"] <= kl
        if other and container.endswith(".gguf"): row["llama.cpp"] = figures(expected, other.logits(path, ids)[e["rows"]])
        yield row


def text(row):
    cells = lambda f: f"{f['largest']:9.2e} {f['kl']:9.2e} {f['top1']:6.3f}" if f else ""
    line = f"{row['model']:16s} {row['container']:17s} {row['tokens']:6d}  "
    line += f"refused: {row['refused']}" if "refused" in row else f"{cells(row['ours'])}   {cells(row.get('llama.cpp'))}"
    return line.rstrip() + ("" if row["ok"] else "  <- too far")


def main():
    a = argparse.ArgumentParser(usage=__doc__)
    a.add_argument("logits"), a.add_argument("parts", nargs="*"), a.add_argument("--json", action="store_true"), a.add_argument("--cpu")
    a = a.parse_args()
    with open(f"{TINY}/goldens.json", encoding="utf-8") as f: goldens = json.load(f)
    reference, rows = np.fromfile(f"{TINY}/logits.f32", "<f4"), []
    if not a.json:
        print(f"{'':43s}{'ours':^26s}   {'llama.cpp':^26s}\n{'model':16s} {'container':17s} {'tokens':>6s}"
              + f"  {'largest':>9s} {'KL':>9s} {'top-1':>6s} " * 2)
    with tempfile.TemporaryDirectory() as folder:
        for row in measure(a, goldens, reference, folder):
            rows.append(row)
            if not a.json: print(text(row), flush=True)
    far = [r for r in rows if not r["ok"]]
    if a.json: print(json.dumps({"rows": rows, "ok": not far}, indent=1))
    else: print(f"\n{len(rows)} rows, {len({(r['model'], r['container']) for r in rows})} files, {len(far)} too far or refused")
    return int(bool(far) or not rows)


if __name__ == "__main__": sys.exit(main())
