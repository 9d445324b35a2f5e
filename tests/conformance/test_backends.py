"""Models that others answer for: upstreams that share the conversations, chains of fallbacks, and who it was."""

import json
import os
import re
import subprocess
import time

import pytest

from conftest import BINARY, MODEL, ROOT

TINY = ROOT / "build/golden/llama_tied/q8_0.gguf"
STORY = "Once upon a time there was a machine that counted everything it saw. " * 4
FLAGS = ("--model-id", "far", "--threads", "1", "--kv-memory", "16MiB")


@pytest.fixture
def config(tmp_path):
    def write(text):
        path = tmp_path / "pensieve.conf"
        path.write_text(text)
        return path

    return write


def body(model, *texts, max_tokens=4, **more):
    roles = ("user", "assistant")
    return {"model": model, "max_tokens": max_tokens, "temperature": 0,
            "messages": [{"role": roles[i % 2], "content": text} for i, text in enumerate(texts)], **more}


def members(wire, model):
    found = next(each for each in wire.get("/health").json()["models"] if each["id"] == model)
    return {member["name"]: member for member in found["members"]}


def cached(node):
    """Tokens of prompts that it has not had to compute."""
    return node.wire.get("/health").json()["models"][0]["tokens"]["cached"]


def test_two_upstreams_share_the_conversations(start_server, config):
    nodes = {name: start_server(*FLAGS, model=TINY) for name in ("a", "b")}
    sections = [f"[upstream {name}]\nurl = {node.url}\nkind = anthropic\nmodel = far\nkey-env = NODE_KEY\n"
                for name, node in nodes.items()]
    path = config("[model shared]\nbackend = upstream\nupstream = a, b\nprobe = 200ms\n" + "".join(sections))
    front = start_server("--config", path, model=None, env={"NODE_KEY": nodes["a"].key})
    wire = front.wire
    assert "shared, pool of a, b" in front.output and nodes["a"].key not in path.read_text()

    homes = {}
    for subject in ("cats", "dogs", "fish", "owls"):
        answer = wire.post(body("shared", f"About {subject}. {STORY}"))
        assert answer.status == 200, answer.body
        homes[subject] = answer.headers["pensieve-backend"], answer.json()["content"][0]["text"]
    assert sorted(name for name, _ in homes.values()) == ["a", "a", "b", "b"]
    for subject, (home, said) in homes.items():     # the next turns find what was computed
        before = cached(nodes[home])
        answer = wire.post(body("shared", f"About {subject}. {STORY}", said, "Go on."))
        assert answer.headers["pensieve-backend"] == home and cached(nodes[home]) >= before + 128, answer.json()

    lost, kept = homes["cats"][0], {"a": "b", "b": "a"}[homes["cats"][0]]
    nodes[lost].stop()
    answer = wire.post(body("shared", f"About cats. {STORY}", homes["cats"][1], "Go on."))
    assert answer.status == 200 and answer.headers["pensieve-backend"] == kept
    found = members(wire, "shared")
    assert found[kept]["served"] >= 5 and found[lost]["failed"] + found[kept]["moved"] + found[lost]["moved"] >= 1
    deadline = time.monotonic() + 10
    while members(wire, "shared")[lost]["state"] != "resting":      # its probes fail
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert members(wire, "shared")[lost]["why"]
    assert f'backend="{kept}"' in front.output


def test_an_overloaded_model_falls_back(start_server, config):
    path = config(f"[model near]\npath = {MODEL}\nfallback = far\n[model far]\npath = {TINY}\n")
    server = start_server("--config", path, "--sequences-max", "1", "--queue-max", "1", "--kv-memory", "32MiB",
                          "--context", "512", model=None)
    wire, open_now = server.wire, []
    answer = wire.post(body("near", "Hello"))
    assert answer.status == 200 and answer.headers["pensieve-backend"] == "near"
    assert wire.count(body("near", "Hello")).json()["input_tokens"] == answer.json()["usage"]["input_tokens"]

    for text in ("one", "two"):                     # one runs, one waits
        open_now.append(wire.open("POST", "/v1/messages", body("near", text, max_tokens=400, stream=True)))
    deadline = time.monotonic() + 10
    while True:
        answer = wire.post(body("near", "Hello"))
        if answer.headers.get("pensieve-backend") == "far" or time.monotonic() > deadline:
            break
    assert answer.status == 200 and answer.headers["pensieve-backend"] == "far", answer.headers
    assert members(wire, "near")["near"]["failed"] >= 1 and members(wire, "near")["far"]["served"] >= 1
    too_long = wire.post(body("near", "word " * 600))
    assert too_long.status == 400 and "prompt is too long" in too_long.json()["error"]["message"]
    for connection, _ in open_now:
        connection.close()


def run(*words, env=None):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PENSIEVE_")}
    environment |= {"XDG_CONFIG_HOME": "/nonexistent", "PENSIEVE_MODELS_DIR": "/nonexistent"} | (env or {})
    return subprocess.run([str(BINARY), *map(str, words)], env=environment, capture_output=True, text=True,
                          timeout=30, check=False)


def test_check_looks_for_mlx_lm(config, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    python = tmp_path / "python"
    path = config(f"[model m]\nbackend = mlx\npath = {tmp_path}\npython = {python}\n")
    out = run("check", "--config", path)
    assert out.returncode == 2 and f"python: there is no program {python}" in out.stdout
    for status, words in ((1, f"python: {python} has no mlx-lm"), (0, "mlx: right")):
        python.write_text(f"exit {status}")     # no interpreter's line: as a shell has it
        python.chmod(0o755)
        assert words in run("check", "--config", path).stdout


def test_list_and_check_say_what_the_file_means(config):
    text = (f"[model near]\npath = {TINY}\nfallback = far\n[model far]\nbackend = upstream\nupstream = gpu\n"
            "[upstream gpu]\nurl = https://gpu.example\nkey-env = GPU_KEY\n")
    path = config(text)
    out = run("list", "--config", path)
    assert out.returncode == 0 and re.search(r"^near +native +\S+q8_0.gguf; else far$", out.stdout, re.M), out.stdout
    models = {each["id"]: each for each in json.loads(run("list", "--json", "--config", path).stdout)}
    assert models["far"]["upstreams"] == ["gpu"] and models["near"]["fallbacks"] == ["far"]
    out = run("check", "--config", path, env={"GPU_KEY": "never-shown"})
    assert out.returncode == 0 and "never-shown" not in out.stdout + out.stderr, out
    out = run("check", "--config", path)
    assert out.returncode == 2 and "[upstream gpu]: key-env: the environment has no GPU_KEY" in out.stderr
    path = config(text.replace("https:", "http:"))
    out = run("check", "--config", path, env={"GPU_KEY": "x"})
    assert out.returncode == 2 and "[upstream gpu]: http://gpu.example, openai: without TLS" in out.stdout
    path = config(text.replace("fallback = far", "fallback = nobody"))
    out = run("check", "--config", path, env={"GPU_KEY": "x"})
    assert out.returncode == 2 and "line 1: [model near]: native: fallback: this server has no model nobody" in out.stdout
    out = run("serve", "--config", path, "--port", "0", env={"GPU_KEY": "x"})
    assert out.returncode == 2 and "line 1: [model near]: fallback: this server has no model nobody" in out.stderr
