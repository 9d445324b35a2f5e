"""`pensieve launch claude` and scripts/claude-local: what Claude Code is told, what becomes of its
end, and that no server is left behind.

Claude Code is played by a script that says what it was given, and does what its first argument says.
"""

import json
import os
import pty
import signal
import socket
import subprocess

import pytest
from conftest import BINARY, MODEL, ROOT
from support import claude as client
from support.waiting import wait_until

PLAYED = """#!/bin/sh
[ "$1" = --settings ] && { settings=$2; shift 2; }
case $1 in
tell) env; echo "SETTINGS=$settings"; for word; do echo "WORD=$word"; done ;;
end) exit "$2" ;;
die) kill -"$2" $$ ;;
count) n=0; trap 'n=$((n + 1))' INT; echo counting; i=0
    while [ "$n" -eq 0 ] && [ $((i += 1)) -lt 400 ]; do sleep 0.05; done; sleep 0.2; exit $((10 + n)) ;;
wait) trap 'echo interrupted; exit 9' INT; echo waiting; i=0
    while [ $((i += 1)) -lt 400 ]; do sleep 0.05; done ;;
esac
"""
GATEWAY = {"ANTHROPIC_BASE_URL": "http://127.0.0.1:9", "ANTHROPIC_API_KEY": "sk-a-real-one",
           "CLAUDE_CODE_USE_BEDROCK": "1", "API_TIMEOUT_MS": "5", "NO_PROXY": "example.org"}


@pytest.fixture
def folder(tmp_path):
    program = tmp_path / "bin/claude"
    program.parent.mkdir()
    program.write_text(PLAYED)
    program.chmod(0o755)
    return tmp_path


@pytest.fixture
def port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def environment(folder, **more):
    return {**client.kept(), "HOME": str(folder), "XDG_CONFIG_HOME": str(folder / "config"),
            "XDG_STATE_HOME": str(folder / "state"), "PENSIEVE_CACHE_DISK_MAX": "0",
            "PATH": f"{folder / 'bin'}:{os.environ['PATH']}", **more}


def run(folder, command, **more):
    return subprocess.run([str(word) for word in command], env=environment(folder, **more), text=True,
                          stdin=subprocess.DEVNULL, capture_output=True, timeout=60)


def launch(folder, *words, **more):
    return run(folder, [BINARY, "launch", "--model", MODEL, *words], **more)


def told(output):
    lines = [line.split("=", 1) for line in output.splitlines() if "=" in line]
    return dict(lines), [value for name, value in lines if name == "WORD"]


def answers(port):
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


def check_told(variables, url, model):
    """By both ways: a settings file's own `env` would win over the environment alone."""
    settings = json.loads(variables["SETTINGS"])["env"]
    expected = {
        "ANTHROPIC_BASE_URL": url, "ANTHROPIC_AUTH_TOKEN": "pensieve-local-token",
        "ANTHROPIC_MODEL": model, "ANTHROPIC_DEFAULT_HAIKU_MODEL": model,
        "ANTHROPIC_DEFAULT_SONNET_MODEL": model, "ANTHROPIC_DEFAULT_OPUS_MODEL": model,
        "CLAUDE_CODE_MAX_CONTEXT_TOKENS": "8192", "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "CLAUDE_CODE_ATTRIBUTION_HEADER": "0",
    }
    for name, value in expected.items():
        assert variables[name] == value and settings[name] == value, name
    for name in ("ANTHROPIC_API_KEY", "CLAUDE_CODE_USE_BEDROCK"):
        assert not variables.get(name) and settings[name] == "", name
    assert variables["CLAUDE_CODE_MAX_OUTPUT_TOKENS"] == "2048"
    assert variables["API_TIMEOUT_MS"] == "5"       # theirs
    assert int(variables["CLAUDE_STREAM_IDLE_TIMEOUT_MS"]) > 300000
    assert variables["API_FORCE_IDLE_TIMEOUT"] == "0"
    for name in ("NO_PROXY", "no_proxy"):
        assert variables[name].split(",")[0] == "example.org" and "127.0.0.1" in variables[name]


def test_starts_a_server_and_ends_it(folder, port):
    done = launch(folder, "--port", port, "claude", "tell", "--port", "3", "--", "a b", **GATEWAY)
    assert done.returncode == 0, done.stderr
    variables, words = told(done.stdout)
    check_told(variables, f"http://127.0.0.1:{port}", MODEL.stem)
    assert words == ["tell", "--port", "3", "--", "a b"]
    assert "starting a server" in done.stderr and f"ready on http://127.0.0.1:{port}" in done.stderr
    assert not answers(port)
    assert "shutdown" in (folder / "state/pensieve/launch.log").read_text()


def test_uses_the_server_that_is_there(folder, server):
    """And the two ways to do so tell Claude Code the same."""
    all_told = []
    for command in ([BINARY, "launch", "--port", server.port, "--model", MODEL.stem, "claude"],
                    [ROOT / "scripts/claude-local"]):
        done = run(folder, [*command, "tell", "x"], CLAUDE_LOCAL_URL=server.url, **GATEWAY)
        assert done.returncode == 0, done.stderr
        variables, words = told(done.stdout)
        check_told(variables, server.url, MODEL.stem)
        assert words == ["tell", "x"]
        settings = json.loads(variables.pop("SETTINGS"))["env"]
        hosts = {name: set(settings.pop(name).split(",")) for name in ("NO_PROXY", "no_proxy")}
        ours = {name: value for name, value in variables.items() if value  # "" is as good as none
                and name.startswith(("ANTHROPIC_", "CLAUDE", "API_"))}
        all_told.append((settings, hosts, ours))
    assert all_told[0] == all_told[1]
    assert answers(server.port)


