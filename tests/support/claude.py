"""Claude Code, the real client, in a folder of its own, and with nothing in reach but this machine.

Its home is a folder of the test's, its extra traffic is turned off, and its proxy is a closed port for
every address but the loopback one.
"""

import os
import platform
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ROOT / "tests/conformance/claude-code/node_modules/@anthropic-ai"
NOWHERE = "http://127.0.0.1:9"
SECONDS = 90
MISSING = "Claude Code is not installed (tests/setup-clients gets it)"


def program():
    system = {"Linux": "linux", "Darwin": "darwin"}.get(platform.system(), "other")
    machine = {"x86_64": "x64", "aarch64": "arm64", "arm64": "arm64"}.get(platform.machine(), "?")
    return PACKAGES / f"claude-code-{system}-{machine}" / "claude"


def kept():
    """Of our environment what is not for Claude Code or Pensieve."""
    return {k: v for k, v in os.environ.items()
            if not k.startswith(("ANTHROPIC_", "CLAUDE", "PENSIEVE_"))}


class Claude:
    """`claude ARGUMENTS` against one server. Conversations of one folder can be resumed."""

    def __init__(self, folder, url, key, **variables):
        self.folder = Path(folder) / "project"
        self.folder.mkdir()
        self.environment = {
            **kept(),
            "HOME": str(folder), "XDG_CONFIG_HOME": str(Path(folder) / "config"),
            "ANTHROPIC_BASE_URL": url, "ANTHROPIC_AUTH_TOKEN": key,
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", "DISABLE_AUTOUPDATER": "1",
            "DISABLE_TELEMETRY": "1", "DISABLE_ERROR_REPORTING": "1",
            "HTTPS_PROXY": NOWHERE, "HTTP_PROXY": NOWHERE, "NO_PROXY": "127.0.0.1,localhost",
            **variables,
        }

    def start(self, *arguments, **more):
        return subprocess.Popen(
            [program(), *arguments], cwd=self.folder, env={**self.environment, **more}, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )

    def run(self, *arguments, **more):
        started = self.start(*arguments, **more)
        try:
            out, err = started.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            started.kill()
            raise
        return subprocess.CompletedProcess(started.args, started.returncode, out, err)
