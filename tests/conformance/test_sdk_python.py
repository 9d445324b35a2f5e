"""The official Python SDK against Pensieve, with nothing but base URL and key changed.

The file holds for every major of the SDK: it runs on the current one, and test_older_sdk runs it
again with the last one before 2.0 and the last one before 1.0, which speak the older API version
and send their key in another header.
"""

import subprocess
from pathlib import Path

import anthropic
import pytest
from conftest import ROOT

MAJOR = int(anthropic.__version__.split(".")[0])
MODEL = "claude-sonnet-5"
OLDER = (".venv-v1", ".venv-v0")
COUNT = [{"role": "user", "content": "Count to 3"}]
IN_ORDER = ["message_start", "content_block_start", "content_block_delta", "content_block_stop",
            "message_delta", "message_stop"]


def client_of(server, **options):
    return anthropic.Anthropic(base_url=server.url, api_key=server.key, max_retries=0, **options)


@pytest.fixture
def client(server):
    with client_of(server) as client:
        yield client


def greedy(**request):
    """Temperature 0, the way this major can say it: from 1.0 on it is no argument any more."""
    request = {"model": MODEL, "max_tokens": 24, "messages": COUNT, **request}
    if MAJOR >= 1:
        return {**request, "extra_body": {"temperature": 0}}
    return {**request, "temperature": 0}


def text_of(message):
    return "".join(block.text for block in message.content)


def test_sdk_speaks_the_version_and_key_header_that_it_is_here_for(client):
    headers = client.default_headers
    assert headers["anthropic-version"] == ("2026-10-21" if MAJOR >= 2 else "2023-06-01")
    assert ("X-Api-Key" in headers) == (MAJOR < 2)
    assert ("Authorization" in headers) == (MAJOR >= 2)


def test_create(client):
    message = client.messages.create(**greedy())
    assert message.id.startswith("msg_01")
    assert (message.type, message.role, message.model) == ("message", "assistant", MODEL)
    assert [block.type for block in message.content] == ["text"]
    assert text_of(message)
    assert message.stop_reason in ("end_turn", "max_tokens")
    assert message.stop_sequence is None
    assert message.usage.input_tokens > 0
    assert 0 < message.usage.output_tokens <= 24
    assert message.usage.cache_read_input_tokens == 0
    assert message.usage.cache_creation_input_tokens == 0
    assert message.usage.service_tier == "standard"
    assert message._request_id.startswith("req_")


def test_create_with_stream_true_yields_the_wire_events(client):
    types = [event.type for event in client.messages.create(**greedy(), stream=True)]
    assert list(dict.fromkeys(types)) == IN_ORDER
    assert types.count("content_block_delta") > 1


def test_stream_accumulates_the_message_that_create_returns(client):
    created = client.messages.create(**greedy())
    with client.messages.stream(**greedy()) as stream:
        text = "".join(stream.text_stream)
        message = stream.get_final_message()
        assert stream.request_id.startswith("req_")
    assert text_of(message) == text == text_of(created)
    assert message.stop_reason == created.stop_reason
    assert message.usage.input_tokens == created.usage.input_tokens
    assert message.usage.output_tokens == created.usage.output_tokens
    assert message.id != created.id


async def events_of_async_client(server):
    async with anthropic.AsyncAnthropic(
        base_url=server.url, api_key=server.key, max_retries=0
    ) as client:
        async with client.messages.stream(**greedy()) as stream:
            types = [event.type async for event in stream]
            return types, await stream.get_final_message()


def test_async_client(server):
    import asyncio

    types, message = asyncio.run(events_of_async_client(server))
    wire_types = [name for name in dict.fromkeys(types) if name in IN_ORDER]
    assert wire_types == IN_ORDER
    assert text_of(message)


REQUESTS = {
    "text": {"messages": COUNT},
    "system": {"system": "You are terse.", "messages": COUNT},
    "system blocks": {
        "system": [{"type": "text", "text": "You are terse."}, {"type": "text", "text": "Be kind."}],
        "messages": COUNT,
    },
    "turns": {
        "messages": [
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "Hello!"},
            {"role": "user", "content": [{"type": "text", "text": "Grüße, 世界 👋🏽"}]},
        ],
    },
    "prefill": {"messages": [*COUNT, {"role": "assistant", "content": "1, 2,"}]},
    "thinking adaptive": {"thinking": {"type": "adaptive"}, "messages": COUNT},
    "thinking disabled": {"thinking": {"type": "disabled"}, "messages": COUNT},
    "cache_control": {
        "system": [
            {"type": "text", "text": "You are terse.", "cache_control": {"type": "ephemeral"}}
        ],
        "messages": [
            {
                "role": "user",
                "content": [
                    {
                        "type": "text",
                        "text": "Count to 3",
                        "cache_control": {"type": "ephemeral", "ttl": "5m"},
                    }
                ],
            }
        ],
    },
}


