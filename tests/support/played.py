"""A server whose model is played: scripted.c with turns that a test gives."""

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

from support.wire import KEY, Wire

ROOT = Path(__file__).resolve().parents[2]
SCRIPTED = Path(
    os.environ.get("PENSIEVE_SCRIPTED", ROOT / "build/asan/tests/server/scripted")
).resolve()
MODEL = "scripted-model"
READY_SECONDS = 20.0
STOP_SECONDS = 20.0


def call(name, **arguments):
    """A call of a tool, as the played model writes it."""
    text = json.dumps({"name": name, "arguments": arguments}, ensure_ascii=False)
    return f"<tool_call>\n{text}\n</tool_call>"


class Played:
    """A running `scripted`. What it says goes into a file, in which a request stands before its
    answer begins: whoever has the answer finds the request."""

    def __init__(self, folder, turns, context=200000):
        script = Path(folder) / "script.json"
        script.write_text(json.dumps(turns))
        self.output = Path(folder) / "scripted.log"
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(
                [str(SCRIPTED), str(script), str(context)], stdin=subprocess.DEVNULL,
                stdout=output, stderr=subprocess.STDOUT,
            )
        self.key = KEY
        self.port = self._wait_until_ready()
        self.url = f"http://127.0.0.1:{self.port}"
        self.wire = Wire("127.0.0.1", self.port)

    def _wait_until_ready(self):
        end = time.monotonic() + READY_SECONDS
        while not (found := re.search(r"ready on http://127\.0\.0\.1:(\d+)\n", self._said())):
            if self.process.poll() is not None or time.monotonic() > end:
                self.process.kill()
                raise RuntimeError(f"{SCRIPTED} did not get ready:\n{self._said()}")
            time.sleep(0.01)
        return int(found[1])

    def _said(self):
        return self.output.read_text()

    @property
    def requests(self):
        """Those that came, in order: {"turn", "agent", "body"}."""
        requests = [json.loads(line) for line in self._said().splitlines() if line.startswith("{")]
        return [request | {"body": json.loads(request["body"])} for request in requests]

    @property
    def other(self):
        """What else it said: lines."""
        return [line for line in self._said().splitlines(True) if not line.startswith("{")]

    def results(self, at=-1):
        """The tool results in the last user message of a request."""
        messages = self.requests[at]["body"]["messages"]
        last = [message for message in messages if message["role"] == "user"][-1]
        return [block for block in last["content"] if block["type"] == "tool_result"]

    def stop(self):
        """It must have lived without a complaint, of its sanitizers either."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(STOP_SECONDS)
        said = "".join(line for line in self.other if " info " not in line)
        assert status == 0, f"exit status {status}\n{said}"

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is None:
            self.stop()
        else:
            self.process.kill()
            self.process.wait()


def text_of(result):
    """A tool result's text."""
    content = result.get("content", "")
    if isinstance(content, str):
        return content
    return "".join(block.get("text", "") for block in content)
