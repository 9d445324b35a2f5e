"""Streams under conditions: many at once, long prompts, a full context, a client that goes away."""

import concurrent.futures
import http.client
import json
import re
import time

import pytest
from conftest import ROOT
from support import sse

MODEL = "claude-3-sonnet-20240229"
TOPICS = ["rivers", "bread", "the moon", "bridges", "cats", "trains", "salt", "winter", "maps",
          "bees", "glass", "chess", "mountains", "letters", "tea", "clocks"]


def prompt_about(topic):
    return [{"role": "user", "content": f"Tell me about {topic}, please."}]


def words(n):
    """A text of about n tokens."""
    return " ".join(f"{i} {TOPICS[i * 7 % len(TOPICS)]}" for i in range(n // 5))


def greedy(messages, **fields):
    return {"model": MODEL, "max_tokens": 24, "temperature": 0, "messages": messages, **fields}


def stream_of(wire, body, keepalive=False):
    return sse.read(b"".join(line for _, line in wire.stream(body)), keepalive)


def until(stream, wanted):
    """The lines of a running stream up to one."""
    for _, line in stream:
        yield line
        if line == wanted:
            return


def at_once(function, items):
    with concurrent.futures.ThreadPoolExecutor(len(items)) as pool:
        return list(pool.map(function, items))


# --- many at once ----------------------------------------------------------------------------------


def test_64_streams_at_once_are_whole(wire):
    bodies = [greedy(prompt_about(topic), max_tokens=12) for topic in TOPICS]
    alone = [stream_of(wire, body) for body in bodies]
    together = at_once(lambda i: stream_of(wire, bodies[i % len(bodies)]), range(64))
    assert len({message["id"] for message in together}) == 64
    for i, message in enumerate(together):
        single = alone[i % len(bodies)]
        assert message["usage"]["input_tokens"] == single["usage"]["input_tokens"]
        assert message["stop_reason"] in ("max_tokens", "end_turn")
        # The last bits of a sum depend on how many tokens are multiplied at once, and so may a
        # choice between words that are as good as equal; rarely the first one.
        assert sse.text_of(message)[:3] == sse.text_of(single)[:3], TOPICS[i % len(bodies)]


@pytest.fixture(scope="module")
def exact(start_server):
    """A tiny model of random numbers, and kernels that add up in one order whatever the company:
    what a sequence says must be the same to the last bit."""
    model = ROOT / "build/golden/llama31_untied/f16.gguf"
    return start_server("--cpu", "scalar", model=model).wire


def test_64_streams_at_once_say_what_each_says_alone(exact):
    bodies = [greedy(prompt_about(topic), max_tokens=40) for topic in TOPICS]
    alone = [stream_of(exact, body) for body in bodies]
    assert len({sse.text_of(message) for message in alone}) == len(TOPICS)
    together = at_once(lambda i: stream_of(exact, bodies[i % len(bodies)]), range(64))
    for i, message in enumerate(together):
        single = alone[i % len(bodies)]
        for key in ("content", "stop_reason"):
            assert message[key] == single[key]
        for key in ("input_tokens", "output_tokens"):
            assert message["usage"][key] == single["usage"][key]


def test_streams_and_json_answers_of_different_lengths_do_not_mix(exact):
    def run(i):
        body = greedy(prompt_about(TOPICS[i]), max_tokens=1 + 7 * i)
        return exact.post(body).json() if i % 2 else stream_of(exact, body)

    alone = [run(i) for i in range(16)]
    together = at_once(run, range(16))
    assert [m["content"] for m in together] == [m["content"] for m in alone]
    assert [m["usage"]["output_tokens"] for m in together] == [
        m["usage"]["output_tokens"] for m in alone]


def test_second_stream_starts_while_the_first_runs(wire):
    first = wire.stream(greedy(prompt_about("rivers"), max_tokens=200))
    head = b"".join(until(first, b"event: content_block_delta\n"))
    second = stream_of(wire, greedy(prompt_about("bread"), max_tokens=4))
    assert second["usage"]["output_tokens"] == 4
    rest = b"".join(line for _, line in first)
    assert sse.read(head + rest)["stop_reason"] in ("max_tokens", "end_turn")
    assert rest.count(b"event: content_block_delta") > 50, "the first was not running any more"


def test_count_tokens_does_not_wait_for_generation(wire):
    streams = [wire.stream(greedy(prompt_about(topic), max_tokens=150)) for topic in TOPICS[:4]]
    heads = [b"".join(until(stream, b"event: content_block_delta\n")) for stream in streams]
    begin = time.monotonic()
    assert wire.count({"model": MODEL, "messages": prompt_about("bees")}).status == 200
    assert time.monotonic() - begin < 0.5
    for head, stream in zip(heads, streams):
        sse.read(head + b"".join(line for _, line in stream))


def test_1000_waiting_streams_cost_little(start_server):
    """All are answered at once, and told to wait by pings; one is served at a time."""
    wire = start_server("--sequences-max", "1", "--queue-max", "1400").wire

    def resident():
        return wire.get("/health").json()["memory"]["rss_bytes"]

    wire.post(greedy(prompt_about("rivers"), max_tokens=8))
    before = resident()
    body = json.dumps(greedy(prompt_about("rivers"), max_tokens=4000, stream=True))
    waiting = [http.client.HTTPConnection(wire.host, wire.port, timeout=30) for _ in range(1000)]
    for connection in waiting:
        connection.request("POST", "/v1/messages", body, wire.headers(None))
    for connection in waiting:
        response = connection.getresponse()
        assert response.status == 200, response.read()
        assert response.readline() == b"event: message_start\n"
    wait_until(wire, 1000, 5)
    used = resident() - before
    for connection in waiting:
        connection.close()
    wait_until(wire, 0, 10)
    assert used < 64 << 20, f"{used >> 20} MiB"


# --- a long prompt ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def impatient(start_server):
    """Slow to read prompts, quick to send pings."""
    flags = ("--ping", "100ms", "--keepalive", "400ms", "--threads", "1", "--prefill-chunk", "64")
    return start_server(*flags).wire


def test_life_signs_while_a_long_prompt_is_read(impatient):
    body = greedy([{"role": "user", "content": words(2000)}], max_tokens=4)
    arrivals = list(impatient.stream(body))
    names = [(at, line[7:-1].decode()) for at, line in arrivals if line.startswith(b"event: ")]
    message = sse.read(b"".join(line for _, line in arrivals), keepalive=True)
    assert message["usage"]["input_tokens"] > 1500
    starts = [at for at, name in names if name == "message_start"]
    assert starts[0] < 0.5, "message_start waited for the prompt"
    first_text = next(
        at for (at, line) in arrivals
        if line.startswith(b"data: ") and json.loads(line[6:]).get("delta", {}).get("text"))
    assert first_text > 0.6, "the prompt was read too quickly to test anything"
    quiet = [at for at, _ in names if at <= first_text]
    assert max(b - a for a, b in zip(quiet, quiet[1:])) < 1.0, "a silence"
    assert sum(name == "ping" for at, name in names if at < first_text) >= 3
    # What Claude Code counts as life: an event that is no ping.
    beats = [at for at, name in names if name == "content_block_delta" and at < first_text]
    assert beats, "only pings"


def test_a_short_prompt_needs_no_life_signs(wire):
    raw = b"".join(line for _, line in wire.stream(greedy(prompt_about("tea"), max_tokens=4)))
    texts = [e.data["delta"]["text"] for e in sse.parse(raw) if e.name == "content_block_delta"]
    assert all(texts)


def test_a_long_prompt_does_not_stop_the_tokens_of_others(impatient):
    """Prefill goes in chunks, and after each the running answers get their next token."""
    body = greedy([{"role": "user", "content": "Write a very long story about the sea."}],
                  max_tokens=2000)
    running_stream = impatient.stream(body)
    list(until(running_stream, b"event: content_block_delta\n"))
    long = impatient.stream(greedy([{"role": "user", "content": "Then " + words(2000)}]))
    list(until(long, b"event: message_start\n"))
    tokens, begin = 0, time.monotonic()
    while time.monotonic() - begin < 0.5:
        tokens += next(running_stream)[1] == b"event: content_block_delta\n"
    running_stream.close()
    long.close()
    assert tokens >= 3


# --- a full context --------------------------------------------------------------------------------

CONTEXT = 256


@pytest.fixture(scope="module")
def small(start_server):
    return start_server("--context", CONTEXT).wire


def count_of(wire, messages):
    return wire.count({"model": MODEL, "messages": messages}).json()["input_tokens"]


def story(n):
    return [{"role": "user", "content": "Tell me a very long story about " + words(n)}]


def test_prompt_over_the_context_is_refused_with_both_numbers(small):
    messages = story(600)
    for stream in (False, True):
        answer = small.post(greedy(messages, stream=stream))
        assert answer.status == 400, answer.body
        error = answer.json()["error"]
        assert error["type"] == "invalid_request_error"
        said = re.fullmatch(r"prompt is too long: (\d+) tokens > (\d+) maximum", error["message"])
        assert said, error
        assert int(said[1]) > CONTEXT and int(said[2]) <= CONTEXT
    # Counting has no maximum, and agrees.
    assert count_of(small, messages) == int(said[1])


def test_the_whole_context_can_be_used_and_then_it_is_full(small):
    messages = story(120)
    prompt = count_of(small, messages)
    assert prompt < CONTEXT - 30
    for stream in (False, True):
        body = greedy(messages, max_tokens=4096)
        message = stream_of(small, body) if stream else small.post(body).json()
        assert message["stop_reason"] == "model_context_window_exceeded"
        assert message["stop_sequence"] is None
        assert message["usage"]["input_tokens"] == prompt
        assert message["usage"]["output_tokens"] in (CONTEXT - prompt, CONTEXT - prompt + 1)


def test_max_tokens_that_just_fits_is_max_tokens(small):
    messages = story(120)
    left = CONTEXT - count_of(small, messages)
    message = small.post(greedy(messages, max_tokens=left)).json()
    assert message["usage"]["output_tokens"] == left
    assert message["stop_reason"] == "max_tokens"


def test_models_say_the_context(small):
    [model] = small.get("/v1/models").json()["data"]
    assert model["max_input_tokens"] == CONTEXT


# --- a client that goes away -----------------------------------------------------------------------


def running(wire):
    """How many sequences the engine has, by /health."""
    [model] = wire.get("/health").json()["models"]
    return model["running"] + model["queued"]


def wait_until(wire, n, seconds):
    """How long it takes until n sequences are there."""
    begin = time.monotonic()
    while running(wire) != n:
        assert time.monotonic() - begin < seconds, f"{running(wire)} sequences, not {n}"
        time.sleep(0.005)
    return time.monotonic() - begin


@pytest.mark.parametrize("stream", [True, False])
def test_client_that_goes_frees_its_sequence(wire, stream):
    wait_until(wire, 0, 10)
    body = greedy([{"role": "user", "content": "Write a very long story about the sea."}],
                  max_tokens=4000, stream=stream)
    if stream:
        lines = wire.stream(body)
        list(until(lines, b"event: content_block_delta\n"))
        wait_until(wire, 1, 2)
        lines.close()
    else:
        connection = http.client.HTTPConnection(wire.host, wire.port)
        connection.request("POST", "/v1/messages", json.dumps(body), wire.headers(None))
        wait_until(wire, 1, 2)
        connection.close()
    assert wait_until(wire, 0, 2.0) < 0.5


def test_client_that_goes_while_its_prompt_is_read(impatient):
    wait_until(impatient, 0, 20)
    lines = impatient.stream(
        greedy([{"role": "user", "content": "Leave " + words(4000)}], max_tokens=4))
    next(lines)
    wait_until(impatient, 1, 2)
    lines.close()
    assert wait_until(impatient, 0, 3.0) < 1.0
