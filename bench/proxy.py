#!/usr/bin/env python3
"""proxy.py --program P --streams S [...] - what a token costs that passes through: Pensieve beside LiteLLM's proxy.

One scripted upstream (bench/streams.c) speaks the OpenAI API and writes the time into each token; as many clients as --streams says read
at once, through each proxy in turn and without one. All in the same run, with the same upstream, in alternating rounds; medians are
printed. A token's added latency is how late it comes, less how late it comes without a proxy. Processor time and memory are
those of the proxy's processes, as Linux tells them. LiteLLM runs with one worker and its least log; it is asked by the Messages API, as
Pensieve is, and by the OpenAI API, which it passes through.
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

from serving.engines import Engine, free_port

PROMPT = "Tell me a story."


class Pensieve(Engine):
    name = "pensieve"

    def __init__(self, program, upstream):
        super().__init__(program, None)
        self.config = self.folder / "pensieve.conf"
        self.config.write_text(f"[model scripted]\nbackend = upstream\nupstream = http://127.0.0.1:{upstream}\n")

    def command(self):
        return [str(self.program), "serve", "--config", str(self.config), "--port", str(self.port),
                "--models-dir", str(self.folder), "--log", "warn"]


class LiteLLM(Engine):
    name = "litellm"
    health = "/health/liveliness"       # /health asks the upstream

    def __init__(self, program, upstream):
        super().__init__(program, None)
        self.config = self.folder / "config.yaml"
        self.config.write_text(
            "model_list:\n- model_name: scripted\n  litellm_params:\n    model: hosted_vllm/scripted\n"
            f"    api_base: http://127.0.0.1:{upstream}/v1\n    api_key: none\n"
            "litellm_settings:\n  telemetry: false\n")

    def command(self):
        return [str(self.program), "--config", str(self.config), "--port", str(self.port), "--host", "127.0.0.1",
                "--num_workers", "1"]

    def surroundings(self):
        """Nothing of ours goes into its environment."""
        home = {"PATH": os.environ["PATH"], "HOME": str(self.folder), "LITELLM_LOG": "ERROR",
                "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_MODE": "PRODUCTION",
                "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true"}    # no key: the least work
        return {"env": home, "cwd": self.folder}


def children(pid):
    found = [pid]
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += children(int(child))
    return found


def cost(pid):
    """Processor seconds so far and resident MiB now, of a process and all below it."""
    seconds = pages = 0
    for each in children(pid):
        seconds += time.clock_gettime(~each << 3 | 2)   # its processor clock, as clock_getcpuclockid(3) names it
        pages += int(pathlib.Path(f"/proc/{each}/statm").read_text().split()[1])
    return seconds, pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


class Load:
    def __init__(self, program, streams, tokens, gap_us, folder):
        self.program, self.streams, self.tokens, self.gap_us = program, streams, tokens, gap_us
        self.bodies = {}
        for path, extra in (("/v1/messages", {"max_tokens": 100000}), ("/v1/chat/completions", {})):
            body = {"model": "scripted", "stream": True, "messages": [{"role": "user", "content": PROMPT}]} | extra
            self.bodies[path] = folder / f"{path.strip('/').replace('/', '-')}.json"
            self.bodies[path].write_text(json.dumps(body))
        self.port = free_port()
        self.upstream = subprocess.Popen([program, "serve", str(self.port), str(gap_us), str(tokens)], stdout=subprocess.PIPE)
        self.upstream.stdout.readline()

    def ask(self, port, path, pid=None, tokens=None, streams=None):
        before = cost(pid)[0] if pid else 0
        ran = subprocess.run([self.program, "ask", str(port), path, str(self.bodies[path]), str(streams or self.streams),
                              str(tokens or self.tokens), str(self.gap_us)], stdout=subprocess.PIPE, check=False)
        if ran.returncode:
            raise RuntimeError(f"streams ask {port} {path}: {ran.stdout.decode()}")
        found = json.loads(ran.stdout)
        if pid:
            after, found["mib"] = cost(pid)
            found["cpu_us"] = (after - before) / found["tokens"] * 1e6
        return found

    def stop(self):
        self.upstream.terminate()
        self.upstream.wait()


def median(rows, key):
    return statistics.median(row[key] for row in rows)


def show(title, rows, direct, ours):
    """One line of the table; ours: Pensieve's figures, to which others are put in proportion."""
    added = [(median(rows, key) - median(direct, key)) / 1e3 for key in ("p50_us", "p99_us")]
    cpu, mib = (median(rows, key) for key in ("cpu_us", "mib"))
    ratio = f"{cpu / ours[0]:8.1f}x {mib / ours[1]:7.1f}x" if ours else f"{'1':>9} {'1':>8}"
    print(f"{title:<34}{added[0]:10.2f}{added[1]:10.2f}{cpu:12.1f}{mib:10.1f} {ratio}", flush=True)
    return cpu, mib


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", required=True)
    parser.add_argument("--streams-program", required=True)
    parser.add_argument("--litellm", type=os.path.abspath, help="its command; without it Pensieve is measured alone")
    parser.add_argument("--streams", type=int, default=200)
    parser.add_argument("--tokens", type=int, default=20, help="of each stream")
    parser.add_argument("--gap", type=float, default=500, help="milliseconds between a stream's tokens")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="proxy-bench-"))
    load = Load(options.streams_program, options.streams, options.tokens, int(options.gap * 1000), folder)
    engines = [Pensieve(options.program, load.port)]
    if options.litellm:
        engines.append(LiteLLM(options.litellm, load.port))
    ways = [("pensieve, /v1/messages", engines[0], "/v1/messages")]
    for path in ("/v1/messages", "/v1/chat/completions") if options.litellm else ():
        ways.append((f"litellm, {path}", engines[1], path))
    rows = {title: [] for title, _, _ in ways}
    direct = []
    try:
        for engine in engines:
            engine.start()
        for _, engine, path in ways:
            load.ask(engine.port, path, streams=2)      # whatever is done once only
        for turn in range(options.rounds):
            direct.append(load.ask(load.port, "/v1/chat/completions"))
            for title, engine, path in ways[turn % len(ways):] + ways[:turn % len(ways)]:
                rows[title].append(load.ask(engine.port, path, engine.process.pid))
    finally:
        load.stop()
        for engine in engines:
            engine.remove()
    print(f"{options.streams} streams, a token each {options.gap:g} ms: {options.streams / options.gap * 1000:.0f} tokens a second; "
          f"{options.rounds} rounds of {options.streams * options.tokens} tokens. Without a proxy they come "
          f"{median(direct, 'p50_us') / 1e3:.2f} ms late, 99% within {median(direct, 'p99_us') / 1e3:.2f} ms.")
    print(f"{'':<34}{'added p50':>10}{'p99, ms':>10}{'CPU us/token':>12}{'MiB':>10} {'CPU':>9} {'memory':>8}")
    ours = None
    for title, _, _ in ways:
        found = show(title, rows[title], direct, ours)
        ours = ours or found


if __name__ == "__main__":
    sys.exit(main())
