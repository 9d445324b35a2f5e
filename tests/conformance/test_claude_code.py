"""Claude Code, the real client, against Pensieve: a question, and what it says of a refusal.

It reaches nothing but this server: its home is a folder of the test's own, its extra traffic is
turned off, and its proxy is a closed port for every address but the loopback one.
"""

import json
import os
import platform
import subprocess

import pytest
from conftest import ROOT

PACKAGES = ROOT / "tests/conformance/claude-code/node_modules/@anthropic-ai"
NOWHERE = "http://127.0.0.1:9"
SECONDS = 90


def client_program():
    system = {"Linux": "linux", "Darwin": "darwin"}.get(platform.system(), "other")
    machine = {"x86_64": "x64", "aarch64": "arm64", "arm64": "arm64"}.get(platform.machine(), "?")
    return PACKAGES / f"claude-code-{system}-{machine}" / "claude"


@pytest.fixture
def claude(server, tmp_path):
    """A function that runs `claude ARGUMENTS` against the server."""
    program = client_program()
    if not program.exists():
        pytest.skip("Claude Code is not installed (tests/setup-clients gets it)")
    kept = {k: v for k, v in os.environ.items()
            if not k.startswith(("ANTHROPIC_", "CLAUDE", "PENSIEVE_"))}
    environment = {
        **kept,
        "HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "ANTHROPIC_BASE_URL": server.url, "ANTHROPIC_AUTH_TOKEN": server.key,
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", "DISABLE_AUTOUPDATER": "1",
        "DISABLE_TELEMETRY": "1", "DISABLE_ERROR_REPORTING": "1",
        "CLAUDE_CODE_MAX_RETRIES": "0", "CLAUDE_CODE_EXTRA_BODY": '{"temperature": 0}',
        "HTTPS_PROXY": NOWHERE, "HTTP_PROXY": NOWHERE, "NO_PROXY": "127.0.0.1,localhost",
    }
    folder = tmp_path / "project"
    folder.mkdir()

    def run(*arguments, **more):
        return subprocess.run(
            [program, *arguments], cwd=folder, env={**environment, **more}, text=True,
            stdin=subprocess.DEVNULL, capture_output=True, timeout=SECONDS,
        )

    return run


def test_answers_a_question(claude):
    run = claude("-p", "Say hi", "--tools", "", "--system-prompt", "You are a friendly helper.",
                 "--output-format", "json")
    assert run.returncode == 0, run.stdout + run.stderr
    result = json.loads(run.stdout)
    assert result["is_error"] is False, result
    assert result["result"].strip(), result
    assert result["num_turns"] == 1
    assert result["usage"]["input_tokens"] > 50
    assert result["usage"]["output_tokens"] > 0


def test_plain_output_is_the_models_text(claude, wire):
    """Under the model's own name, too, which this client does not know."""
    [model] = wire.get("/v1/models").json()["data"]
    run = claude("-p", "What is the capital of France?", "--tools", "", "--model", model["id"],
                 "--system-prompt", "Answer in one short sentence.")
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout.strip()
    assert "API Error" not in run.stdout


def test_tools_are_refused_plainly(claude):
    """Until this server can do tools: one clear sentence, at once, not ten retries."""
    run = claude("-p", "Say hi", "--tools", "Bash", "--system-prompt", "You are a helper.")
    assert run.returncode == 1, run.stdout + run.stderr
    assert "API Error: 400" in run.stdout and "tools" in run.stdout, run.stdout + run.stderr


def test_wrong_key_is_told(claude):
    run = claude("-p", "Say hi", "--tools", "", ANTHROPIC_AUTH_TOKEN="wrong")
    assert run.returncode == 1, run.stdout + run.stderr
    assert "authenticate" in run.stdout or "login" in run.stdout, run.stdout + run.stderr