@pytest.mark.parametrize("name", REQUESTS)
def test_count_tokens_is_what_create_will_use(client, name):
    request = REQUESTS[name]
    counted = client.messages.count_tokens(model=MODEL, **request)
    message = client.messages.create(model=MODEL, max_tokens=3, **request)
    usage = message.usage
    total = usage.input_tokens + usage.cache_read_input_tokens + usage.cache_creation_input_tokens
    assert counted.input_tokens == total
    assert 1 <= usage.output_tokens <= 3


def test_system_text_changes_the_prompt(client):
    def count(**extra):
        return client.messages.count_tokens(model=MODEL, messages=COUNT, **extra).input_tokens

    text = "Answer in French, always."
    assert count(system=text) == count(system=[{"type": "text", "text": text}]) != count()


def test_models(client):
    page = client.models.list()
    assert page.data and not page.has_more
    assert page.first_id == page.data[0].id and page.last_id == page.data[-1].id
    for listed in client.models.list():  # the pager must end
        assert listed.type == "model"
        assert client.models.retrieve(listed.id) == listed
    message = client.messages.create(**greedy(model=page.data[0].id, max_tokens=1))
    assert message.model == page.data[0].id


def test_a_claude_name_is_a_model(client):
    assert client.models.retrieve(MODEL).type == "model"


def test_max_tokens_1(client):
    message = client.messages.create(**greedy(max_tokens=1))
    assert message.stop_reason == "max_tokens"
    assert message.usage.output_tokens == 1


