#!/usr/bin/env python3
"""bridge_scripted.py - a bridge without a model, for tests: speaks docs/mlx-protocol.md, and does to each
request what the request's own text says. A word of it is a token of the answer; one that begins with @
is a misdeed or a wait, of those in DEEDS. The folder it is given as a model is where it leaves notes:
requests (all lines it was sent), pids (of all that ran), and NAME for what is done once only."""

import json
import os
import signal
import sys
import threading
import time

signal.signal(signal.SIGINT, signal.SIG_IGN)
FOLDER = sys.argv[sys.argv.index("--model-path") + 1]
# ChatML, of a model that thinks.
TEMPLATE = ("{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
            "<|im_start|>assistant\n{# between <think> and </think> #}")
lock = threading.Lock()
cancelled = set()
stuck = threading.Event()


def write(data):
    with lock:
        while data:
            data = data[os.write(1, data):]


def put(**message):
    if not stuck.is_set():
        write(json.dumps(message).encode() + b"\n")


def path(name):
    return os.path.join(FOLDER, name)


def note(name, text):
    with open(path(name), "a") as file:
        file.write(text + "\n")


def once(name):
    try:
        os.close(os.open(path(name), os.O_CREAT | os.O_EXCL))
        return True
    except FileExistsError:
        return False


def wait_for(name, identity):
    while not os.path.exists(path(name)) and identity not in cancelled:
        time.sleep(0.002)


def halves(identity):
    line = json.dumps({"type": "token", "id": identity, "text": "\N{EURO SIGN} ", "tokens": 1},
                      ensure_ascii=False).encode() + b"\n"
    with lock:
        for i in range(len(line)):
            os.write(1, line[i:i + 1])


DEEDS = {
    "@go": lambda identity: wait_for("go", identity),
    "@die": lambda identity: os._exit(7),
    "@die-once": lambda identity: once("died") and os._exit(7),
    "@fatal-once": lambda identity: once("fatal") and put(type="fatal", message="no more memory"),
    "@stall-once": lambda identity: once("stalled") and stuck.set(),
    "@words-once": lambda identity: once("words") and write(b"Segmentation fault, or so\n"),
    "@bytes-once": lambda identity: once("bytes") and write(b'{"type":"alive","x":"\xff\xfe"}\n'),
    "@long-once": lambda identity: once("long") and write(b"x" * (5 << 20)),
    "@foreign-once": lambda identity: once("foreign") and put(type="token", id=identity + 99, text="x", tokens=1),
    "@unasked-once": lambda identity: once("unasked") and put(type="count", id=identity, tokens=1),
    "@halves": halves,
    "@control": lambda identity: put(type="token", id=identity, text="<|end|>", tokens=1, control=True),
    "@refuse": lambda identity: put(type="error", id=identity, code="too_long", tokens=300, maximum=255),
}


def answer(request):
    identity = request["id"]
    prompt = [piece["text"] for piece in request["prompt"]]
    marks, seen = [], 0
    for piece in request["prompt"]:
        seen += len(piece["text"].split())
        if piece.get("mark"):
            marks.append(seen)
    words = [piece["text"] for piece in request["prompt"] if piece.get("plain")][-1].split()
    count = sum(len(text.split()) for text in prompt)
    if request["type"] == "count":
        return put(type="count", id=identity, tokens=count)
    if words[0] == "@unstarted":
        DEEDS[words[1]](identity)
        return
    put(type="started", id=identity, prompt_tokens=count, cached_tokens=0,
        marked_tokens=0, marks=marks)
    said = 0
    for word in words:
        if identity in cancelled or stuck.is_set():
            return
        if word in DEEDS:
            DEEDS[word](identity)
        else:
            said += 1
            put(type="token", id=identity, text=word + " ", tokens=said)
        if said == request["max_tokens"]:
            return put(type="done", id=identity, reason="length", tokens=said)
    put(type="done", id=identity, reason="stop", tokens=said + 1)


def beat():
    while True:
        put(type="alive")
        time.sleep(0.02)


note("pids", str(os.getpid()))
print("scripted bridge begins", file=sys.stderr)
if os.path.exists(path("broken")):
    put(type="fatal", message="the folder is broken")
    sys.exit(1)
put(type="ready", protocol=1, context=1000, bos="", eos="", chat_template=TEMPLATE)
threading.Thread(target=beat, daemon=True).start()
for line in sys.stdin.buffer:
    note("requests", line.decode().rstrip("\n"))
    order = json.loads(line)
    if order["type"] == "cancel":
        cancelled.add(order["id"])
    else:
        threading.Thread(target=answer, args=(order,), daemon=True).start()
os._exit(0)
