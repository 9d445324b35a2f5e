#!/usr/bin/env python3
"""load.py PENSIEVE MODEL [ROUNDS] - how long a model takes to be ready, and what of it is in memory then and after an answer.

Starts the server ROUNDS times (5) on a free port: time from exec to the ready line, resident memory of files and of its own at that
moment, time to the first token of a short prompt, resident memory after it. Medians. Warm: the first start is not counted.
"""
import json, re, statistics, subprocess, sys, time, urllib.request


def resident(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as f: text = f.read()
    return [int(re.search(rf"^{key}:\s+(\d+)", text, re.M).group(1)) / 1024 for key in ("RssFile", "RssAnon")]


def first_token(base):
    body = {"model": "claude-any", "max_tokens": 1, "stream": True, "messages": [{"role": "user", "content": "Count to ten, slowly."}]}
    request = urllib.request.Request(base + "/v1/messages", json.dumps(body).encode(),
                                     {"x-api-key": "pensieve-local-token", "content-type": "application/json"})
    started = time.monotonic()
    with urllib.request.urlopen(request) as answer:
        for line in answer:
            if line.startswith(b"event: content_block_delta") or line.startswith(b"event: message_delta"):
                first = time.monotonic() - started
                answer.read()
                return first
    sys.exit("no token came")


def once(program, model):
    started = time.monotonic()
    with subprocess.Popen([program, "serve", "--model", model, "--port", "0", "--log", "error"], stdout=subprocess.PIPE, text=True) as server:
        line = server.stdout.readline()
        ready = time.monotonic() - started
        if "http://" not in line: sys.exit(f"the server ended with status {server.wait()}")
        at_ready = resident(server.pid)
        token = first_token(re.search(r"http://\S+", line).group())
        after = resident(server.pid)
        server.terminate()
    return ready, *at_ready, token, *after


def main():
    rounds = int(sys.argv[3]) if len(sys.argv) > 3 else 5
    figures = [once(sys.argv[1], sys.argv[2]) for _ in range(rounds + 1)][1:]
    ready, file, own, token, file_after, own_after = (statistics.median(x) for x in zip(*figures))
    spread = f"{min(f[0] for f in figures):.3f} to {max(f[0] for f in figures):.3f}"
    print(f"ready in {ready:.3f} s ({spread}), first token {token:.3f} s later\n"
          f"resident when ready: {file:.0f} MiB of files, {own:.0f} MiB of its own; after an answer: {file_after:.0f} and {own_after:.0f} MiB")


if __name__ == "__main__": main()
