"""A server whose model is played: scripted.c with turns that a test gives."""

import json
import os
import re
import signal
import subprocess
import threading
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SCRIPTED = Path(
    os.environ.get("PENSIEVE_SCRIPTED", ROOT / "build/asan/tests/server/scripted")
).resolve()
MODEL = "scripted-model"
KEY = "pensieve-local-token"
READY_SECONDS = 20.0
STOP_SECONDS = 20.0


def call(name, **arguments):
    """A call of a tool, as the played model writes it."""
    text = json.dumps({"name": name, "arguments": arguments}, ensure_ascii=False)
    return f"<tool_call>\n{text}\n</tool_call>"


class Played:
    """A running `scripted`. `requests` are those that came, in order: {"turn", "agent", "body"}."""

    def __init__(self, folder, turns, context=200000):
        script = Path(folder) / "script.json"
        script.write_text(json.dumps(turns))
        self.process = subprocess.Popen(
            [str(SCRIPTED), str(script), str(context)], stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        self.requests = []
        self.other = []         # lines
        self.url = None
        self.key = KEY
        self._ready = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        if not self._ready.wait(READY_SECONDS) or not self.url:
            self.process.kill()
            raise RuntimeError(f"{SCRIPTED} did not get ready:\n{''.join(self.other)}")

    def _read(self):
        for line in self.process.stdout:
            if line.startswith("{"):
                request = json.loads(line)
                request["body"] = json.loads(request["body"])
                self.requests.append(request)
            elif found := re.search(r"ready on (http://\S+)", line):
                self.url = found[1]
                self._ready.set()
            else:
                self.other.append(line)
        self._ready.set()       # it ended

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
        self._reader.join(STOP_SECONDS)
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
