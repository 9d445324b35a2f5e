#!/usr/bin/env python3
"""others.py [--write] - how other implementations agree with refmodel.py, on the files that make_tiny.py made in build/golden.

mlx_lm runs the directories with all its arithmetic in float32, llama.cpp (llama-cpp-python) the unquantised GGUF files with its own
f16 arithmetic; whichever of the two can be imported. Where one of them means something else than the model's makers do, the
reference is told to mean the same, see MEANT. --write: makes ../tiny/goldens.json of the reference where all agreed.
Run with mlx_lm 0.32.2 and llama-cpp-python 0.3.36.
"""
import json, os, sys
import numpy as np
import model_files, refmodel

HERE = os.path.dirname(os.path.abspath(__file__))
TINY = f"{HERE}/../../../build/golden"
ALLOWED = {"mlx_lm": 6e-4, "llama.cpp": 6e-2}      # logits; the first is the rounding of Gemma's embedding scale, f32 is below 1e-4
ABOUT = ("Logits of the unquantised tiny models: the eight highest of each row, and the first 32 of the last row. Float64, by refmodel.py; "
         "mlx_lm in float32 and llama.cpp agree on these very weights (others.py), transformers in float32 on those of the first ten models.")


def no_window(c): return dict(c, sliding_window=None, layer_types=["full_attention"] * c["num_hidden_layers"])
def truncated(c): return dict(c, rope_scaling=dict(c["rope_scaling"], truncate=True))
def always_long(c): return dict(c, rope_scaling=dict(c["rope_scaling"], short_factor=c["rope_scaling"]["long_factor"]))


MEANT = {("mlx_lm", "mistral"): no_window, ("mlx_lm", "gemma2"): no_window, ("mlx_lm", "phi3"): always_long,
         ("mlx_lm", "gpt_oss"): truncated, ("llama.cpp", "gpt_oss"): truncated}


def mlx_logits(path, ids):
    import mlx.core as mx
    from pathlib import Path
    from mlx_lm.utils import load_model
    model, _ = load_model(Path(path))
    model.set_dtype(mx.float32)
    return np.array(model(mx.array([ids]))[0].astype(mx.float32))


def llama_logits(path, ids):
    import llama_cpp
    m = llama_cpp.Llama(path, n_ctx=-(-len(ids) // 256) * 256, n_batch=512, logits_all=True, verbose=False)
    m.eval(ids)
    out = np.array(m.scores[:len(ids)], np.float32)
    m.close()
    return out


def available():
    for name, module in (("mlx_lm", "mlx_lm"), ("llama.cpp", "llama_cpp")):
        try: __import__(module)
        except ImportError: continue
        yield name


def goldens_of(path, ids, rows):
    y = refmodel.forward(*model_files.load(path), ids, rows)
    top = [[[int(i), round(float(r[i]), 4)] for i in np.argsort(-r)[:8]] for r in y]
    return {"top": top, "first32": [round(float(v), 4) for v in y[-1][:32]]}


def main():
    with open(f"{TINY}/goldens.json", encoding="utf-8") as f: made = json.load(f)
    who, far, kept = list(available()), 0, []
    for e in made["entries"]:
        path, container, ids = f"{TINY}/{e['model']}", e["model"].split("/")[1], made["ids"][:e["n"]]
        for other in who:
            gguf = container in ("f16.gguf", "f32.gguf")
            if (other == "llama.cpp") != gguf or container.endswith(".gguf") and not gguf or container == "hf-new": continue
            c, w = model_files.load(path)
            c = MEANT.get((other, c["model_type"]), lambda x: x)(c)
            y = (llama_logits if gguf else mlx_logits)(path, ids)[e["rows"]]
            off = np.abs(y - refmodel.forward(c, w, ids, e["rows"])).max()
            bad = not off <= ALLOWED[other]
            far += bad
            print(f"{e['model']:34s} {e['n']:5d}  {other:10s} {off:.1e}" + ("  <- too far" if bad else ""), flush=True)
        if container == "hf" or container == "f16.gguf" and e["n"] == 16:
            kept.append({"model": e["model"], "n": e["n"], "rows": e["rows"], **goldens_of(path, ids, e["rows"])})
    print(f"{', '.join(who) or 'nobody'}: {far} too far")
    if "--write" in sys.argv and who and not far:
        with open(f"{HERE}/../tiny/goldens.json", "w", encoding="utf-8") as f:
            lines = ",\n".join(json.dumps(k, separators=(",", ":")) for k in kept)
            f.write(f'{{"about": {json.dumps(ABOUT)},\n"entries": [\n{lines}\n]}}\n')
    return int(far or not who)


if __name__ == "__main__": sys.exit(main())
