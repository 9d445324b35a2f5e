"""Starts the real server for the tests: the built program, a real model, a free port."""

import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from support.wire import KEY, Wire  # noqa: E402

BINARY = Path(os.environ.get("PENSIEVE_BIN", ROOT / "build/release/pensieve")).resolve()
MODEL = Path(
    os.environ.get("PENSIEVE_TEST_MODEL", ROOT / "models/SmolLM2-135M-Instruct.Q4_1.gguf")
).resolve()
START_SECONDS = 30.0
STOP_SECONDS = 20.0


class Server:
    """One running pensieve. `output` is all that it has printed so far, stdout and stderr."""

    def __init__(self, *flags, port=0, model=MODEL, env=None, binary=BINARY):
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PENSIEVE_")}
        environment["XDG_CONFIG_HOME"] = "/nonexistent"  # no configuration of the caller's own
        environment["PENSIEVE_MODELS_DIR"] = "/nonexistent"  # nor models
        environment["PENSIEVE_CACHE_DISK_MAX"] = "0"  # nor pages of a server before it
        environment.update(env or {})
        chosen = ["--model", str(model)] if model else []  # None: the configuration file has it
        command = [str(binary), "serve", *chosen, "--port", str(port), *map(str, flags)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env=environment,
        )
        self.lines = []
        self.ready = threading.Event()
        self.port = None
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        if not self.ready.wait(START_SECONDS) or self.port is None:
            self.process.kill()
            self.reader.join(STOP_SECONDS)
            raise RuntimeError(f"the server did not get ready: {' '.join(command)}\n{self.output}")
        self.wire = Wire("127.0.0.1", self.port)
        self.url = f"http://127.0.0.1:{self.port}"
        self.key = KEY

    def _read(self):
        for line in self.process.stdout:
            text = line.decode("utf-8", "replace")
            self.lines.append(text)
            if self.port is None and (found := re.search(r"http://127\.0\.0\.1:(\d+)", text)):
                self.port = int(found[1])
                self.ready.set()
        self.ready.set()  # it ended; nothing more will come

    @property
    def output(self):
        return "".join(self.lines)

    def stop(self):
        """SIGTERM, and the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(STOP_SECONDS)
            self.reader.join(STOP_SECONDS)
            return status
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise


@pytest.fixture(scope="session")
def server():
    """The server with its defaults, shared by all tests that need nothing special."""
    running = Server("--drain", "1s")
    yield running
    status = running.stop()
    assert status == 0, f"exit status {status}\n{running.output}"


@pytest.fixture(scope="session")
def wire(server):
    return server.wire


@pytest.fixture(scope="module")
def start_server():
    """A function that starts a server with flags of its own; all end with the module's tests."""
    running = []

    def start(*flags, **options):
        running.append(Server("--drain", "1s", *flags, **options))
        return running[-1]

    yield start
    for each in running:
        status = each.stop()
        assert status == 0, f"exit status {status}\n{each.output}"
