#!/usr/bin/env python3
"""kl.py LOGITS MODEL.gguf [TEXT ...] - how far our arithmetic, and llama.cpp's, is from float32.

LOGITS is the tool that the build makes of tests/support/logits.c. For each text (default: files of this repository), cut to
--tokens tokens, the distributions at every position are compared with those of the same weights in float32 throughout: llama.cpp
on the file widened to F32, with F32 keys and values. Printed for ours and for llama.cpp's default path: the mean Kullback-Leibler
divergence from the reference, how often the most likely token agrees, and the mean difference of the logits.
Exit status 1 if ours is further away than llama.cpp. Needs numpy and llama-cpp-python.
"""
import argparse, ctypes, os, subprocess, sys, tempfile
import numpy as np
import llama_cpp

quiet = llama_cpp.llama_log_callback(lambda level, text, data: None)
ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
TEXTS = ["ARCHITECTURE.md", "src/engine/gguf.c", "bench/kl.py"]
STORY = """The ferry left the island at dusk, an hour late and half empty. Marta stood at the rail with her collar turned up and watched
the harbour lights shrink into a single yellow smear. She had come for the funeral and stayed for the arguments, and now that both
were over she felt nothing but a clean, tired hunger. Below deck someone was frying onions. A boy of about six, in a coat much too
large for him, was explaining to his grandfather how whales sleep. "They keep one half of the brain awake," he said, "so that they
don't forget to breathe." The old man nodded as if he had been doing exactly that for years. When the engine changed its tone and
the bow swung towards the open water, the three of them turned their heads at the same moment, like birds on a wire."""


def widen(source, target):
    p = llama_cpp.llama_model_quantize_default_params()
    p.ftype, p.allow_requantize = 0, True           # 0: all F32
    if llama_cpp.llama_model_quantize(source.encode(), target.encode(), ctypes.byref(p)): sys.exit("cannot widen the model to F32")


def llama_logits(path, ids, **options):
    m = llama_cpp.Llama(path, n_ctx=max(512, len(ids)), n_batch=512, logits_all=True, verbose=False, **options)
    m.eval(ids)
    out = np.array(m.scores[:len(ids)], np.float32)
    m.close()
    return out


def our_logits(tool, path, ids, folder, extra):
    with open(f"{folder}/ids", "w") as f: f.write("\n".join(map(str, ids)))
    subprocess.run([tool, path, f"{folder}/ids", f"{folder}/out", *extra], check=True)
    return np.fromfile(f"{folder}/out", "<f4").reshape(len(ids), -1)


def log_softmax(x):
    x = x.astype(np.float64)
    x -= x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def distance(reference, other):
    p, q = log_softmax(reference), log_softmax(other)
    kl = (np.exp(p) * (p - q)).sum(-1)
    return kl, reference.argmax(-1) == other.argmax(-1), np.abs(reference - other).mean(-1)


def main():
    a = argparse.ArgumentParser(usage=__doc__)
    a.add_argument("tool"), a.add_argument("model"), a.add_argument("texts", nargs="*")
    a.add_argument("--tokens", type=int, default=512), a.add_argument("--cpu", default=None)
    a = a.parse_args()
    llama_cpp.llama_log_set(quiet, ctypes.c_void_p(0))
    texts = {"a story": STORY} if not a.texts else {}
    for t in a.texts or TEXTS: texts[t] = open(t if a.texts else f"{ROOT}/{t}", encoding="utf-8").read()
    vocab = llama_cpp.Llama(a.model, vocab_only=True, verbose=False)
    all_ours, all_theirs = [], []
    print(f"{'text':24s} {'tokens':>6s}   {'KL ours':>9s} {'KL llama':>9s}   {'top-1 ours':>10s} {'llama':>6s}   {'|d| ours':>8s} {'llama':>6s}")
    with tempfile.TemporaryDirectory() as folder:
        widen(a.model, f"{folder}/f32.gguf")
        for name, text in texts.items():
            ids = vocab.tokenize(text.encode(), add_bos=False, special=False)[:a.tokens]
            reference = llama_logits(f"{folder}/f32.gguf", ids, type_k=0, type_v=0, flash_attn=False)
            ours = distance(reference, our_logits(a.tool, a.model, ids, folder, [a.cpu] if a.cpu else []))
            theirs = distance(reference, llama_logits(a.model, ids))
            all_ours.append(ours), all_theirs.append(theirs)
            row(name, ours, theirs)
    ours, theirs = ([np.concatenate(x) for x in zip(*d)] for d in (all_ours, all_theirs))
    row("all", ours, theirs)
    return int(ours[0].mean() > theirs[0].mean())


def row(name, ours, theirs):
    print(f"{name:24s} {len(ours[0]):6d}   {ours[0].mean():9.5f} {theirs[0].mean():9.5f}   {ours[1].mean():10.4f} {theirs[1].mean():6.4f}"
          f"   {ours[2].mean():8.4f} {theirs[2].mean():6.4f}", flush=True)


if __name__ == "__main__": sys.exit(main())
