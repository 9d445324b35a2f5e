#!/usr/bin/env python3
"""serve.py - what clients of the server wait for: Pensieve and llama-server, in alternating rounds.

Both serve the same model with the same threads and are asked the same through the Messages API, one
after the other, each in a process of its own; who goes first changes with each round. Medians are
printed, with the smallest and the largest, as text and (--json FILE) as JSON.
"""
import argparse
import json
import pathlib
import statistics
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from serving import scenarios                                           # noqa: E402
from serving.edit import edit                                           # noqa: E402
from serving.engines import LlamaServer, Pensieve                       # noqa: E402
from serving.prose import Prose                                         # noqa: E402
from serving.replay import replay                                       # noqa: E402

SCENARIOS = {
    "cold": [lambda e, p, n=n: scenarios.cold(e, p, n) for n in (1000, 4000, 7500)],
    "conversation": [lambda e, p: scenarios.conversation(e, p, 4000)],
    "beside": [scenarios.agents],
    "clients": [lambda e, p, n=n: scenarios.crowd(e, p, n) for n in (1, 4, 8, 16)],
    "cancel": [scenarios.cancel],
    "edit": [edit],
    "agent": [replay],
}


def measure(engine, prose, names):
    """All scenarios on one engine, freshly started for each group; numbers by name."""
    figures = {}
    for name in names:
        for scenario in SCENARIOS[name]:
            flags = engine.flags
            engine.start()
            try:
                figures.update(scenario(engine, prose))
            finally:
                engine.stop()
                engine.flags = flags
    return figures


def engines_of(args):
    yield lambda: Pensieve(args.program, args.model, args.threads)
    if args.llama:
        yield lambda: LlamaServer(args.llama, args.model, args.threads, context=8192, slots=16)


def run(args):
    """{engine: {figure: [one a round]}}"""
    results = {}
    makers = list(engines_of(args))
    for round_ in range(args.rounds):
        for make in makers if round_ % 2 == 0 else reversed(makers):
            engine = make()
            try:
                prose = Prose(args.tokens_per_word, 1000 * round_)
                for name, value in measure(engine, prose, args.only).items():
                    results.setdefault(engine.name, {}).setdefault(name, []).append(value)
            finally:
                engine.remove()
            print(f"round {round_ + 1}: {engine.name} done", file=sys.stderr, flush=True)
    return results


def cell(values):
    return f"{statistics.median(values):9.3f} ({min(values):.3f} to {max(values):.3f})"


def report(results):
    names = list(next(iter(results.values())))
    print(f"{'':28}" + "".join(f"{engine:>32}" for engine in results) + "   ratio of medians")
    for name in names:
        columns = [figures.get(name) for figures in results.values()]
        line = f"{name:28}" + "".join(f"{cell(c) if c else '-':>32}" for c in columns)
        if len(columns) == 2 and all(columns):
            ours, theirs = (statistics.median(c) for c in columns)
            better = ours / theirs if name.endswith("tps") else theirs / ours if ours else 0
            line += f"   {better:8.2f}x"
        print(line)
    print("\nseconds, except tps: tokens a second; the ratio says how many times better Pensieve is")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--llama", help="a llama-server to compare with")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=SCENARIOS, default=list(SCENARIOS))
    parser.add_argument("--json", help="also write all numbers there")
    args = parser.parse_args()
    engine = Pensieve(args.program, args.model, args.threads)
    try:
        args.tokens_per_word = Prose.rate(engine.start().port)
    finally:
        engine.remove()
    results = run(args)
    report(results)
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