def test_an_alias_keeps_its_meaning(folder, start_server):
    """Where haiku is another model on this server, it is for Claude Code."""
    tiny = ROOT / "build/golden/llama_tied/f16.gguf"
    other = start_server("--model", tiny, "--alias", "claude-haiku-*=f16")
    done = launch(folder, "--port", other.port, "claude", "tell")
    variables, _ = told(done.stdout)
    assert variables["ANTHROPIC_DEFAULT_HAIKU_MODEL"] == "f16", done.stderr
    assert variables["ANTHROPIC_DEFAULT_OPUS_MODEL"] == MODEL.stem


def test_a_key_of_ones_own_is_not_shown(folder, port):
    done = launch(folder, "--port", port, "--key", "my-secret", "claude", "tell")
    variables, _ = told(done.stdout)
    assert variables["ANTHROPIC_AUTH_TOKEN"] == "my-secret"
    assert "my-secret" not in variables["SETTINGS"] + done.stderr


@pytest.mark.parametrize("words, status", [(["end", "7"], 7), (["die", "TERM"], -signal.SIGTERM)])
def test_ends_as_claude_ends(folder, port, words, status):
    assert launch(folder, "--port", port, "claude", *words).returncode == status
    assert not answers(port)


def waiting(folder, port):
    started = subprocess.Popen(
        [str(BINARY), "launch", "--model", str(MODEL), "--port", str(port), "claude", "wait"],
        env=environment(folder), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        start_new_session=True)
    assert started.stdout.readline() == "waiting\n"
    return started


def test_passes_a_signal_on(folder, port):
    started = waiting(folder, port)
    started.send_signal(signal.SIGINT)
    assert started.communicate(timeout=30)[0] == "interrupted\n"
    assert started.returncode == 9
    assert not answers(port)


def at_a_terminal(folder, port, word, until):
    """Started as a session's leader. Its pid, the terminal's other end, what it has said."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(BINARY, ["pensieve", "launch", "--model", str(MODEL), "--port", str(port), "claude",
                           word], environment(folder))
    said = b""
    while until not in said:
        said += os.read(terminal, 1000)
    return pid, terminal, said


def test_control_c_at_a_terminal_comes_once(folder, port):
    """The kernel sends it to all in the foreground; passed on as well, it would be two."""
    pid, terminal, said = at_a_terminal(folder, port, "count", b"counting")
    os.write(terminal, b"\x03")
    while True:
        try:
            said += os.read(terminal, 1000)
        except OSError:         # nobody has the other end any more
            break
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 11, said
    os.close(terminal)


def test_a_terminal_that_goes_takes_all_with_it(folder, port):
    pid, terminal, _ = at_a_terminal(folder, port, "wait", b"waiting")
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGHUP
    assert not answers(port)


def test_a_server_does_not_outlive_us(folder, port):
    started = waiting(folder, port)
    assert answers(port)
    started.kill()
    started.wait()
    wait_until(lambda: not answers(port), "its server ends", seconds=10)
    os.killpg(started.pid, signal.SIGKILL)      # what played Claude Code


def test_what_is_wrong_is_one_sentence(folder, server):
    cases = [
        (["launch"], {}, 2, "launch whom? usage: pensieve launch"),
        (["launch", "codex"], {}, 2, "launch whom?"),
        (["launch", "claude"], {"PATH": "/nonexistent"}, 1, "npm install -g"),
        (["launch", "--port", "0", "--model", "none", "claude"], {}, 1, "there is no model at none"),
        (["launch", "--port", server.port, "--model", "none", "claude"], {}, 1,
         "has no model none"),
        (["launch", "--port", server.port, "--key", "wrong", "claude"], {}, 1,
         "does not accept this key"),
    ]
    for words, more, status, sentence in cases:
        done = run(folder, [BINARY, *words], **more)
        assert done.returncode == status, (words, done.stderr)
        assert sentence in done.stderr and not done.stdout, (words, done.stderr)


def test_a_port_that_is_anothers(folder, start_other):
    done = launch(folder, "--port", start_other, "claude", "tell")
    assert done.returncode == 1 and "is taken by a program that is not Pensieve" in done.stderr


@pytest.fixture
def start_other():
    """An HTTP server of another kind."""
    from http.server import BaseHTTPRequestHandler, HTTPServer
    from threading import Thread

    other = HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    Thread(target=other.serve_forever, args=(0.01,), daemon=True).start()
    yield other.server_port
    other.shutdown()
    other.server_close()


def test_script_says_what_is_wrong(folder, server, port):
    script = ROOT / "scripts/claude-local"
    done = run(folder, [script], CLAUDE_LOCAL_URL=f"http://127.0.0.1:{port}")
    assert done.returncode == 1 and "pensieve serve" in done.stderr
    done = run(folder, [script], CLAUDE_LOCAL_URL=server.url, CLAUDE_LOCAL_MODEL="none")
    assert done.returncode == 1 and "has no model none" in done.stderr
