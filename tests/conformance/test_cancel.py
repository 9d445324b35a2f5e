"""A client that goes, in each state of its request, over real sockets: nothing is computed for it any
more, what was computed for it is kept, and who sends the same again goes on from there. By counts of
the tokens computed, not by time."""

import json
import random
import socket
import time

import pytest

CHUNK = 64
SECONDS = 20.0  # for what takes moments
HEAD = ("POST /v1/messages HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer pensieve-local-token\r\n"
        "Content-Type: application/json\r\nContent-Length: {}\r\n\r\n")


@pytest.fixture(scope="module")
def server_of_two(start_server):
    """Two at a time, small chunks, and nobody else's requests in the counts."""
    return start_server("--threads", "1", "--prefill-chunk", CHUNK, "--step-time", "0",
                        "--sequences-max", "2", "--queue-max", "4")


def prompt(n, seed):
    """About n tokens that no other test has."""
    draw = random.Random(seed)
    return " ".join(str(draw.randrange(10)) for _ in range(n // 2))


def body_of(text, max_tokens=4, stream=True):
    return {"model": "claude-x", "max_tokens": max_tokens, "temperature": 0, "stream": stream,
            "messages": [{"role": "user", "content": text}]}


class Request:
    """A request whose answer may be left unread."""

    def __init__(self, server, body, window=None):
        data = json.dumps(body).encode()
        self.socket = socket.socket()
        if window:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
        self.socket.settimeout(SECONDS)
        self.socket.connect(("127.0.0.1", server.port))
        self.socket.sendall(HEAD.format(len(data)).encode() + data)
        self.data = b""

    def until(self, wanted):
        while wanted not in self.data:
            more = self.socket.recv(65536)
            assert more, self.data
            self.data += more

    def close(self):
        self.socket.close()


def status(server):
    return server.wire.get("/health").json()["models"][0]


def computed(server):
    return status(server)["tokens"]["computed"]


def wait_for(server, condition, what):
    deadline = time.monotonic() + SECONDS
    while not condition(now := status(server)):
        assert time.monotonic() < deadline, (what, now)
        time.sleep(0.01)
    return now


def wait_until_idle(server):
    return wait_for(server, lambda s: s["running"] == 0 and s["queued"] == 0, "not idle")


def begin_prefill(server, body):
    """A request of which something, and not all, is computed."""
    before = computed(server)
    request = Request(server, body)
    wait_for(server, lambda s: s["tokens"]["computed"] >= before + 2 * CHUNK, "no prefill")
    return request, before


def answer_of(server, body):
    return server.wire.post({**body, "stream": False}).json()


def prompt_tokens(server, body):
    return server.wire.count({k: body[k] for k in ("model", "messages")}).json()["input_tokens"]


def computed_once(server, body, before):
    """The prompt's tokens: all of them were computed since, and at most a chunk of them twice."""
    n = prompt_tokens(server, body)
    assert n <= computed(server) - before <= n + CHUNK
    return n


@pytest.mark.parametrize("stream", [True, False])
def test_while_its_prompt_is_computed(server_of_two, stream):
    body = body_of(prompt(1200, f"prefill {stream}"), stream=stream)
    request, before = begin_prefill(server_of_two, body)
    at_close = computed(server_of_two)
    request.close()
    after = wait_until_idle(server_of_two)["tokens"]["computed"]
    assert after - at_close <= 4 * CHUNK
    answer_of(server_of_two, body)  # goes on where that one was
    assert computed_once(server_of_two, body, before) > 1000


@pytest.mark.parametrize("stream", [True, False])
def test_while_it_writes(server_of_two, stream):
    before = status(server_of_two)["tokens"]["output"]
    body = body_of("Count from 1 to 10000.", max_tokens=4000, stream=stream)
    request = Request(server_of_two, body)
    now = wait_for(server_of_two, lambda s: s["tokens"]["output"] >= before + 3, "no token")
    request.close()
    after = wait_until_idle(server_of_two)
    assert after["tokens"]["output"] - now["tokens"]["output"] < 200


@pytest.mark.parametrize("stream", [True, False])
def test_while_it_waits_for_its_turn(server_of_two, stream):
    others = [Request(server_of_two, body_of("Tell a long story.", max_tokens=4000))
              for _ in range(2)]
    wait_for(server_of_two, lambda s: s["running"] == 2, "not both")
    request = Request(server_of_two, body_of(prompt(500, f"queue {stream}"), stream=stream))
    wait_for(server_of_two, lambda s: s["queued"] == 1, "not queued")
    before = computed(server_of_two)
    if stream:
        request.until(b"event: message_start\n")  # it is told that it will have its turn
    request.close()
    now = wait_for(server_of_two, lambda s: s["queued"] == 0, "still queued")
    assert now["running"] == 2
    for other in others:
        other.close()
    # The others' own prompts may have had some tokens to go; this one has more than 500.
    assert wait_until_idle(server_of_two)["tokens"]["computed"] < before + 200


def test_while_it_is_held_by_its_reader(server_of_two):
    """A reader that takes nothing: its sequence is paused, and ends with it all the same."""
    body = body_of("Count from 1 to 10000, please.", max_tokens=6000)
    request = Request(server_of_two, body, window=4096)
    before = status(server_of_two)["tokens"]["output"]
    wait_for(server_of_two, lambda s: s["tokens"]["output"] > before, "no token")
    request.close()
    wait_until_idle(server_of_two)


def test_while_its_text_is_made_tokens(server_of_two):
    """Far too long for the context: nothing of it is ever computed, and others go on meanwhile."""
    before = computed(server_of_two)
    request = Request(server_of_two, body_of(prompt(2_000_000, "long")))
    request.close()
    assert answer_of(server_of_two, body_of("Hi"))["type"] == "message"
    after = wait_until_idle(server_of_two)
    assert after["tokens"]["computed"] - before < CHUNK


def test_the_same_again_while_the_first_runs(server_of_two):
    body = body_of(prompt(900, "twice"))
    first, before = begin_prefill(server_of_two, body)
    second = Request(server_of_two, body)
    for request in (first, second):
        request.until(b"event: message_stop\n")
        request.close()
    computed_once(server_of_two, body, before)


def test_the_first_goes_while_the_same_runs_again(server_of_two):
    body = body_of(prompt(900, "one goes"))
    first, before = begin_prefill(server_of_two, body)
    second = Request(server_of_two, body)
    second.until(b"event: message_start\n")
    first.close()
    second.until(b"event: message_stop\n")
    second.close()
    computed_once(server_of_two, body, before)


def test_a_short_prompt_does_not_wait_for_a_long_one(server_of_two):
    body = body_of(prompt(2500, "long one"))
    request, before = begin_prefill(server_of_two, body)
    answer_of(server_of_two, body_of("Hello", max_tokens=1))
    assert computed(server_of_two) - before < prompt_tokens(server_of_two, body) - 8 * CHUNK
    request.close()
    wait_until_idle(server_of_two)


def test_one_key_does_not_fill_the_queue_and_is_told_when_to_come_again(server_of_two):
    others = [Request(server_of_two, body_of("Tell a longer story.", max_tokens=4000))
              for _ in range(2)]
    wait_for(server_of_two, lambda s: s["running"] == 2, "not both")
    waiting = [Request(server_of_two, body_of("Hi", max_tokens=1)) for _ in range(3)]
    wait_for(server_of_two, lambda s: s["queued"] == 3, "not queued")
    for stream in (True, False):
        refused = server_of_two.wire.post(body_of("Hi", max_tokens=1, stream=stream))
        assert refused.status == 429
        assert refused.json()["error"]["type"] == "rate_limit_error"
        assert 1 <= int(refused.headers["retry-after"]) <= 60
    for request in others + waiting:
        request.close()
    wait_until_idle(server_of_two)
