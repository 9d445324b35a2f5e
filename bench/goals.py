"""goals.py - what this engine is held to, each goal judged by what a run measured. A goal of which nothing was measured isn't listed.

Each is (goal, what it must be, the worst figure measured, where, whether that is enough).
"""
import jobs

NEED = {"prefill": 2.5, "decode": 1.3, "deep": 2.0, "equal": 0.95, "prefill share": 0.70, "decode share": 0.90, "step of 8": 1.6,
        "threads": 1.8, "ready small": 150.0, "ready large": 1000.0, "first token": 2.0, "memory": 1.5, "idle": 0.5}
DEEP = 2048


def name(row):
    where = f"{row['shape']} {row['form']}, {row['kind']} " + (f"of {row['length']}" if row["kind"] == "prefill" else f"behind {row['length'] if row['length'] > 1 else 0}")
    return where + (f", {row['batch']} at once" if row["batch"] > 1 else "")


def verdict(goal, need, found, text, most=False):
    """found: (figure, where) of each case. most: the figures must not be above need, else not below"""
    if not found: return []
    figure, where = (max if most else min)(found, key=lambda x: x[0])
    good = figure <= need if most else figure >= need
    missed = sum((x > need if most else x < need) for x, _ in found)
    return [{"goal": goal, "need": need, "text": text, "figure": figure, "where": where, "met": good, "cases": len(found), "missed": missed}]


def against_llama(rows):
    single = [r for r in rows if r["batch"] == 1 and r["ratio_of_bits"] is not None]
    of = lambda kind, good: [(r["ratio_of_bits"], name(r)) for r in single if r["kind"] == kind and good(r["length"])]
    yield from verdict("1 prefill, to llama.cpp's best of the same bits", NEED["prefill"], of("prefill", lambda n: True), "{:.2f}x")
    yield from verdict("2 decode at depth 0, to llama.cpp's best of the same bits", NEED["decode"], of("decode", lambda n: n == 1), "{:.2f}x")
    yield from verdict(f"2 decode from depth {DEEP} on, to the same", NEED["deep"], of("decode", lambda n: n >= DEEP), "{:.2f}x")


def against_ourselves(rows, threads):
    at = {(r["shape"], r["form"], r["kind"], r["length"], r["batch"], r["threads"]): r for r in rows}
    equal, steps, scaling = [], [], []
    for (shape, form, kind, length, batch, n), r in at.items():
        other = at.get((shape, jobs.EQUAL.get(form), kind, length, batch, n))
        if other and batch == 1: equal.append((r["pensieve"]["median"] / other["pensieve"]["median"], name(r)))
        one = at.get((shape, form, kind, length, 1, n))
        if batch == 8 and one and shape == jobs.LARGE:
            steps.append((8 * one["pensieve"]["median"] / r["pensieve"]["median"], name(r)))
        both = at.get((shape, form, kind, length, batch, threads))
        if n == 1 and threads == 2 and both: scaling.append((both["pensieve"]["median"] / r["pensieve"]["median"], name(r)))
    yield from verdict("1 an MLX folder, to the GGUF file of equal work", NEED["equal"], equal, "{:.2f}x")
    yield from verdict(f"3 a step of 8 at the {jobs.LARGE} shape, to a step of 1", NEED["step of 8"], steps, "{:.2f}x", most=True)
    yield from verdict("8 prefill with two threads, to one", NEED["threads"], scaling, "{:.2f}x")


def of_limit(rows, threads):
    large = [r for r in rows if r["shape"] == jobs.LARGE and r["batch"] == 1 and r["threads"] == threads and "share" in r]
    of = lambda kind, good: [(r["share"], name(r)) for r in large if r["kind"] == kind and good(r["length"])]
    yield from verdict(f"1 prefill at the {jobs.LARGE} shape, of the limit", NEED["prefill share"], of("prefill", lambda n: True), "{:.0%}")
    yield from verdict(f"2 decode at the {jobs.LARGE} shape, of the limit", NEED["decode share"], of("decode", lambda n: n == 1), "{:.0%}")


def loads(rows, load):
    small = [(x["ready_ms"], m) for m, x in load.items() if jobs.LARGE not in m]
    large = [(x["ready_ms"], m) for m, x in load.items() if jobs.LARGE in m]
    yield from verdict("5 a small model ready, ms", NEED["ready small"], small, "{:.0f}", most=True)
    yield from verdict("5 a 2.1 GB model ready, ms", NEED["ready large"], large, "{:.0f}", most=True)
    first = []
    for model, x in load.items():
        shape, form = model.split()
        mine = [r for r in rows if r["shape"] == shape and r["form"] == form]
        step = [1 / r["pensieve"]["median"] for r in mine if r["kind"] == "decode" and r["length"] == 1 and r["batch"] == 1]
        peers = [r["pensieve"]["median"] / r["ratio_of_bits"] for r in mine if r["kind"] == "prefill" and r["ratio_of_bits"]]
        if step and peers:
            expected = step[0] + x["prompt_tokens"] / (NEED["prefill"] * max(peers))
            first.append((x["first_token_ms"] / 1e3 / expected, f"{model}, {x['first_token_ms']:.0f} ms for {x['prompt_tokens']:.0f} tokens"))
    yield from verdict("5 first token, to a step and prefill at the goal's speed", NEED["first token"], first, "{:.2f}x", most=True)
    memory = [((x["files_after_mib"] + x["own_after_mib"]) / x["size_mib"], m) for m, x in load.items()]
    yield from verdict("5 resident memory after an answer, to the file's size", NEED["memory"], memory, "{:.2f}x", most=True)
    idle = [(x["idle_percent"], m) for m, x in load.items() if "idle_percent" in x]
    yield from verdict("8 an idle server's share of a core, percent", NEED["idle"], idle, "{:.3f}", most=True)


def judge(found):
    rows, load, threads = found["rows"], found["load"], found["threads"]
    out = [*against_llama(rows), *of_limit(rows, threads), *against_ourselves(rows, threads), *loads(rows, load)]
    return sorted(out, key=lambda g: g["goal"][0])


def text(judged):
    out = [f"{'goal, by its worst case':58}{'need':>8}{'measured':>10}  "]
    for g in judged:
        need, figure = g["text"].format(g["need"]), g["text"].format(g["figure"])
        missed = "met" if g["met"] else f"MISSED in {g['missed']} of {g['cases']}"
        out.append(f"  {g['goal']:56}{need:>8}{figure:>10}  {missed}: {g['where']}")
    return "\n".join(out)
