"""Servers elsewhere that answer for a model: what they are asked, what becomes of their answers, and of their
failures."""

import contextlib
import json
import queue
import ssl
import subprocess
import threading

import anthropic
import pytest

from support import sse
from support.upstream import Upstream, delta, end, refuses, says

KEY = "upstream-secret-key-1"
MODELS = {"openai": 40, "anthropic": 20}        # each has a circuit breaker of its own: a test takes a fresh one
IMPATIENT = 99                  # this one bears no silence
ASK = [{"role": "user", "content": "hi"}]
TOOL = {"name": "look", "input_schema": {"type": "object"}}


@pytest.fixture(scope="module")
def upstream():
    running = Upstream()
    yield running
    running.close()
    assert running.errors == []


@pytest.fixture(scope="module")
def front(start_server, upstream, tmp_path_factory):
    path = tmp_path_factory.mktemp("upstream") / "pensieve.conf"
    path.write_text("".join(
        f"[model {kind}-{i}]\nbackend = upstream\nupstream = {kind}{i}\ncontext = 1000\n"
        f"[upstream {kind}{i}]\nurl = {upstream.url}\nkind = {kind}\nmodel = far\nkey-env = UPSTREAM_KEY\n"
        + ("first-byte-timeout = 300ms\nstall-timeout = 300ms\n" if i == IMPATIENT else "") + "retries = 1\n"
        for kind, n in MODELS.items() for i in (*range(n), IMPATIENT)))
    running = start_server("--config", path, model=None, env={"UPSTREAM_KEY": KEY})
    running.fresh = {kind: iter(range(n)) for kind, n in MODELS.items()}
    yield running
    assert KEY not in running.output


@pytest.fixture
def model(front):
    return lambda kind="openai": f"{kind}-{next(front.fresh[kind])}"


@pytest.fixture(scope="module")
def client(front):
    return anthropic.Anthropic(base_url=front.url, api_key=front.key, max_retries=0)


def body(model, **more):
    return {"model": model, "max_tokens": 20, "messages": ASK, **more}


@contextlib.contextmanager
def opened(front, sent, headers=None):
    connection, response = front.wire.open("POST", "/v1/messages", sent, headers)
    with contextlib.closing(connection):
        yield response


def streamed(front, model, **more):
    """The whole stream's message, or the error that ended it."""
    with opened(front, body(model, stream=True, **more)) as response:
        assert response.status == 200, response.read()
        return sse.check(sse.parse(response.read()), later=True)


# ---- OpenAI's API ----


def test_text(front, upstream, model):
    upstream.play(says("Hello", " there"))
    name = model()
    message = streamed(front, name)
    assert message["content"] == [{"type": "text", "text": "Hello there"}]
    assert (message["model"], message["stop_reason"]) == (name, "end_turn")
    assert (message["usage"]["input_tokens"], message["usage"]["output_tokens"]) == (7, 2)
    assert front.wire.post(body(name)).json()["content"] == message["content"]
    for request in upstream.requests:
        assert (request.path, request.headers["authorization"]) == ("/v1/chat/completions", f"Bearer {KEY}")
        assert (request.body["model"], request.body["messages"]) == ("far", ASK)
        assert front.key not in str(request.headers)


def test_a_token_is_passed_on_before_the_next_is_there(front, upstream, model, client):
    heard = threading.Event()

    def play(request):
        request.head()
        request.events(delta(content="one"))
        assert heard.wait(10)
        request.events(delta(content=" two"), end())

    upstream.play(play)
    with client.messages.stream(**body(model())) as stream:
        texts = iter(stream.text_stream)
        assert next(texts) == "one"
        heard.set()
        assert list(texts) == [" two"]


