"""Claude Code, the real client, against Pensieve and its own small model: a question, calls of tools, and
what it says of a refusal."""

import json
import subprocess

import pytest
from conftest import BINARY, MODEL
from support import claude as client


@pytest.fixture
def claude(server, tmp_path):
    """A function that runs `claude ARGUMENTS` against the server."""
    if not client.program().exists():
        pytest.skip(client.MISSING)
    return client.Claude(
        tmp_path, server.url, server.key, CLAUDE_CODE_MAX_RETRIES="0",
        CLAUDE_CODE_EXTRA_BODY='{"temperature": 0}',
    ).run


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


def test_its_calls_are_valid(claude):
    """A model this small can't choose, but what it must call, it calls as the schemas of Claude Code's
    own tools want it. Nothing is run: a command needs somebody's leave, and nobody is there."""
    forced = {"temperature": 0, "max_tokens": 200,
              "tool_choice": {"type": "any", "disable_parallel_tool_use": True}}
    run = claude("-p", "Read notes.txt", "--tools", "Bash,Read", "--max-turns", "1",
                 "--system-prompt", "You are a helper.", "--output-format", "stream-json",
                 "--verbose", CLAUDE_CODE_EXTRA_BODY=json.dumps(forced))
    told = [json.loads(line) for line in run.stdout.splitlines()]
    assert told[-1]["subtype"] == "error_max_turns", run.stdout + run.stderr
    blocks = [block for each in told if each["type"] in ("assistant", "user")
              for block in each["message"]["content"]]
    calls = [block for block in blocks if block["type"] == "tool_use"]
    results = [block for block in blocks if block["type"] == "tool_result"]
    assert calls and {call["name"] for call in calls} <= {"Bash", "Read"}
    assert [call["id"] for call in calls] == [result["tool_use_id"] for result in results]
    for result in results:
        assert "InputValidationError" not in str(result), (calls, results)
        assert "No such tool" not in str(result), (calls, results)


def test_wrong_key_is_told(claude):
    run = claude("-p", "Say hi", "--tools", "", ANTHROPIC_AUTH_TOKEN="wrong")
    assert run.returncode == 1, run.stdout + run.stderr
    assert "authenticate" in run.stdout or "login" in run.stdout, run.stdout + run.stderr


def test_launch_beats_a_settings_file(server, tmp_path):
    """The settings of another gateway, which Claude Code lets win over its environment."""
    if not client.program().exists():
        pytest.skip(client.MISSING)
    elsewhere = {"ANTHROPIC_BASE_URL": client.NOWHERE, "ANTHROPIC_AUTH_TOKEN": "another's",
                 "ANTHROPIC_MODEL": "another", "CLAUDE_CODE_MAX_RETRIES": "0"}
    (tmp_path / ".claude").mkdir()
    settings = tmp_path / ".claude/settings.json"
    settings.write_text(json.dumps({"env": elsewhere, "model": "opus"}))
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/claude").symlink_to(client.program())
    played = client.Claude(tmp_path, client.NOWHERE, "another's",
                           CLAUDE_CODE_EXTRA_BODY='{"temperature": 0}',
                           PATH=f"{tmp_path / 'bin'}:/usr/bin:/bin")
    run = subprocess.run(
        [BINARY, "launch", "--port", str(server.port), "claude", "-p", "Say hi", "--tools", "",
         "--system-prompt", "You are a friendly helper.", "--output-format", "json"],
        cwd=played.folder, env=played.environment, text=True, stdin=subprocess.DEVNULL,
        capture_output=True, timeout=client.SECONDS)
    assert run.returncode == 0, run.stdout + run.stderr
    result = json.loads(run.stdout)
    assert result["is_error"] is False and list(result["modelUsage"]) == [MODEL.stem], result
    assert json.loads(settings.read_text())["env"] == elsewhere
