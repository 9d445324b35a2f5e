#!/usr/bin/env python3
"""compare.py - Pensieve and llama.cpp on this machine, in alternating rounds.

Each round runs each engine once in a process of its own, in turning order, so that a machine that
slows down or a neighbour that wakes up hits both. llama.cpp runs twice, with flash attention and
without; its better one counts. Pensieve's numbers come out of its whole engine, sampling included;
llama.cpp's are llama_decode alone. Medians are printed, with the spread of the middle half.
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROWS = [    # what, prompt length, which number
    ("prefill, 512 tokens", 512, "prefill_tps"),
    ("prefill, 2048 tokens", 2048, "prefill_tps"),
    ("decode, empty context", 1, "decode_tps"),
    ("decode, behind 512 tokens", 512, "decode_tps"),
    ("decode, behind 2048 tokens", 2048, "decode_tps"),
]
LENGTHS = [1, 512, 2048]


def run(command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{command[0]} failed:\n{done.stderr}")
    return json.loads(done.stdout)


def pensieve(args):
    lengths = [word for n in LENGTHS for word in ("--lengths", str(n))]
    return run([args.program, "bench", "--json", "--rounds", "1", "--log", "warn",
                "--model", args.model, "--threads", str(args.threads),
                "--decode", str(args.decode), *lengths])


def llama(args, flash):
    return run([sys.executable, str(HERE / "llama.py"), "--model", args.model,
                "--threads", str(args.threads), "--decode", str(args.decode), "--flash", flash,
                "--lengths", *map(str, LENGTHS)])


def number(result, length, name):
    return next(p[name] for p in result["points"] if p["length"] == length)


def spread(values):
    """The middle half's width, in percent of the median."""
    if len(values) < 4:
        return (max(values) - min(values)) / statistics.median(values) * 100
    low, _, high = statistics.quantiles(values, n=4)
    return (high - low) / statistics.median(values) * 100


def cpu_name():
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as info:
            return next(line.split(":", 1)[1].strip() for line in info if "model name" in line)
    except (OSError, StopIteration):
        return "unknown CPU"


def report(results, args):
    print(f"\n{cpu_name()}, {args.threads} threads, {args.rounds} alternating rounds; "
          f"Pensieve on {results['pensieve'][0]['cpu']}")
    print(f"{os.path.basename(args.model)}; tokens a second, median (spread of the middle half)\n")
    print(f"{'':28}{'Pensieve':>18}{'llama.cpp':>18}{'without flash':>18}{'ratio':>8}")
    for what, length, name in ROWS:
        columns = {engine: [number(r, length, name) for r in rounds]
                   for engine, rounds in results.items()}
        medians = {engine: statistics.median(values) for engine, values in columns.items()}
        cells = "".join(f"{medians[engine]:>11.1f} ({spread(columns[engine]):>3.0f}%)"
                        for engine in ("pensieve", "flash", "plain"))
        ratio = medians["pensieve"] / max(medians["flash"], medians["plain"])
        print(f"{what:28}{cells}{ratio:>7.2f}x")
    print("\nratio: Pensieve against the better of llama.cpp's two")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--decode", type=int, default=64)
    parser.add_argument("--json", action="store_true", help="every single number, too")
    args = parser.parse_args()
    engines = {"pensieve": lambda: pensieve(args), "flash": lambda: llama(args, "auto"),
               "plain": lambda: llama(args, "off")}
    results = {name: [] for name in engines}
    load = os.getloadavg()[0]
    if load > 0.5:
        print(f"bench: the machine is busy (load {load:.1f}); numbers will be too low and spread",
              file=sys.stderr)
    names = list(engines)
    for i in range(args.rounds):
        print(f"bench: round {i + 1} of {args.rounds}", file=sys.stderr)
        turn = i % len(names)
        for name in names[turn:] + names[:turn]:
            results[name].append(engines[name]())
    if args.json:
        print(json.dumps(results))
    report(results, args)


if __name__ == "__main__":
    main()