def test_calls_and_thoughts(upstream, model, client):
    def play(request):
        request.head()
        request.events(delta(reasoning_content="let me "), delta(reasoning_content="see"))
        for arguments in ("", '{"at":', ' "door"}'):
            request.events(delta(tool_calls=[{"index": 0, "id": "c", "function": {"name": "look", "arguments": arguments}}]))
        request.events(end("tool_calls"))

    upstream.play(play)
    name = model()
    ask = body(name, tools=[TOOL], thinking={"type": "adaptive"})
    with client.messages.stream(**ask) as stream:
        thought, call = stream.get_final_message().content
    assert (thought.thinking, call.name, call.input) == ("let me see", "look", {"at": "door"})
    assert call.id.startswith("toolu_")

    upstream.play(says("a door"))
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "a door"}
    turns = [*ASK, {"role": "assistant", "content": [thought, call]}, {"role": "user", "content": [result]}]
    client.messages.create(**{**ask, "messages": turns})
    _, said, seen = upstream.requests[0].body["messages"]
    assert said["reasoning_content"] == "let me see"
    assert said["tool_calls"][0]["id"] == seen["tool_call_id"] == call.id
    assert json.loads(said["tool_calls"][0]["function"]["arguments"]) == {"at": "door"}
    assert (seen["role"], seen["content"]) == ("tool", "a door")


@pytest.mark.parametrize("kind", ["openai", "anthropic"])
def test_a_client_that_goes_away_is_gone_upstream(front, upstream, model, kind):
    gone = queue.SimpleQueue()

    def play(request):
        request.head()
        if kind == "openai":
            request.events(delta(content="one"))
        else:
            request.events(START, {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}})
        gone.put(request.closed())

    upstream.play(play)
    with opened(front, body(model(kind), stream=True)) as response:
        response.read1()
    assert gone.get(timeout=10)


def test_a_client_that_does_not_read_holds_the_upstream(front, upstream, model):
    word, total, took = "x" * 8000, 64 << 20, queue.SimpleQueue()

    def play(request):
        request.head()
        request.connection.settimeout(0.5)
        sent = 0
        try:
            while sent < total:
                request.events(delta(content=word))
                sent += len(word)
        except TimeoutError:
            pass
        took.put(sent)

    upstream.play(play)
    with opened(front, body(model(), stream=True)):
        assert took.get(timeout=15) < total // 2


# ---- failures ----


def dies(request):
    pass


def dies_later(request):
    request.head()
    request.events(delta(content="one"))


def test_it_is_asked_again_while_nothing_was_told(front, upstream, model):
    upstream.play(dies, says("well"))
    assert streamed(front, model())["content"] == [{"type": "text", "text": "well"}]
    upstream.play(refuses(503), says("well"))
    assert front.wire.post(body(model())).json()["content"][0]["text"] == "well"


def test_it_breaks_off(front, upstream, model):
    upstream.play(dies_later, says("never"))
    error = streamed(front, model())["error"]
    assert error["type"] == "api_error" and "broke off" in error["message"]
    assert len(upstream.requests) == 1
    answer = front.wire.post(body(model()))
    assert (answer.status, len(upstream.requests)) == (200, 2)      # nobody has seen the first


def test_it_is_silent(front, upstream):
    upstream.play(lambda request: request.closed())
    answer = front.wire.post(body(f"openai-{IMPATIENT}"))
    assert (answer.status, answer.json()["error"]["type"]) == (504, "timeout_error")

    def stalls(request):
        dies_later(request)
        assert request.closed()

    upstream.play(stalls)
    assert streamed(front, f"openai-{IMPATIENT}")["error"]["type"] == "timeout_error"


def raw(text):
    return lambda request: request.send(text)


def in_stream(text):
    def play(request):
        request.head()
        request.send(text)

    return play


@pytest.mark.parametrize("play, status, word", [
    (refuses(429, "slow", retry_after="30"), 429, "slow"),
    (refuses(503, "full", retry_after="30"), 529, "full"),
    (refuses(401, f"bad key {KEY}!"), 500, f"bad key {'*' * len(KEY)}!"),
    (refuses(404, "no such model"), 500, "no such model"),
    (refuses(400, "bad request"), 400, "bad request"),
    (refuses(400, "This model's maximum context length is 10 tokens. However, you requested 30 tokens (20 in the messages, "
                  "10 in the completion)."), 400, "prompt is too long: 20 tokens > 10 maximum"),
    (refuses(307, "", location="http://127.0.0.1:1/"), 500, "307"),
    (raw("SSH-2.0-OpenSSH_9.2\r\n"), 500, "upstream"),
    (raw("HTTP/1.1 200 OK\r\n" + "x: " + "y" * 90000 + "\r\n\r\n"), 500, "head is longer"),
    (lambda request: request.reply({"choices": []}), 500, "event stream"),
    (in_stream("data: {nonsense\n\n"), 500, "no JSON object"),
    (in_stream("data: [1]\n\n"), 500, "no JSON object"),
    (in_stream("\0\xff\n\n\n"), 500, "broke off"),
    (in_stream('data: {"error": {"message": "on fire"}}\n\n'), 500, "on fire"),
    (in_stream('data: {"error": {"message": "bad key %s!"}}\n\n' % KEY), 500, f"bad key {'*' * len(KEY)}!"),
], ids=lambda value: value if isinstance(value, (str, int)) else "")
def test_refusals(front, upstream, model, play, status, word):
    upstream.play(play)
    answer = front.wire.post(body(model()))
    assert answer.status == status and word in answer.json()["error"]["message"], answer.body
    sse.check_error(answer.json())
    if "retry-after" in answer.headers and status in (429, 529):
        assert 25 <= int(answer.headers["retry-after"]) <= 30


