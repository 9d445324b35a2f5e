"""Computed prompts outlive the server: after a restart they are found on disk, and whatever happened to
the disk meanwhile, the answer is the one that a server without any would give."""

import http.client
import json
import signal
import time

import pytest
from conftest import Server

FLAGS = ("--threads", "1", "--drain", "1s", "--log", "info")
SECONDS = 20.0  # for what takes moments


def body(n=20, seed=1):
    text = " ".join(f"Item {i} of list {seed} costs {i * seed % 97}." for i in range(n))
    return {"model": "claude-x", "max_tokens": 8, "temperature": 0, "system": text,
            "messages": [{"role": "user", "content": f"What does item {n // 2} cost?"}]}


def answer(server, request):
    reply = server.wire.post(request)
    assert reply.status == 200, reply.body
    return reply.json()["content"]


def computed(server):
    return server.wire.get("/health").json()["models"][0]["tokens"]["computed"]


def blocks(folder):
    return sorted(folder.glob("*/*.kv"))


def wait_for_blocks(folder, n):
    end = time.monotonic() + SECONDS
    while len(blocks(folder)) < n:
        assert time.monotonic() < end, f"{len(blocks(folder))} blocks"
        time.sleep(0.01)


@pytest.fixture(scope="module")
def wanted(start_server):
    """The answers of a server that has nothing on disk, each computed from the beginning."""
    server = start_server(*FLAGS, "--prefill-chunk", "64")
    return {seed: answer(server, body(seed=seed)) for seed in range(1, 6)}


@pytest.fixture
def start(tmp_path):
    """A function that starts a server which keeps its pages in tmp_path."""
    running = []

    def start_one(*flags, folder=tmp_path):
        running.append(Server(*FLAGS, "--cache-dir", str(folder), "--cache-disk-max", "1GiB", *flags))
        return running[-1]

    yield start_one
    for each in running:
        if each.process.poll() is None:
            assert each.stop() == 0, each.output


def test_restart(start, tmp_path, wanted):
    first = start()
    assert f'folder="{tmp_path}/' in first.output and "blocks=0" in first.output
    assert answer(first, body()) == wanted[1]
    cold = computed(first)
    assert first.stop() == 0
    assert len(blocks(tmp_path)) == cold // 64
    second = start()
    assert f"blocks={cold // 64} " in second.output
    assert answer(second, body()) == wanted[1]
    assert computed(second) <= 64
    assert answer(second, body(seed=2)) == wanted[2]


def test_nothing_on_disk_unless_wanted(start_server, tmp_path):
    server = start_server(*FLAGS, "--cache-dir", str(tmp_path), "--cache-disk-max", "0")
    answer(server, body())
    assert not list(tmp_path.iterdir())


def test_killed_while_it_writes(start, tmp_path, wanted):
    """kill -9 at another moment each time; what is left never changes an answer."""
    for moment in range(10):
        server = start()
        seed, before = 1 + moment // 2, len(blocks(tmp_path))
        request = http.client.HTTPConnection("127.0.0.1", server.port)
        request.request("POST", "/v1/messages", json.dumps(body(seed=seed)), server.wire.headers(None))
        if moment % 2 == 0:
            wait_for_blocks(tmp_path, before + 1)  # as soon as the first of its blocks is there
        else:
            time.sleep(0.02 * moment)  # while it reads them, or writes the rest
        server.process.send_signal(signal.SIGKILL)
        server.process.wait(SECONDS)
        request.close()
    server = start()
    for seed, expected in wanted.items():
        assert answer(server, body(seed=seed)) == expected
    assert "kv_block_dropped" not in server.output  # what has its name is whole


def test_damaged_blocks(start, tmp_path, wanted):
    first = start()
    answer(first, body())
    first.stop()
    for i, path in enumerate(blocks(tmp_path)):
        data = bytearray(path.read_bytes())
        if i % 3 == 1:
            data[(i * 7919) % len(data) | 4096] ^= 1 << i % 8
            path.write_bytes(data)
    second = start()
    assert answer(second, body()) == wanted[1]
    assert "kv_block_dropped" in second.output
    second.stop()
    third = start()  # they were written again
    assert answer(third, body()) == wanted[1]
    assert computed(third) <= 64


def test_second_server(start, tmp_path, wanted):
    first = start()
    assert "mode=write" in first.output
    assert answer(first, body()) == wanted[1]
    wait_for_blocks(tmp_path, computed(first) // 64)
    second = start()
    assert "mode=read_only" in second.output
    assert answer(second, body()) == wanted[1]
    assert computed(second) <= 64
    n = len(blocks(tmp_path))
    assert answer(second, body(seed=2)) == wanted[2]
    second.stop()
    assert len(blocks(tmp_path)) == n


def test_folder_that_cannot_be_used(start, tmp_path, wanted):
    (tmp_path / "file").write_text("x")
    server = start(folder=tmp_path / "file")
    assert "kv_disk_off" in server.output
    assert answer(server, body()) == wanted[1]


def test_default_folder(tmp_path, wanted):
    environment = {"XDG_CACHE_HOME": str(tmp_path), "PENSIEVE_CACHE_DISK_MAX": "1GiB"}
    server = Server(*FLAGS, env=environment)
    try:
        answer(server, body())
    finally:
        assert server.stop() == 0
    assert blocks(tmp_path / "pensieve" / "kv")
    assert (tmp_path / "pensieve" / "kv").stat().st_mode & 0o77 == 0
