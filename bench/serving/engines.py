"""engines.py - the two servers: how each is started at its best, and when it is ready."""
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

READY_SECONDS = 120


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Engine:
    """A server that can be started, stopped and started again; what it keeps on disk stays between."""

    name = None
    plain_flags = None              # what turns guessing ahead off, where it is on by itself
    health = "/health"              # answers once it is ready

    def __init__(self, program, model, threads=0, flags=(), log="warn"):
        self.log_level = log
        self.program, self.model, self.threads, self.flags = program, model, threads, list(flags)
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="serve-bench-"))
        self.process = self.port = None

    def command(self):
        raise NotImplementedError

    def surroundings(self):
        """Its environment and folder, as Popen takes them; {}: ours."""
        return {}

    def start(self):
        self.port = free_port()
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=subprocess.STDOUT, **self.surroundings())
        end = time.monotonic() + READY_SECONDS
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}{self.health}", timeout=5).read()
                return self
            except (urllib.error.URLError, ConnectionError):
                if self.process.poll() is not None or time.monotonic() > end:
                    raise RuntimeError(f"{self.name} did not get ready: {self.log()[-2000:]}") from None
                time.sleep(0.02)

    def log(self):
        return (self.folder / "log").read_text("utf-8", "replace")

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.remove()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def restart(self):
        self.stop()
        return self.start()

    def remove(self):
        if self.process and self.process.poll() is None:
            self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


class Pensieve(Engine):
    name = "pensieve"
    plain_flags = ["--speculate", "off"]

    def command(self):
        return [str(self.program), "serve", "--model", str(self.model), "--port", str(self.port),
                "--threads", str(self.threads), "--cache-dir", str(self.folder / "cache"),
                "--log", self.log_level, *self.flags]


class LlamaServer(Engine):
    """Flash attention, and a window of `context` tokens for each of `slots` that share one cache: what
    its makers advise for several clients. Its own store of prompts in memory is on, as it is by itself."""

    name = "llama-server"

    def __init__(self, *args, context, slots, **options):
        super().__init__(*args, **options)
        self.context, self.slots = context, slots

    def command(self):
        return [str(self.program), "--model", str(self.model), "--port", str(self.port),
                "--threads", str(self.threads), "--threads-batch", str(self.threads),
                "--flash-attn", "on", "--ctx-size", str(self.context * self.slots),
                "--parallel", str(self.slots), "--kv-unified", "--jinja", "--no-webui", *self.flags]
