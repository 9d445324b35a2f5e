"""Usage, by the official SDK: what was read from the cache, what was written, and the rest make up the
prompt; and nothing that one key had computed is to be seen by another."""

import anthropic
import pytest
from support.wire import Wire

MODEL = "claude-sonnet-5"
MIN = 512  # tokens of the shortest beginning that counts


def texts(seed):
    """Two texts, each long enough to count, that no other test sends."""
    return tuple(f"{seed}, part {part}. " + " ".join(f"Rule {i}: be {seed}." for i in range(70))
                 for part in (1, 2))


def text(words, ttl=None):
    block = {"type": "text", "text": words}
    return {**block, "cache_control": {"type": "ephemeral", "ttl": ttl}} if ttl else block


@pytest.fixture
def client(server):
    with anthropic.Anthropic(base_url=server.url, api_key=server.key, max_retries=0) as client:
        yield client


def parts_of(usage):
    """input, read, written for 5m, written for 1h."""
    creation = usage.cache_creation
    assert usage.cache_creation_input_tokens == (
        creation.ephemeral_5m_input_tokens + creation.ephemeral_1h_input_tokens)
    return (usage.input_tokens, usage.cache_read_input_tokens,
            creation.ephemeral_5m_input_tokens, creation.ephemeral_1h_input_tokens)


def ask(client, stream=False, **request):
    """The usage of one answer; in a stream also message_start's, which must be the same."""
    request = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}], **request}
    count = client.messages.count_tokens(**request).input_tokens
    if stream:
        with client.messages.stream(**request, max_tokens=2) as events:
            for event in events:
                if event.type == "message_start":
                    started = parts_of(event.message.usage)
            usage = events.get_final_message().usage
        assert (usage.input_tokens, usage.cache_read_input_tokens) == started[:2]
        assert usage.cache_creation_input_tokens == sum(started[2:])
        parts = started
    else:
        parts = parts_of(client.messages.create(**request, max_tokens=2).usage)
    assert sum(parts) == count
    return parts


def test_written_then_read(client):
    one, two = texts("exact")
    asked = {"system": [text(one, "1h"), text(two, "5m")]}
    new, read, short, long = ask(client, **asked)
    assert read == 0 and long >= MIN and short >= MIN and 0 < new < 40
    for stream in (False, True):
        assert ask(client, **asked, stream=stream) == (new, short + long, 0, 0)
    # The same beginning, then another: that much is read.
    assert ask(client, system=[text(one, "1h"), text("Really: " + two, "5m")])[1] == long
    # The mark is gone: nothing is told, whatever was reused.
    assert ask(client, system=[text(one), text(two)]) == (new + short + long, 0, 0, 0)
    # Only the first is marked now.
    assert ask(client, system=[text(one, "1h"), text(two)])[1:] == (long, 0, 0)


def test_a_breakpoint_that_moves_with_the_conversation(client):
    system, _ = texts("moving")
    messages = [{"role": "user", "content": [text("Hello.", "5m")]}]
    _, read, before, _ = ask(client, system=system, messages=messages, stream=True)
    assert read == 0 and before >= MIN
    for word in ("one", "two"):
        messages = [*({**m, "content": "Hello." if i == 0 else m["content"]}
                      for i, m in enumerate(messages)),
                    {"role": "assistant", "content": "Yes."}, {"role": "user", "content": word}]
        # The automatic one, on the last block.
        _, read, written, _ = ask(client, system=system, messages=messages,
                                  cache_control={"type": "ephemeral"})
        assert read == before and 0 < written < 40
        before = read + written


def test_what_is_too_short_is_not_told(client):
    assert ask(client, system=[text("Be brief, and brave.", "1h")])[1:] == (0, 0, 0)


@pytest.mark.parametrize("shared", [False, True])
def test_keys_do_not_see_each_other(start_server, shared):
    server = start_server("--key", "first-key", "--key", "second-key", *["--cache-shared"] * shared)
    first, second = (Wire("127.0.0.1", server.port, key) for key in ("first-key", "second-key"))
    body = {"model": MODEL, "max_tokens": 1, "messages": [{"role": "user", "content": "Hi"}],
            "system": [text("Short. " * 100 + "Done.", "5m")]}

    def memory(wire):
        return int(wire.post(body).headers["pensieve-cache"].split("memory=")[1].split(",")[0])

    assert memory(first) == 0
    assert memory(first) > 64
    assert (memory(second) > 64) == shared
    assert memory(second) > 64
