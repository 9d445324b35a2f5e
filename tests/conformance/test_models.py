"""Several models in one server: their names, and how they come into memory and leave it."""

import http.client
import json
import re
import shutil
import threading
import time

import pytest

from conftest import MODEL, ROOT
from support.wire import Wire

TINY = ROOT / "build/golden"
IDS = ["org/deep/q8_0", "two", "zero"]  # as they lie in the folder, sorted


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three tiny models, a broken one, and the default one under a second name."""
    path = tmp_path_factory.mktemp("models")
    (path / "org" / "deep").mkdir(parents=True)
    (path / "two.gguf").symlink_to(TINY / "llama_tied/f16.gguf")
    (path / "zero.gguf").symlink_to(TINY / "llama_tied/q4_0.gguf")
    (path / "org" / "deep" / "q8_0.gguf").symlink_to(TINY / "llama_tied/q8_0.gguf")
    (path / "broken.gguf").write_bytes((TINY / "llama_tied/f16.gguf").read_bytes()[:5000])
    (path / "same.gguf").symlink_to(MODEL)
    return path


@pytest.fixture(scope="module")
def many(start_server, folder):
    return start_server("--models-dir", folder, "--kv-memory", "16MiB", "--context", "512", "--threads", "2",
                        "--alias", "claude-haiku-*=zero", "--alias", "quick=deep/q8_0",
                        "--alias", f"anthropic/first={MODEL}")


def body(model, max_tokens=4, **more):
    return {"model": model, "max_tokens": max_tokens, "temperature": 0,
            "messages": [{"role": "user", "content": "Hello"}], **more}


def states(wire):
    return {model["id"]: model["state"] for model in wire.get("/health").json()["models"]}


def wait_for(wire, model, state, seconds=10.0):
    begin = time.monotonic()
    while states(wire)[model] != state:
        assert time.monotonic() - begin < seconds, f"{model}: {states(wire)}"
        time.sleep(0.02)


def loads(server, model):
    return len(re.findall(rf'model_loaded model="{re.escape(model)}"', server.output))


def default_id():
    return MODEL.name.removesuffix(".gguf")


def test_list_shows_all_before_they_are_loaded(many):
    page = many.wire.get("/v1/models").json()
    ids = [model["id"] for model in page["data"]]
    assert ids == [default_id(), *IDS, "quick", "anthropic/first"]
    by_id = {model["id"]: model for model in page["data"]}
    assert by_id["two"]["max_input_tokens"] == 512 == by_id["two"]["max_tokens"]
    assert by_id["two"]["display_name"] == "tiny random llama"
    assert by_id[default_id()]["max_input_tokens"] == 512
    assert by_id["quick"]["display_name"] == by_id["org/deep/q8_0"]["display_name"]
    assert f"{len(IDS)} more: " in many.output
    assert states(many.wire)["two"] == "unloaded" and many.wire.get("/health").status == 200
    one = many.wire.get("/v1/models/org%2Fdeep%2Fq8_0")
    assert one.status == 200 and one.json() == by_id["org/deep/q8_0"]
    pages, after = [], ""
    while True:
        page = many.wire.get(f"/v1/models?limit=2{after}").json()
        pages += [model["id"] for model in page["data"]]
        if not page["has_more"]:
            break
        after = f"&after_id={page['last_id'].replace('/', '%2F')}"
    assert pages == ids


def test_claude_codes_picker_gets_names_that_it_keeps(many):
    page = many.wire.get("/v1/models?limit=1000", {"User-Agent": "claude-code/2.1.197"}).json()
    ids = [model["id"] for model in page["data"]]
    assert ids == [f"claude-local-{default_id()}", *(f"claude-local-{id}" for id in IDS),
                   "claude-local-quick", "anthropic/first"]
    for name in ids:
        assert re.match(r"(claude|anthropic)", name)
        answer = many.wire.post(body(name))
        assert answer.status == 200 and answer.json()["model"] == name


def test_names_find_their_models(many):
    def tokens(name):
        answer = many.wire.post(body(name), path="/v1/messages/count_tokens")
        assert answer.status == 200, answer.body
        return answer.json()["input_tokens"]

    tiny, default = tokens("two"), tokens(default_id())
    assert tiny != default  # another vocabulary
    for name in ("claude-haiku-4-5", "CLAUDE-HAIKU-x", "quick", "org/deep/q8_0", "claude-local-two",
                 "claude-local-quick"):
        assert tokens(name) == tiny, name
    for name in ("claude-sonnet-4-5", "anthropic/first", "claude-local-none"):
        assert tokens(name) == default, name


def test_unknown_and_broken_names(many):
    answer = many.wire.post(body("tow"))
    assert answer.status == 404
    assert answer.json()["error"] == {"type": "not_found_error", "message": "model: tow"}
    for name in ("broken", "claude-local-broken"):
        answer = many.wire.post(body(name))
        assert answer.status == 404
        assert answer.json()["error"]["message"].startswith(f"model: {name}: broken.gguf: ")
    assert 'model_skipped model="broken" reason="broken.gguf: ' in many.output


def test_eight_at_once_are_one_load(start_server, folder):
    server = start_server("--models-dir", folder, "--kv-memory", "16MiB", "--context", "512", "--threads", "2")
    answers = []

    def ask(i):
        if i % 2:
            answers.append(server.wire.post(body("two")).json()["content"])
        else:
            connection, response = server.wire.open("POST", "/v1/messages", body("two", stream=True))
            text = response.read().decode()
            connection.close()
            assert text.startswith("event: message_start\n") and "event: message_stop" in text
            deltas = re.findall(r'"text_delta","text":("(?:[^"\\]|\\.)*")', text)
            answers.append([{"type": "text", "text": "".join(map(json.loads, deltas))}])

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(answers) == 8 and all(answer == answers[0] for answer in answers)
    assert loads(server, "two") == 1 and states(server.wire)["two"] == "ready"


@pytest.fixture(scope="module")
def tight(start_server, folder):
    """Room for the default model (94 + 48 MiB) and two tiny ones (48 MiB each)."""
    return start_server("--models-dir", folder, "--kv-memory", "48MiB", "--context", "2048",
                        "--threads", "2", "--memory-max", "250MiB", "--model-idle", "0")


def test_the_longest_idle_one_makes_room(tight):
    for name in ("two", "zero", "two", "org/deep/q8_0"):
        assert tight.wire.post(body(name)).status == 200
        time.sleep(0.01)
    assert states(tight.wire) == {default_id(): "ready", "org/deep/q8_0": "ready", "two": "ready",
                                  "zero": "unloaded"}
    memory = [model["memory_bytes"] for model in tight.wire.get("/health").json()["models"]]
    assert 200 << 20 < sum(memory) <= 250 << 20 and memory.count(0) == 1


def stream_of(wire: Wire, model):
    """A stream that goes on: it is longer than all buffers, and nobody reads it after its start.
    At temperature 0 these models repeat themselves and come to no end."""
    connection, response = wire.open("POST", "/v1/messages", body(model, 1900, stream=True))
    assert response.readline() == b"event: message_start\n"
    return connection


def test_models_in_use_stay_and_others_are_told_to_wait(tight):
    wire = tight.wire
    streams = [stream_of(wire, "two"), stream_of(wire, "zero")]
    try:
        answer = wire.post(body("org/deep/q8_0"))
        assert answer.status == 529, answer.body
        error = answer.json()["error"]
        assert error["type"] == "overloaded_error"
        assert re.fullmatch(r"no room for model org/deep/q8_0 now: it needs 48 MiB, and models in use "
                            r"take 238 of 250 MiB; try again later", error["message"])
        assert states(wire)["two"] == states(wire)["zero"] == "ready"
        assert wire.post(body(default_id())).status == 200
    finally:
        for stream in streams:
            stream.close()
    deadline = time.monotonic() + 10
    while (answer := wire.post(body("org/deep/q8_0"))).status == 529:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert answer.status == 200


def test_unloaded_while_another_streams(start_server, folder):
    """The stream is whole: the same text as without anybody coming and going."""
    server = start_server("--models-dir", folder, "--kv-memory", "16MiB", "--context", "512", "--threads", "2",
                          "--memory-max", "150MiB")
    request = body(default_id(), 60, stream=True)
    quiet = server.wire.post(request).body
    result = []
    stream = threading.Thread(target=lambda: result.append(server.wire.post(request).body))
    stream.start()
    for name in IDS * 2:
        assert server.wire.post(body(name)).status == 200
    stream.join(60)
    deltas = rb'"text_delta","text":("(?:[^"\\]|\\.)*")'
    assert re.findall(deltas, result[0]) == re.findall(deltas, quiet)
    assert len(re.findall("model_unloaded", server.output)) >= 4


def test_too_large_for_the_ceiling(start_server, folder):
    server = start_server("--models-dir", folder, "--kv-memory", "16MiB", "--context", "512", "--threads", "2",
                          "--memory-max", "10MiB")
    assert server.wire.post(body("claude-x")).status == 200     # the default one is there anyway
    answer = server.wire.post(body("two"))
    assert answer.status == 404
    assert answer.json()["error"]["message"] == ("model: two needs 16 MiB of memory, more than the 10 "
                                                 "MiB that models may take here")


def test_idle_models_go_and_come_again(start_server, folder):
    server = start_server("--models-dir", folder, "--kv-memory", "16MiB", "--context", "512", "--threads", "2",
                          "--model-idle", "300ms")
    first = server.wire.post(body("two")).json()["content"]
    assert states(server.wire)["two"] == "ready"
    wait_for(server.wire, "two", "unloaded")
    assert states(server.wire)[default_id()] == "ready"
    assert server.wire.post(body("two")).json()["content"] == first
    assert loads(server, "two") == 2


def test_a_model_that_broke_meanwhile(start_server, tmp_path):
    path = tmp_path / "x.gguf"
    path.write_bytes((TINY / "llama_tied/f16.gguf").read_bytes())
    server = start_server("--models-dir", tmp_path, "--threads", "2")
    whole = path.read_bytes()
    path.write_bytes(b"no model")
    for stream in (False, True):
        answer = server.wire.post(body("x", stream=stream))
        assert answer.status == 404 and answer.json()["error"]["type"] == "not_found_error"
        assert answer.json()["error"]["message"].startswith("model: x can't be loaded: x.gguf: ")
    counted = server.wire.post(body("x"), path="/v1/messages/count_tokens")
    assert counted.status == 404
    path.write_bytes(whole)
    assert server.wire.post(body("x")).status == 200


def test_a_client_that_goes_while_it_waits_does_no_harm(start_server, folder):
    server = start_server("--models-dir", folder, "--threads", "2", "--kv-memory", "16MiB", "--context", "512")
    for _ in range(5):
        connection = http.client.HTTPConnection(server.wire.host, server.wire.port)
        connection.request("POST", "/v1/messages", json.dumps(body("zero", 500)),
                           server.wire.headers(None))
        connection.close()
    assert server.wire.post(body("zero")).status == 200
    assert server.wire.get("/health").status == 200


def test_several_named_models(start_server):
    server = start_server("--model", TINY / "llama_tied/f16.gguf", "--model",
                          TINY / "llama_tied/q4_0.gguf", "--kv-memory", "16MiB", "--context", "512", "--threads", "2",
                          "--alias", "claude-sonnet-*=q4_0")
    assert list(states(server.wire)) == [default_id(), "f16", "q4_0"]
    assert server.wire.post(body("claude-sonnet-5")).status == 200
    assert states(server.wire) == {default_id(): "ready", "f16": "unloaded", "q4_0": "ready"}


def test_folders_of_safetensors_are_models_too(start_server, tmp_path):
    for form in ("mlx-4bit-g64", "hf"):
        (tmp_path / "org").mkdir(exist_ok=True)
        (tmp_path / "org" / form).symlink_to(TINY / "llama_tied" / form)
    server = start_server("--models-dir", tmp_path, "--kv-memory", "16MiB", "--context", "512",
                          "--threads", "2")
    assert list(states(server.wire)) == [default_id(), "org/hf", "org/mlx-4bit-g64"]
    for name in ("org/hf", "org/mlx-4bit-g64"):
        answer = server.wire.post(body(name))
        assert answer.status == 200, answer.body
        assert states(server.wire)[name] == "ready"


def test_what_a_request_leaves_out(start_server, tmp_path):
    """The makers of this model advise to take the most likely token, always."""
    folder = tmp_path / "sure"
    shutil.copytree(TINY / "llama_tied/hf", folder)
    (folder / "generation_config.json").write_text('{"temperature": 1.5, "top_k": 1}')

    def texts(server, **more):
        request = body("sure", 12, **more)
        if "temperature" not in more:
            del request["temperature"]
        return {json.dumps(server.wire.post(request).json()["content"]) for _ in range(6)}

    flags = ("--models-dir", tmp_path, "--kv-memory", "48MiB", "--context", "512", "--threads", "2")
    advised, plain = start_server(*flags), start_server(*flags, "--sampling", "api")
    likely = texts(plain, temperature=0)
    assert len(likely) == 1 and texts(advised) == likely
    assert texts(advised, temperature=1) == likely      # each number for itself
    assert len(texts(advised, top_k=0)) > 1             # the request's own word counts
    assert len(texts(plain)) > 1