def test_a_certificate_that_nobody_vouches_for(start_server, tmp_path):
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1",
                    "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate],
                   check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    far = Upstream(tls=context)
    far.play(says("well"))
    path = tmp_path / "pensieve.conf"
    path.write_text("".join(f"[model {name}]\nbackend = upstream\nupstream = {name}\ncontext = 1000\n"
                            f"[upstream {name}]\nurl = {far.url}\ninsecure = {name}\nretries = 0\n" for name in ("no", "yes")))
    front = start_server("--config", path, model=None)
    answer = front.wire.post(body("no"))
    assert answer.status == 500 and "certificate" in answer.json()["error"]["message"]
    assert far.requests == []           # nothing was said to it
    assert front.wire.post(body("yes")).json()["content"][0]["text"] == "well"
    far.close()


# ---- our own API ----

USAGE = {"input_tokens": 5, "cache_read_input_tokens": 4, "cache_creation_input_tokens": 0, "output_tokens": 1}
START = {"type": "message_start", "message": {"id": "msg_far", "type": "message", "role": "assistant", "model": "far",
                                              "content": [], "usage": USAGE}}
SEARCH = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}}
CITED = {"type": "citations_delta", "citation": {"type": "char_location", "cited_text": "ü", "start": 0.5}}
ENDING = {"type": "message_delta", "delta": {"stop_reason": "pause_turn", "stop_sequence": None},
          "usage": {"output_tokens": 9, "server_tool_use": {"web_search_requests": 1}}}


def plays_blocks(request):
    def block(index, begin, *deltas):
        request.events({"type": "content_block_start", "index": index, "content_block": begin})
        for each in deltas:
            request.events({"type": "content_block_delta", "index": index, "delta": each})
        request.events({"type": "content_block_stop", "index": index})

    request.head()
    request.events(START, {"type": "ping"})
    block(0, SEARCH, {"type": "input_json_delta", "partial_json": "{}"})
    block(1, {"type": "text", "text": ""}, {"type": "text_delta", "text": "so"}, CITED)
    request.events(ENDING, {"type": "message_stop"})


def test_what_we_do_not_know_is_passed_on(front, upstream, model):
    upstream.play(plays_blocks)
    name = model("anthropic")
    text = json.dumps(body(name, stream=True, metadata={"user_id": "u"}), indent=1)
    with opened(front, text, headers={"anthropic-beta": "one-2026-01-01, two-2026-01-01"}) as response:
        events = [event for event in sse.parse(response.read()) if event.name != "ping"]
    assert [event.name for event in events] == [
        "message_start", "content_block_start", "content_block_delta", "content_block_stop", "content_block_start",
        "content_block_delta", "content_block_delta", "content_block_stop", "message_delta", "message_stop"]
    assert events[0].data["message"]["model"] == name
    assert events[1].data == {"type": "content_block_start", "index": 0, "content_block": SEARCH}
    assert events[6].data == {"type": "content_block_delta", "index": 1, "delta": CITED}
    assert events[8].data == ENDING
    request, = upstream.requests
    assert request.raw.decode() == text.replace(json.dumps(name), '"far"', 1)
    assert request.headers["x-api-key"] == KEY and "authorization" not in request.headers
    assert request.headers["anthropic-beta"] == "one-2026-01-01,two-2026-01-01"
    assert request.headers["anthropic-version"] == "2023-06-01"


