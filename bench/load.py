#!/usr/bin/env python3
"""load.py PENSIEVE MODEL [--rounds N] [--idle SECONDS] [--json] - how soon a model is ready, and what it then holds.

Starts the server N times (3) on a free port: time from exec to the ready line, resident memory of files and of its own at that moment,
time to the first token of a short prompt, resident memory after it. Medians. Warm: one start before them isn't counted. --idle: then
how much processor time a server uses that nobody asks anything, in percent of one core.
"""
import argparse, glob, json, os, re, statistics, subprocess, sys, time

from serving.client import ask, user

# About 16 tokens with SmolLM2's template around it; the answer says how many it was.
PROMPT = "Count to ten, slowly."


def resident(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as f: text = f.read()
    return [int(re.search(rf"^{key}:\s+(\d+)", text, re.M).group(1)) / 1024 for key in ("RssFile", "RssAnon")]


def processor_seconds(pid):
    """of all its threads so far"""
    total = 0
    for path in glob.glob(f"/proc/{pid}/task/*/schedstat"):
        with open(path, encoding="ascii") as f: total += int(f.read().split()[0])
    return total / 1e9


def once(a, idle):
    started = time.monotonic()
    command = [a.program, "serve", "--cache-disk-max", "0", "--model", a.model, "--port", "0", "--log", "error", "--threads", str(a.threads)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        line = server.stdout.readline()
        out = {"ready_ms": (time.monotonic() - started) * 1e3}
        if "http://" not in line: sys.exit(f"the server ended with status {server.wait()}")
        try:
            out["files_mib"], out["own_mib"] = resident(server.pid)
            answer = ask(int(re.search(r"http://[^:]+:(\d+)", line)[1]), [user(PROMPT)], 1)
            out["prompt_tokens"], out["first_token_ms"] = answer.usage["input_tokens"], answer.ttft * 1e3
            out["files_after_mib"], out["own_after_mib"] = resident(server.pid)
            if idle:
                time.sleep(1)
                before = processor_seconds(server.pid)
                time.sleep(idle)
                out["idle_percent"] = (processor_seconds(server.pid) - before) / idle * 100
        finally:
            server.terminate()
    return out


def size_mib(path):
    files = [os.path.join(path, x) for x in os.listdir(path)] if os.path.isdir(path) else [path]
    return sum(os.path.getsize(f) for f in files) / 2 ** 20


def measure(a):
    results = [once(a, a.idle if i == a.rounds else 0) for i in range(a.rounds + 1)][1:]
    out = {key: statistics.median(r[key] for r in results) for key in results[0] if key != "idle_percent"}
    if a.idle: out["idle_percent"] = results[-1]["idle_percent"]
    return dict(out, size_mib=size_mib(a.model), ready_values=[r["ready_ms"] for r in results])


def text(found):
    """the table: of a dict from a model's name to what measure() found"""
    out = [f"{'load and first token, warm':32}{'ready ms':>9}{'first token ms':>16}{'prompt':>8}{'file MiB':>10}{'resident: files + own, then after an answer':>46}"]
    for name, x in found.items():
        memory = f"{x['files_mib']:.0f} + {x['own_mib']:.0f}, {x['files_after_mib']:.0f} + {x['own_after_mib']:.0f}"
        out.append(f"  {name:30}{x['ready_ms']:9.0f}{x['first_token_ms']:16.0f}{x['prompt_tokens']:8.0f}{x['size_mib']:10.0f}{memory:>46}")
        if "idle_percent" in x: out.append(f"  idle for a while: {x['idle_percent']:.3f}% of a core")
    return "\n".join(out)


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("program"), parser.add_argument("model")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--idle", type=float, default=0)
    parser.add_argument("--json", action="store_true")
    a = parser.parse_args()
    found = measure(a)
    print(json.dumps(found) if a.json else text({os.path.basename(a.model): found}))


if __name__ == "__main__": main()
