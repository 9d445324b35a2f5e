#!/usr/bin/env python3
"""mlxlm.py - Pensieve and mlx-lm on one MLX folder on this machine's CPU, in alternating rounds.

mlx-lm's figures come out of its own generate_step: a prompt of random tokens up to its first token, then the most likely token again
and again; Pensieve's out of its whole engine. With --worker this is mlx-lm's side alone, JSON on standard output. Medians; the goals
are 15x in decoding and 50x in prefill.
"""
import argparse, json, os, random, shlex, statistics, sys, time
import alone

NEED = {"prefill_tps": 50.0, "decode_tps": 15.0}


def worker(a):
    import pathlib
    import mlx.core as mx
    from mlx_lm.generate import generate_step
    from mlx_lm.utils import load_model
    mx.set_default_device(mx.cpu)
    model, config = load_model(pathlib.Path(a.model))

    def once(length, tokens):
        prompt = mx.array([random.randrange(config["vocab_size"]) for _ in range(length)])
        stamps = [time.perf_counter()] + [time.perf_counter() for _ in generate_step(prompt, model, max_tokens=tokens)]
        return {"prefill_tps": length / (stamps[1] - stamps[0]), "decode_tps": (len(stamps) - 2) / (stamps[-1] - stamps[1])}

    once(8, 3)      # warm: what it compiles is compiled
    return {"points": [{"length": a.length, "batch": 1, **once(a.length, a.decode + 1)}]}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program"), parser.add_argument("--model", required=True)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--decode", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--hold", type=shlex.split, default=[], help="as bench.py has it")
    parser.add_argument("--worker", action="store_true")
    return parser.parse_args()


def main():
    a = arguments()
    if a.worker: return print(json.dumps(worker(a)))
    common = ["--model", a.model, "--decode", str(a.decode)]
    engines = {"pensieve": [a.program, "bench", "--json", "--rounds", "1", "--log", "warn", "--speculate", "off", "--threads", str(a.threads),
                            "--lengths", str(a.length), *common],
               "mlx-lm": [sys.executable, __file__, "--worker", "--length", str(a.length), *common]}
    quiet = alone.Alone(a.hold)
    samples, names = {engine: [] for engine in engines}, list(engines)
    for i in range(a.rounds):
        for engine in names[i % 2:] + names[:i % 2]: samples[engine].append(quiet.run(engines[engine]))
    quiet.release()
    medians = {engine: {kind: statistics.median(r["points"][0][kind] for r in results) for kind in NEED} for engine, results in samples.items()}
    print(f"{os.path.basename(a.model)}, {a.threads} threads, {a.rounds} alternating rounds; tokens a second, medians; "
          f"others had at most {quiet.others:.1%} of the processors\n"
          f"{'':24}{'Pensieve':>10}{'mlx-lm':>10}{'ratio':>9}{'goal':>7}")
    for kind, need in NEED.items():
        ours, theirs = (medians[engine][kind] for engine in engines)
        title = f"prefill of {a.length}" if kind == "prefill_tps" else f"decode behind {a.length}"
        print(f"{title:24}{ours:10.1f}{theirs:10.1f}{ours / theirs:8.1f}x{need:6.0f}x  {'met' if ours >= need * theirs else 'MISSED'}")
    if a.json:
        with open(a.json, "w", encoding="utf-8") as f: json.dump({"model": a.model, "threads": a.threads, "samples": samples}, f, indent=1)


if __name__ == "__main__": main()