def test_stop_sequences(client):
    whole = text_of(client.messages.create(**greedy()))
    stop = whole[len(whole) // 2 :][:3]
    assert stop.strip()
    with client.messages.stream(**greedy(stop_sequences=["never said", stop])) as stream:
        message = stream.get_final_message()
    assert message.stop_reason == "stop_sequence"
    assert message.stop_sequence == stop
    assert text_of(message) == whole[: whole.index(stop)]


def test_prefill_is_continued_not_repeated(client):
    prefill = {"role": "assistant", "content": "1, 2,"}
    message = client.messages.create(**greedy(messages=[*COUNT, prefill]))
    assert not text_of(message).startswith("1, 2,")


def test_temperature_0_gives_the_same_text_each_time(client):
    texts = {text_of(client.messages.create(**greedy())) for _ in range(4)}
    assert len(texts) == 1


def test_sampling_varies(client):
    request = {"model": MODEL, "max_tokens": 24, "messages": [
        {"role": "user", "content": "Tell me a story about anything at all."}]}
    texts = {text_of(client.messages.create(**request)) for _ in range(4)}
    assert len(texts) > 1


def test_message_ids_are_unique(client):
    ids = {client.messages.create(**greedy(max_tokens=1)).id for _ in range(16)}
    assert len(ids) == 16


def test_content_of_an_answer_is_accepted_back_as_it_came(client):
    first = client.messages.create(**greedy())
    history = [*COUNT, {"role": "assistant", "content": first.content},
               {"role": "user", "content": "And backwards?"}]
    assert text_of(client.messages.create(**greedy(messages=history)))
    # As plain JSON too, with every key that the SDK knows, null ones included.
    history[1]["content"] = [block.model_dump() for block in first.content]
    assert text_of(client.messages.create(**greedy(messages=history)))


def test_parameters_without_effect_are_accepted(client):
    message = client.messages.create(
        **greedy(max_tokens=1, metadata={"user_id": "u-1"}, service_tier="auto")
    )
    assert message.stop_reason == "max_tokens"


# --- errors ----------------------------------------------------------------------------------------


def refused(error_class, call, status, kind):
    with pytest.raises(error_class) as caught:
        call()
    error = caught.value
    assert type(error) is error_class
    assert error.status_code == status
    assert error.body["type"] == "error"
    assert error.body["error"]["type"] == kind
    assert error.request_id.startswith("req_")
    assert error.body["request_id"] == error.request_id
    return error.body["error"]["message"]


def test_wrong_key(server):
    with anthropic.Anthropic(base_url=server.url, api_key="wrong", max_retries=0) as client:
        message = refused(
            anthropic.AuthenticationError,
            lambda: client.messages.create(**greedy()), 401, "authentication_error",
        )
    assert "wrong" not in message


def test_auth_token(server):
    with anthropic.Anthropic(base_url=server.url, auth_token=server.key, max_retries=0) as client:
        assert client.messages.count_tokens(model=MODEL, messages=COUNT).input_tokens > 0


def test_unknown_model(client):
    message = refused(
        anthropic.NotFoundError,
        lambda: client.messages.create(**greedy(model="gpt-oss")), 404, "not_found_error",
    )
    assert message == "model: gpt-oss"
    refused(
        anthropic.NotFoundError,
        lambda: client.models.retrieve("org/gpt:oss"), 404, "not_found_error",
    )


def test_invalid_request(client):
    message = refused(
        anthropic.BadRequestError,
        lambda: client.messages.create(**greedy(messages=[])), 400, "invalid_request_error",
    )
    assert message == "messages: at least one message is required"


def test_invalid_request_of_a_stream_is_an_error_before_the_stream(client):
    def open_stream():
        with client.messages.stream(**greedy(messages=[])):
            pass

    refused(anthropic.BadRequestError, open_stream, 400, "invalid_request_error")


def test_body_too_large(start_server):
    # From 2.0 on the class has another name; the old one stays as an alias of it.
    with client_of(start_server("--body-bytes-max", "16KiB")) as client:
        long = [{"role": "user", "content": "word " * 10000}]
        refused(
            anthropic.RequestTooLargeError,
            lambda: client.messages.create(**greedy(messages=long)), 413, "request_too_large",
        )


def test_prompt_too_long(start_server):
    with client_of(start_server("--context", "256")) as client:
        long = [{"role": "user", "content": "word " * 600}]
        message = refused(
            anthropic.BadRequestError,
            lambda: client.messages.create(**greedy(messages=long)), 400, "invalid_request_error",
        )
        assert message.startswith("prompt is too long: ")


# --- the beta namespace ----------------------------------------------------------------------------


def test_beta_namespace(client):
    message = client.beta.messages.create(**greedy(betas=["context-1m-2025-08-07"]))
    assert text_of(message)
    counted = client.beta.messages.count_tokens(model=MODEL, messages=COUNT)
    assert counted.input_tokens == message.usage.input_tokens
    assert [m.id for m in client.beta.models.list()] == [m.id for m in client.models.list()]


def test_tool_runner_does_without_threads(client):
    """The runner asks the server to keep the conversation, and falls back when it is told no."""
    runner = client.beta.messages.tool_runner(
        model=MODEL, max_tokens=8, messages=COUNT, tools=[]
    )
    assert text_of(runner.until_done())


def test_tool_runner_runs_what_the_model_calls(client):
    zones = []

    @anthropic.beta_tool
    def clock(zone: str, exact: bool) -> str:
        """The time.

        Args:
            zone: where
            exact: with its seconds
        """
        zones.append((zone, exact))
        return zone

    runner = client.beta.messages.tool_runner(**greedy(
        tools=[clock], max_tokens=60,
        tool_choice={"type": "tool", "name": "clock", "disable_parallel_tool_use": True}))
    message = next(iter(runner))
    assert message.stop_reason == "tool_use"
    [call] = [block for block in message.content if block.type == "tool_use"]
    assert call.name == "clock" and call.id.startswith("toolu_")
    result = runner.generate_tool_call_response()
    assert zones == [(call.input["zone"], call.input["exact"])]
    assert result["content"][0]["tool_use_id"] == call.id
    assert result["content"][0]["content"] == call.input["zone"]


# --- the other majors ------------------------------------------------------------------------------


@pytest.mark.skipif(MAJOR < 2, reason="this is an older SDK's run")
@pytest.mark.parametrize("venv", OLDER)
def test_older_sdk(venv):
    python = ROOT / venv / "bin/python"
    assert python.exists(), f"no {venv}: run tests/setup-clients"
    run = subprocess.run(
        [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "not older_sdk",
         Path(__file__)],
        capture_output=True, text=True, timeout=300,
    )
    assert run.returncode == 0, run.stdout + run.stderr
