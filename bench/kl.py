#!/usr/bin/env python3
"""kl.py LOGITS MODEL.gguf [TEXT ...] [--also FOLDER] - how far our arithmetic, and llama.cpp's, is from float32.

LOGITS is the tool that the build makes of tests/support/logits.c. For each text (default: files of this repository), cut to
--tokens tokens, the distributions at every position are compared with those of the same weights in float32 throughout: llama.cpp
on the file widened to F32, with F32 keys and values. Printed for ours and for llama.cpp's default path: the mean Kullback-Leibler
divergence from the reference, how often the most likely token agrees, and each one's perplexity of the text.
--also: the same weights in another form (tests/golden/scripts/exact_mlx.py makes an MLX folder), measured the same way.
Exit status 1 if ours is further away than llama.cpp by more than the error of that figure, or if a perplexity of all texts differs from
llama.cpp's by more than 0.5% and isn't the nearer one to float32's.
Needs numpy and llama-cpp-python. bench/text/declaration.txt is from the Declaration of Independence of 1776, in the public domain.
"""
import argparse, ctypes, os, subprocess, sys, tempfile
import numpy as np
import llama_cpp

quiet = llama_cpp.llama_log_callback(lambda level, text, data: None)
ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
TEXTS = ["bench/text/declaration.txt", "ARCHITECTURE.md", "src/engine/gguf.c", "bench/kl.py"]
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


def distance(reference, other, ids):
    """of each position: KL, whether the most likely token agrees, and the surprise at the token that follows, in nats"""
    p, q = log_softmax(reference), log_softmax(other)
    return (np.exp(p) * (p - q)).sum(-1), reference.argmax(-1) == other.argmax(-1), -q[np.arange(len(ids) - 1), ids[1:]]


def main():
    a = argparse.ArgumentParser(usage=__doc__)
    a.add_argument("tool"), a.add_argument("model"), a.add_argument("texts", nargs="*"), a.add_argument("--also")
    a.add_argument("--tokens", type=int, default=1024), a.add_argument("--cpu", default=None)
    a = a.parse_args()
    llama_cpp.llama_log_set(quiet, ctypes.c_void_p(0))
    texts = {"a story": STORY} if not a.texts else {}
    for t in a.texts or TEXTS: texts[t] = open(t if a.texts else f"{ROOT}/{t}", encoding="utf-8").read()
    vocab = llama_cpp.Llama(a.model, vocab_only=True, verbose=False)
    extra = [a.cpu] if a.cpu else []
    names = ["float32", "llama.cpp", "ours", *(["ours, also"] if a.also else [])]
    every = [[] for _ in names]
    print(f"{'text':28s} {'tokens':>6s} {'of':12s} {'KL':>9s} {'top-1':>7s} {'perplexity':>11s}")
    with tempfile.TemporaryDirectory() as folder:
        widen(a.model, f"{folder}/f32.gguf")
        for name, text in texts.items():
            ids = vocab.tokenize(text.encode(), add_bos=False, special=False)[:a.tokens]
            reference = llama_logits(f"{folder}/f32.gguf", ids, type_k=0, type_v=0, flash_attn=False)
            found = [reference, llama_logits(a.model, ids), our_logits(a.tool, a.model, ids, folder, extra)]
            if a.also: found.append(our_logits(a.tool, a.also, ids, folder, extra))
            for who, all_of, logits in zip(names, every, found):
                all_of.append(distance(reference, logits, ids))
                row(name, who, all_of[-1])
    totals = [[np.concatenate(x) for x in zip(*all_of)] for all_of in every]
    for who, total in zip(names, totals): row("all", who, total)
    exact, theirs, failed = totals[0], totals[1], False
    apart = lambda a, b: abs(np.exp(a[2].mean() - b[2].mean()) - 1)
    for who, ours in zip(names[2:], totals[2:]):
        further = ours[0] - theirs[0]           # beyond what the choice of texts explains: twice the error of the mean
        error = further.std() / len(further) ** 0.5
        print(f"{who}: KL {further.mean():+.5f} to llama.cpp's, the error of that is {error:.5f}")
        failed |= further.mean() > 2 * error
        failed |= apart(ours, theirs) > 0.005 and apart(ours, exact) > apart(theirs, exact)
    return int(failed)


def row(text, who, figures):
    kl, same, surprise = figures
    print(f"{text:28s} {len(kl):6d} {who:12s} {kl.mean():9.5f} {same.mean():7.4f} {np.exp(surprise.mean()):11.4f}", flush=True)


if __name__ == "__main__": sys.exit(main())
