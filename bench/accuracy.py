#!/usr/bin/env python3
"""accuracy.py LOGITS [--sequences N] [--cpu NAME] [PART ...] - ours and llama.cpp's distance from float64, over many random texts.

The tiny models' goldens are one sequence of tokens each: with quantised weights, which of two equally good engines is nearer there is a
matter of luck. This draws N (40) sequences of 16 tokens for each quantised GGUF file, computes their logits with the numpy reference,
and prints the mean Kullback-Leibler divergences, and their difference with the error of its mean. PART: only the files whose name has it.
Exit status 1 if ours is further away, in any file, by more than three times that error, or in all of them together by more than twice.
Needs numpy, llama-cpp-python, and the tiny models (tests/golden/make).
"""
import argparse, glob, os, sys, tempfile
import numpy as np
import models

sys.path.insert(0, f"{models.ROOT}/tests/golden/scripts")
import model_files, refmodel    # noqa: E402

LENGTH = 16


def distances(a, other, path, folder):
    """mean KL of each sequence: ours, theirs; or what our engine says against the model"""
    c, weights = model_files.load(path)
    rng, found = np.random.default_rng(1), []
    for _ in range(a.sequences):
        ids = [int(x) for x in rng.integers(3, len(weights["model.embed_tokens.weight"]) - 16, LENGTH)]
        reference, ours = refmodel.forward(c, weights, ids), models.our_logits(a, path, ids, folder)
        if isinstance(ours, str): return ours
        found.append([models.figures(reference, x)["kl"] for x in (ours, other.logits(path, ids))])
    return np.array(found).T


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("logits"), parser.add_argument("parts", nargs="*"), parser.add_argument("--cpu")
    parser.add_argument("--sequences", type=int, default=40)
    a = parser.parse_args()
    other, failed, relative = models.llama() or sys.exit("accuracy.py: llama-cpp-python is not there (bench/setup)"), False, []
    print(f"{'':34}{'ours':>11}{'llama.cpp':>11}{'difference':>12}{'its error':>11}")
    with tempfile.TemporaryDirectory() as folder:
        for path in sorted(glob.glob(f"{models.TINY}/*/*.gguf")):
            name = os.path.relpath(path, models.TINY)
            if os.path.basename(path).startswith(models.FLOATS) or a.parts and not any(p in name for p in a.parts): continue
            found = distances(a, other, path, folder)
            if isinstance(found, str):
                print(f"{name:34}refused: {found}")
                continue
            ours, theirs = found
            error = (ours - theirs).std() / len(ours) ** 0.5
            far = (ours - theirs).mean() > 3 * error
            failed |= far
            relative.append((ours - theirs) / theirs.mean())
            print(f"{name:34}{ours.mean():11.3e}{theirs.mean():11.3e}{(ours - theirs).mean():+12.1e}{error:11.1e}{'  <- further away' if far else ''}", flush=True)
    every = np.concatenate(relative) if relative else np.zeros(1)
    mean, error = every.mean(), every.std() / len(every) ** 0.5
    print(f"\n{len(relative)} files: ours is {mean:+.1%} to llama.cpp's, the error of that is {error:.1%}")
    return int(failed or not relative or mean > 2 * error)


if __name__ == "__main__": sys.exit(main())
