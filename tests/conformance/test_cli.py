"""The commands of the program, as a person uses them."""

import json
import math
import os
import re
import shutil
import signal
import socket
import subprocess
import time

import pytest

from conftest import BINARY, MODEL, ROOT

GOLDEN = ROOT / "build/golden"
TINY = GOLDEN / "llama_tied/f16.gguf"

CHATML_USER = "<|im_start|>user\nCount to 3<|im_end|>\n<|im_start|>assistant\n"


def pensieve(*words, stdin=None, env=None, home=None, timeout=120):
    """Runs one command to its end, without the caller's own settings."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PENSIEVE_")}
    environment.update({"XDG_CONFIG_HOME": str(home or "/nonexistent")}, **(env or {}))
    return subprocess.run([str(BINARY), *map(str, words)], input=stdin, capture_output=True,
                          text=True, env=environment, timeout=timeout, check=False)


def test_version_and_help():
    assert re.fullmatch(r"pensieve \d+\.\d+\.\d+\n", pensieve("--version").stdout)
    out = pensieve("--help")
    assert out.returncode == 0
    for command in ("serve", "pull", "list", "bench", "tokens", "prompt", "check", "launch",
                    "options"):
        assert re.search(rf"^  {command} ", out.stdout, re.M)
        own = pensieve(command, "--help")
        assert own.returncode == 0 and own.stdout.startswith(f"pensieve {command} - ")
    assert pensieve().returncode == 2


def test_help_comes_even_where_the_configuration_is_wrong():
    out = pensieve("serve", "--help", env={"PENSIEVE_PORT": "wrong"})
    assert out.returncode == 0 and "--port N" in out.stdout


@pytest.mark.parametrize("words, told", [
    (["srve"], "there is no command srve; did you mean serve?"),
    (["dance"], "there is no command dance; `pensieve --help` lists them"),
    (["serve", "--prot", "80"], "--prot: there is no such option; did you mean --port?"),
    (["serve", "--port", "99999"], "--port: 99999 is not between 0 and 65535"),
    (["tokens", "--port", "80"], "--port is an option, but not of this command"),
    (["serve", "now"], "now: one word too many; usage: pensieve serve [options]"),
    (["check"], "which model? usage: pensieve check [options] MODEL"),
])
def test_wrong_use_is_told_in_one_line(words, told):
    out = pensieve(*words)
    assert (out.returncode, out.stdout, out.stderr) == (2, "", f"pensieve: {told}\n")


def test_missing_model_says_what_to_do():
    out = pensieve("serve", "--model", "models/none.gguf")
    assert out.returncode == 1
    assert out.stderr == ("pensieve: there is no model at models/none.gguf; `make model` fetches the "
                          "default one, `pensieve list` shows what is there\n")


def test_file_and_environment(tmp_path):
    (tmp_path / "pensieve").mkdir()
    (tmp_path / "pensieve" / "pensieve.conf").write_text("# ours\nmodel = from-file.gguf\n")
    assert "from-file.gguf" in pensieve("serve", home=tmp_path).stderr
    out = pensieve("serve", home=tmp_path, env={"PENSIEVE_MODEL": "from-environment.gguf"})
    assert "from-environment.gguf" in out.stderr
    (tmp_path / "pensieve" / "pensieve.conf").write_text("\nport = many\n")
    out = pensieve("serve", home=tmp_path)
    assert out.stderr == "pensieve: pensieve.conf line 2: port: \"many\" is not a whole number\n"


def test_tokens():
    out = pensieve("tokens", "--model", MODEL, "Count to 3<|im_end|>")
    assert out.returncode == 0, out.stderr
    rows = [line.split(maxsplit=1) for line in out.stdout.splitlines()]
    assert rows[-1] == ["2", '"<|im_end|>"  control']
    assert "".join(json.loads(spelling) for _, spelling in rows[:-1]) == "Count to 3"
    plain = pensieve("tokens", "--model", MODEL, "--plain", "Count to 3<|im_end|>").stdout
    assert "control" not in plain and len(plain.splitlines()) > len(rows)
    assert pensieve("tokens", "--model", MODEL, stdin="Count to 3<|im_end|>").stdout == out.stdout


def test_prompt_is_the_exact_text():
    body = json.dumps({"model": "claude-x", "max_tokens": 5,
                       "messages": [{"role": "user", "content": "Count to 3"}]})
    out = pensieve("prompt", "--model", MODEL, stdin=body)
    assert out.returncode == 0, out.stderr
    assert out.stdout.endswith(CHATML_USER)
    count = int(re.fullmatch(r"\n?(\d+) tokens\n", out.stderr)[1])
    shown = pensieve("tokens", "--model", MODEL, stdin=out.stdout)
    assert len(shown.stdout.splitlines()) == count


def test_prompt_refuses_what_the_server_refuses(tmp_path):
    request = tmp_path / "request.json"
    request.write_text('{"model": "claude-x", "messages": []')
    out = pensieve("prompt", "--model", MODEL, request)
    assert out.returncode == 1 and "not valid JSON" in out.stderr
    out = pensieve("prompt", "--model", MODEL, tmp_path / "none.json")
    assert out.returncode == 1 and "No such file" in out.stderr


def test_check_runs_a_good_model():
    out = pensieve("check", MODEL, "--threads", "2")
    assert out.returncode == 0, out.stderr
    for line in (r"architecture    llama: 30 layers of 576", r"weights         .*q4_1",
                 r"chat template   \d+ bytes; conversations: yes, system prompts: yes, tools: no",
                 r"context         8192 tokens", r"memory          weights 93\.8 MiB",
                 r"runs            yes, on \S+ with 2 threads: after .* it wrote \".*Paris"):
        assert re.search(rf"^{line}", out.stdout, re.M), out.stdout


@pytest.mark.parametrize("model, lines", [
    ("gemma3_text/mlx-4bit-g64", [r"form            MLX folder: \d+ files, ",
                                  r"architecture    gemma3: 7 layers of 128, ",
                                  r"window          32 tokens, in 6 of the layers",
                                  r"weights         mlx4 \d+, bf16 \d+",
                                  r'tokenizer       .*; a turn ends with "']),
    ("llama_tied/hf-sharded", [r"form            Hugging Face folder: ", r"weights         bf16 \d+"]),
    ("qwen3_moe/q4_0.gguf", [r"form            GGUF: 1 file, ",
                             r"experts         8, 2 of them for each token"]),
    ("phi3_longrope/hf", [r"memory          .* at 2048, .* at 32768, .* at 131072$",
                          r"context         131072 tokens here, trained for 131072"]),
])
def test_check_of_every_form(model, lines):
    out = pensieve("check", GOLDEN / model)
    assert out.returncode == 0, out.stderr
    for line in [*lines, r"runs            yes, on "]:
        assert re.search(rf"^{line}", out.stdout, re.M), out.stdout


def test_check_says_what_the_makers_advise(tmp_path):
    shutil.copytree(GOLDEN / "llama_tied/hf", tmp_path / "hf")
    (tmp_path / "hf/generation_config.json").write_text(
        '{"temperature": 0.6, "top_p": 0.95, "top_k": 20, "do_sample": true}')
    out = pensieve("check", tmp_path / "hf")
    assert "\nsampling        temperature 0.6 top_p 0.95 top_k 20\n" in out.stdout, out.stderr


@pytest.mark.parametrize("harm, told", [
    (lambda d: (d / "config.json").write_text("{"), "config.json"),
    (lambda d: (d / "tokenizer.json").write_text('{"model": 1}'), "tokenizer.json"),
    (lambda d: (d / "tokenizer.json").unlink(), "tokenizer"),
    (lambda d: next(d.glob("*-00002-*")).unlink(), "00002"),
    (lambda d: os.truncate(next(d.glob("*-00001-*")), 5000), "00001"),
    (lambda d: next(d.glob("*-00001-*")).write_bytes(b"\xff" * 100), "00001"),
])
def test_check_names_the_broken_file_of_a_folder(tmp_path, harm, told):
    folder = tmp_path / "model"
    shutil.copytree(GOLDEN / "llama_tied/hf-sharded", folder)
    harm(folder)
    for words in (["check", folder], ["serve", "--model", folder, "--port", "0"]):
        out = pensieve(*words)
        assert out.returncode == 1 and told in out.stderr and out.stderr.count("\n") == 1, out.stderr
    row = json.loads(pensieve("list", "--models-dir", tmp_path, "--json").stdout)[0]
    assert row["runs"] is False and told in row["error"]


def test_check_reads_nothing_beside_the_model(tmp_path):
    data = TINY.read_bytes()
    (tmp_path / "whole.gguf").write_bytes(data)
    (tmp_path / "other-00001-of-00002.gguf").write_bytes(b"x" * 12345)
    out = pensieve("check", tmp_path / "whole.gguf")
    assert f"GGUF: 1 file, {len(data) / 1024:.0f} KiB, read whole" in out.stdout, out.stdout


def test_check_says_what_is_wrong(tmp_path):
    broken = tmp_path / "broken.gguf"
    with open(MODEL, "rb") as model:
        broken.write_bytes(model.read(5_000_000))   # the tensors' data is cut off
    out = pensieve("check", broken)
    assert out.returncode == 1
    assert out.stderr.startswith("pensieve: ") and out.stderr.count("\n") == 1
    broken.write_bytes(b"not a model at all")
    assert pensieve("check", broken).returncode == 1
    assert pensieve("check", tmp_path).returncode == 1


def test_list(tmp_path):
    (tmp_path / "org" / "tiny").mkdir(parents=True)
    (tmp_path / "good.gguf").symlink_to(TINY)
    (tmp_path / "org" / "tiny" / "broken.gguf").write_bytes(TINY.read_bytes()[:5000])
    out = pensieve("list", "--models-dir", tmp_path)
    assert out.returncode == 0, out.stderr
    head, good, broken = out.stdout.splitlines()
    assert head.split() == ["model", "form", "architect.", "size", "context", "runs"]
    assert good.split() == ["good", "gguf", "llama", "222", "KiB", "2048", "yes"]
    assert re.match(r"org/tiny/broken +- +- +- +-  no: broken\.gguf: ", broken)
    rows = json.loads(pensieve("list", "--models-dir", tmp_path, "--json").stdout)
    assert [(row["id"], row["runs"]) for row in rows] == [("good", True), ("org/tiny/broken", False)]
    assert rows[0]["context"] == 2048 and rows[0]["error"] is None
    assert rows[1]["error"].startswith("broken.gguf: ")
    out = pensieve("list", "--models-dir", tmp_path / "none")
    assert out.returncode == 0 and out.stdout.startswith("no models in ")
    assert json.loads(pensieve("list", "--models-dir", tmp_path / "none", "--json").stdout) == []


def test_models_by_name(tmp_path):
    (tmp_path / "org" / "tiny").mkdir(parents=True)
    (tmp_path / "org" / "tiny" / "f16.gguf").symlink_to(TINY)
    for name in ("org/tiny/f16", "f16", "org/tiny", tmp_path / "org"):
        out = pensieve("tokens", "--models-dir", tmp_path, "--model", name, "Hello")
        assert out.returncode == 0, out.stderr
    out = pensieve("tokens", "--model", "f61", "Hello", env={"PENSIEVE_MODELS_DIR": str(tmp_path)})
    assert out.returncode == 1
    assert out.stderr == "pensieve: there is no model f61; did you mean org/tiny/f16?\n"
    out = pensieve("tokens", "--model", "a.gguf", "--model", "b.gguf", "Hello")
    assert out.returncode == 2 and out.stderr == "pensieve: --model: this command takes one model\n"


def test_bench_measures():
    out = pensieve("bench", "--model", MODEL, "--json", "--rounds", "1", "--decode", "4", "--threads",
                   "2", "--lengths", "1", "--lengths", "64", "--batch", "1", "--batch", "3")
    assert out.returncode == 0, out.stderr
    result = json.loads(out.stdout)
    assert result["threads"] == 2
    points = result["points"]
    assert [(point["length"], point["batch"]) for point in points] == [(1, 1), (1, 3), (64, 1), (64, 3)]
    assert all(point["prefill_tps"] > 0 and point["decode_tps"] > 0 for point in points)
    assert all(math.isclose(point["decode_tps"] * point["step_ms"], 1e3 * point["batch"], rel_tol=0.01)
               for point in points)
    out = pensieve("bench", "--model", MODEL, "--lengths", "0")
    assert out.returncode == 2 and "--lengths: 0 is not between 1 and " in out.stderr
    out = pensieve("bench", "--model", MODEL, "--batch", "65")
    assert out.returncode == 2 and "--batch: 65 is not between 1 and 64" in out.stderr


def test_options_tables():
    for form in ("text", "markdown", "man"):
        out = pensieve("options", "--format", form)
        assert out.returncode == 0 and "prefill" in out.stdout


def test_ready_line_and_its_curl_line(start_server):
    server = start_server()
    time.sleep(0.2)                     # both lines come in one write
    ready = re.search(r"^pensieve \S+ ready on http://127\.0\.0\.1:\d+ - .*q4_1, 8192 tokens, "
                      r"\d+ threads, \S+, loaded in \d+ ms$", server.output, re.M)
    assert ready, server.output
    start = server.output.index("curl -N")
    command = "\n".join(server.output[start:].splitlines()[:2])
    out = subprocess.run(["bash", "-c", f"{command} -sS"], capture_output=True, text=True,
                         timeout=60, check=False)
    assert out.returncode == 0, out.stderr
    assert out.stdout.startswith("event: message_start\n") and "event: message_stop" in out.stdout


def test_own_key_is_not_shown(start_server):
    server = start_server("--key", "a-secret-of-mine")
    time.sleep(0.2)
    assert "Bearer YOUR-KEY" in server.output and "a-secret-of-mine" not in server.output


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_it_well(start_server, number):
    server = start_server()
    started = time.monotonic()
    server.process.send_signal(number)
    assert server.process.wait(10) == 0, server.output
    assert time.monotonic() - started < 2


def test_taken_port_is_told():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        out = pensieve("serve", "--model", MODEL, "--port", port)
        assert out.returncode == 1
        assert out.stderr.strip().splitlines()[-1].startswith("pensieve: ")
        assert str(port) in out.stderr


def test_beyond_this_machine_only_with_a_key():
    out = pensieve("serve", "--model", MODEL, "--host", "0.0.0.0", "--port", "0")
    assert out.returncode == 2
    assert "key" in out.stderr.splitlines()[-1]
