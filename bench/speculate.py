#!/usr/bin/env python3
"""speculate.py PROGRAM MODEL [--rounds N] [--tokens N] [--task NAME] [--json] - decode speed with speculation and without.

Two servers at once, one with --speculate auto and one with off, are asked the same in turn, at temperature 0, so that a machine that slows
down hits both; only one of them works at a time. A round's number is tokens a second between the first token and the last, of the answer as it
streams. The texts must be the same, byte by byte: if not, that is the result. Medians over rounds; the first round of each task is not
counted (it fills the prefix cache). Acceptance comes from /health.

  edit   a file of C in the prompt, to be said again with one name changed
  copy   the same file, and the answer's first lines are given: what any model goes on with is the file
  prose  a story: nothing of it was there before
  warm   the same story at temperature 0.8, from one seed
  again  the same again, in the same conversation

Each question is a conversation of its own, so that no round knows the answer of another; `again` asks the same once more in one conversation,
which is what a repeated request after a lost connection gets.

Other benches may import this file: tasks(), server(), measure().
"""
import argparse, json, pathlib, statistics, sys

from serving.client import ask, call
from serving.engines import Pensieve

ROOT = pathlib.Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src/base/arena.c"
SEED = "7"


def tasks():
    code = SOURCE.read_text(encoding="utf-8")
    wanted = f"This is a file of C.\n\n```c\n{code}```\n\nWrite the whole file again, the same but for one change: "
    edit = [{"role": "user", "content": wanted + "rename the function arena_alloc to arena_take everywhere."}]
    start = "```c\n" + "".join(code.splitlines(keepends=True)[:12])
    copy = [{"role": "user", "content": wanted + "the last comment is left out."}, {"role": "assistant", "content": start.rstrip()}]
    prose = [{"role": "user", "content": "Tell me a long story about an old sailor, a lighthouse and the storm of his life. Begin with his childhood."}]
    return {"edit": (edit, 0, False), "copy": (copy, 0, False), "prose": (prose, 0, False), "warm": (prose, 0.8, False),
            "again": (prose, 0.8, True)}


def server(program, model, speculate, more=()):
    return Pensieve(program, model, flags=["--cache-disk-max", "0", "--seed", SEED, "--speculate", speculate, *more])


def speculation(engine):
    return call(engine.port, "GET", "/health")[1]["models"][0]["speculation"]


def measure(plain, auto, task, rounds, tokens):
    messages, temperature, again = task
    rates, texts, before = {"off": [], "auto": []}, set(), None
    for i in range(rounds + 1):
        if i == 1: before = speculation(auto)
        order = [("off", plain), ("auto", auto)]
        for name, engine in order if i % 2 else reversed(order):
            answer = ask(engine.port, messages, tokens, "again" if again else f"round-{i}", temperature=temperature)
            texts.add(answer.text)
            if i: rates[name].append(answer.decode_tps)
    after = speculation(auto)
    steps, drafted, accepted = (after[k] - before[k] for k in ("steps", "drafted", "accepted"))
    off, on = (statistics.median(rates[k]) for k in ("off", "auto"))
    return {"tokens": answer.tokens, "same_text": len(texts) == 1, "off_tps": round(off, 1), "auto_tps": round(on, 1), "gain": round(on / off, 3),
            "drafted": drafted, "accepted": accepted, "accepted_share": round(accepted / drafted, 3) if drafted else None,
            "tokens_a_step": round((steps + accepted) / steps, 2) if steps else None, "text": answer.text}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program")
    parser.add_argument("model")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=400)
    parser.add_argument("--task", action="append", choices=list(tasks()))
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--show", action="store_true", help="the text, too")
    parser.add_argument("--option", action="append", default=[], help="of the servers: --option=--threads=1")
    args = parser.parse_args()
    results = {}
    with server(args.program, args.model, "off", args.option) as plain, server(args.program, args.model, "auto", args.option) as auto:
        for name in args.task or tasks():
            r = results[name] = measure(plain, auto, tasks()[name], args.rounds, args.tokens)
            if args.json: continue
            print(f"{name:6} {r['tokens']:5} tokens  off {r['off_tps']:7.1f}/s  auto {r['auto_tps']:7.1f}/s  {r['gain']:.2f}x  "
                  f"accepted {r['accepted']} of {r['drafted']}, {r['tokens_a_step']} tokens a step"
                  f"{'' if r['same_text'] else '  TEXTS DIFFER'}", flush=True)
            if args.show: print(r["text"])
    if args.json: print(json.dumps(results))
    sys.exit(0 if all(r["same_text"] for r in results.values()) else 1)


if __name__ == "__main__": main()