def test_a_body_is_passed_on(front, upstream, model):
    message = {**START["message"], "content": [SEARCH], "stop_reason": "pause_turn", "usage": USAGE, "later": {"a": [1.5]}}
    upstream.play(lambda request: request.reply(message))
    name = model("anthropic")
    answer = front.wire.post(body(name)).json()
    assert answer.pop("id").startswith("msg_01")
    assert answer == {**{k: v for k, v in message.items() if k != "id"}, "model": name}


IMAGE = {"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}}
PDF = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERg=="}}


@pytest.mark.parametrize("more", [
    {"tools": [{"type": "web_search_20250305", "name": "web_search", "max_uses": 2}]},
    {"tools": [{"type": "mcp_toolset", "mcp_server_name": "x"}], "mcp_servers": [{"type": "url", "url": "u", "name": "x"}]},
    {"messages": [{"role": "user", "content": [IMAGE, PDF]}]},
    {"container": "c"},
], ids=["web search", "MCP", "image and PDF", "container"])
def test_what_only_others_can_do(front, upstream, model, more):
    upstream.play(lambda request: request.reply(
        {"input_tokens": 5} if request.path.endswith("count_tokens") else {**START["message"], "stop_reason": "end_turn"}))
    name = model("anthropic")
    assert front.wire.post(body(name, **more)).status == 200
    asked = {k: v for k, v in body(name, **more).items() if k != "max_tokens"}
    assert front.wire.count(asked).json() == {"input_tokens": 5}
    made, counted = upstream.requests
    assert made.body == body("far", **more)
    assert counted.body == {**asked, "model": "far"}
    answer = front.wire.post(body(model(), **more))
    assert answer.status == 400 and answer.json()["error"]["message"].startswith(tuple(more)), answer.body
    assert len(upstream.requests) == 2


def test_images(front, upstream, model):
    upstream.play(says("a cat"))
    name = model()
    ask = [{"role": "user", "content": [IMAGE, {"type": "text", "text": "what?"}]}]
    assert front.wire.post(body(name, messages=ask)).json()["content"][0]["text"] == "a cat"
    request, = upstream.requests
    assert request.body["messages"][0]["content"] == [{"type": "image_url", "image_url": {"url": IMAGE["source"]["url"]}},
                                                      {"type": "text", "text": "what?"}]
    answer = front.wire.count({"model": name, "messages": ask})
    assert answer.status == 501 and "images" in answer.json()["error"]["message"]


@pytest.mark.parametrize("events", [
    [{"type": "content_block_delta", "index": 0, "delta": {}}],
    [START, START],
    [START, {"type": "content_block_stop", "index": 0}],
    [START, {"type": "content_block_start", "index": 0, "content_block": {}}] * 2,
    [START, {"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}],
    [START],
], ids=["no start", "two starts", "a stop too many", "a block in a block", "an error", "no end"])
def test_streams_that_are_none(front, upstream, model, events):
    def play(request):
        request.head()
        request.events(*events)

    upstream.play(play)
    with opened(front, body(model("anthropic"), stream=True)) as response:
        text = response.read()
        assert (b"event: error" in text) if response.status == 200 else response.status == 500, text


# ---- counting ----


def test_counting(front, upstream, model):
    def count(name):
        answer = front.wire.count({"model": name, "messages": ASK})
        return answer.status, answer.json()

    upstream.play(lambda request: request.reply({"count": 12, "max_model_len": 99, "tokens": []}))
    assert count(model()) == (200, {"input_tokens": 12})
    assert [request.path for request in upstream.requests] == ["/tokenize"]

    def llama(request):
        if request.path == "/apply-template":
            request.reply({"prompt": "<hi>"})
        else:
            request.reply({"tokens": list(range(len(request.body.get("content", ""))))})

    upstream.play(llama)
    name = model()
    assert count(name) == (200, {"input_tokens": 4})
    assert count(name) == (200, {"input_tokens": 4})
    assert [request.path for request in upstream.requests] == ["/tokenize", *2 * ["/apply-template", "/tokenize"]]

    upstream.play(refuses(404))
    status, answer = count(model())
    assert status == 501 and "can't count" in answer["error"]["message"]

    upstream.play(lambda request: request.reply({"input_tokens": 5}))
    assert count(model("anthropic")) == (200, {"input_tokens": 5})
    assert upstream.requests[0].path == "/v1/messages/count_tokens"
