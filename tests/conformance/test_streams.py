"""Streams under conditions: many at once, long prompts, a full context, a client that goes away."""

import concurrent.futures
import http.client
import json
import re
import time

import pytest
from support import sse

MODEL = "claude-3-sonnet-20240229"
TOPICS = ["rivers", "bread", "the moon", "bridges", "cats", "trains", "salt", "winter", "maps",
          "bees", "glass", "chess", "mountains", "letters", "tea", "clocks"]


def prompt_about(topic):
    return [{"role": "user", "content": f"Tell me about {topic}, please."}]


def words(n):
    """Some n tokens of text that begins like no other test's, so that no cached prefix helps."""
    return " ".join(f"{i} {TOPICS[i * 7 % len(TOPICS)]}" for i in range(n // 3))


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


def test_64_streams_at_once_say_what_each_says_alone(wire):
    bodies = [greedy(prompt_about(topic)) for topic in TOPICS]
    alone = [stream_of(wire, body) for body in bodies]
    together = at_once(lambda i: stream_of(wire, bodies[i % len(bodies)]), range(64))
    assert len({message["id"] for message in together}) == 64
    for i, message in enumerate(together):
        single = alone[i % len(bodies)]
        for key in ("content", "stop_reason"):
            assert message[key] == single[key], TOPICS[i % len(bodies)]
        for key in ("input_tokens", "output_tokens"):
            assert message["usage"][key] == single["usage"][key]


def test_streams_and_json_answers_of_different_lengths_do_not_mix(wire):
    def run(i):
        body = greedy(prompt_about(TOPICS[i]), max_tokens=1 + 7 * i)
        if i % 2:
            return wire.post(body).json()
        return stream_of(wire, body)

    alone = [run(i) for i in range(8)]
    together = at_once(run, range(8))
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
    wire = start_server("--sequences-max", "1", "--queue-max", "1000").wire

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
    assert running(wire) == 1000
    used = resident() - before
    for connection in waiting:
        connection.close()
    wait_until_idle(wire, 10)
    assert used < 64 << 20, f"{used >> 20} MiB"


# --- a long prompt ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def impatient(start_server):
    """Slow to read prompts, quick to send pings."""
    flags = ("--ping", "100ms", "--keepalive", "400ms", "--threads", "1", "--prefill-chunk", "64")
    return start_server(*flags).wire


def test_life_signs_while_a_long_prompt_is_read(impatient):
    body = greedy([{"role": "user", "content": words(3000)}], max_tokens=4)
    arrivals = list(impatient.stream(body))
    names = [(at, line[7:-1].decode()) for at, line in arrivals if line.startswith(b"event: ")]
    message = sse.read(b"".join(line for _, line in arrivals), keepalive=True)
    assert message["usage"]["input_tokens"] > 1500
    starts = [at for at, name in names if name == "message_start"]
    assert starts[0] < 0.5, "message_start waited for the prompt"
    first_text = next(
        at for (at, line) in arrivals
        if line.startswith(b"data: ") and json.loads(line[6:]).get("delta", {}).get("text"))
    assert first_text > 0.8, "the prompt was read too quickly to test anything"
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


def test_short_prompts_overtake_a_long_one(impatient):
    """Prefill goes in chunks, and a chunk does not stop the others' tokens."""
    body = greedy([{"role": "user", "content": "Overtake. " + words(3000)}], max_tokens=1)
    long = impatient.stream(body)
    head = b"".join(until(long, b"event: message_start\n"))
    short = stream_of(impatient, greedy(prompt_about("salt"), max_tokens=4), keepalive=True)
    assert short["usage"]["output_tokens"] == 4
    left = time.monotonic()
    rest = b"".join(line for _, line in long)
    assert time.monotonic() - left > 0.2, "the long prompt was read first"
    assert sse.read(head + rest, keepalive=True)["usage"]["output_tokens"] == 1


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
    messages = story(900)
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
    messages = story(150)
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
    messages = story(150)
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


def wait_until_idle(wire, seconds):
    begin = time.monotonic()
    while running(wire):
        assert time.monotonic() - begin < seconds, "still running"
        time.sleep(0.005)
    return time.monotonic() - begin


@pytest.mark.parametrize("stream", [True, False])
def test_client_that_goes_frees_its_sequence(wire, stream):
    wait_until_idle(wire, 10)
    body = greedy([{"role": "user", "content": "Write a very long story about the sea."}],
                  max_tokens=4000, stream=stream)
    if stream:
        lines = wire.stream(body)
        list(until(lines, b"event: content_block_delta\n"))
        assert running(wire) == 1
        lines.close()
    else:
        connection = http.client.HTTPConnection(wire.host, wire.port)
        connection.request("POST", "/v1/messages", json.dumps(body), wire.headers(None))
        begin = time.monotonic()
        while not running(wire):
            assert time.monotonic() - begin < 5
        connection.close()
    assert wait_until_idle(wire, 2.0) < 0.5


def test_client_that_goes_while_its_prompt_is_read(impatient):
    wait_until_idle(impatient, 20)
    lines = impatient.stream(
        greedy([{"role": "user", "content": "Leave. " + words(4000)}], max_tokens=4))
    next(lines)
    assert running(impatient) == 1
    lines.close()
    assert wait_until_idle(impatient, 3.0) < 1.0
