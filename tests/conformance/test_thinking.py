"""Thoughts, on a tiny model whose template has their marks: kept in their budget, before what the answer is held
to, signed, and known again when they come back. Its words mean nothing; its blocks must be right.
"""

import json
import shutil
from pathlib import Path

import anthropic
import pytest

ROOT = Path(__file__).resolve().parents[2]
TINY = ROOT / "build/golden/llama_tied/hf"
MODEL = "claude-sonnet-5"
ASK = [{"role": "user", "content": "How are you?"}]
ADAPTIVE = {"type": "adaptive"}
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.reasoning_content %}<think>\n{{ m.reasoning_content }}\n</think>\n\n{% endif %}"
    "{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TOOL = {"name": "look", "input_schema": {
    "type": "object", "properties": {"far": {"type": "boolean"}}, "required": ["far"],
    "additionalProperties": False}}


@pytest.fixture(scope="module")
def thinker(start_server, tmp_path_factory):
    """The server, on a copy of the tiny model with this file's template."""
    folder = tmp_path_factory.mktemp("models") / "thinker"
    shutil.copytree(TINY, folder)
    config = folder / "tokenizer_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "chat_template": TEMPLATE}))
    return start_server("--seed", "5", model=folder)


@pytest.fixture
def client(thinker):
    with anthropic.Anthropic(base_url=thinker.url, api_key=thinker.key, max_retries=0) as client:
        yield client


def test_a_budget_is_kept(client):
    message = client.messages.create(
        model=MODEL, max_tokens=1500, messages=ASK,
        thinking={"type": "enabled", "budget_tokens": 1024})
    assert message.content[0].type == "thinking" and message.content[0].signature
    spent = message.usage.output_tokens_details.thinking_tokens
    assert 0 < spent <= 1024 + 16  # and the tokens that close it
    assert spent < message.usage.output_tokens <= 1500


@pytest.mark.parametrize("wanted, kind", [
    ({"tools": [TOOL], "tool_choice": {"type": "any"}}, "tool_use"),
    ({"output_config": {"format": {"type": "json_schema", "schema": TOOL["input_schema"]}}}, "text"),
], ids=["call", "format"])
def test_before_what_the_answer_is_held_to(client, wanted, kind):
    with client.messages.stream(
        model=MODEL, max_tokens=480, messages=ASK, thinking=ADAPTIVE, **wanted) as stream:
        signatures = [event for event in stream if event.type == "content_block_delta"
                      and event.delta.type == "signature_delta"]
        message = stream.get_final_message()
    assert len(signatures) == 1
    assert message.content[0].type == "thinking"
    assert {block.type for block in message.content[1:]} == {kind}
    assert message.usage.output_tokens_details.thinking_tokens <= 360 + 16
    if kind == "tool_use":
        assert message.stop_reason == "tool_use"
        assert all(set(block.input) == {"far"} for block in message.content[1:])
    else:
        assert set(json.loads(message.content[1].text)) == {"far"}


def test_disabled_there_is_none(client):
    message = client.messages.create(
        model=MODEL, max_tokens=40, messages=ASK, thinking={"type": "disabled"})
    assert {block.type for block in message.content} <= {"text"}
    assert message.usage.output_tokens_details.thinking_tokens == 0


ONE_CALL = {"model": MODEL, "tools": [TOOL], "tool_choice": {"type": "any", "disable_parallel_tool_use": True}}


def think(client, **display):
    """One thought and a call, so that the client must send both back."""
    message = client.messages.create(
        max_tokens=480, messages=ASK, thinking={**ADAPTIVE, **display}, **ONE_CALL)
    assert [block.type for block in message.content] == ["thinking", "tool_use"]
    return message


def sent_back(message, **changed):
    blocks = [block.model_dump(exclude_none=True) for block in message.content]
    blocks[0].update(changed)
    return [*ASK, {"role": "assistant", "content": blocks}, {"role": "user", "content": [
        {"type": "tool_result", "tool_use_id": blocks[1]["id"], "content": "yes"}]}]


def count(client, messages):
    return client.messages.count_tokens(messages=messages, thinking=ADAPTIVE, **ONE_CALL).input_tokens


@pytest.mark.parametrize("display", ["summarized", "omitted"])
def test_it_leads_to_what_was_sampled(client, thinker, display):
    message = think(client, display=display)
    assert bool(message.content[0].thinking) == (display == "summarized")
    answer = client.messages.with_raw_response.create(
        max_tokens=4, messages=sent_back(message), thinking=ADAPTIVE, **ONE_CALL)
    found = int(answer.headers["pensieve-cache"].split(",")[0].split("=")[1])
    sampled = message.usage.input_tokens + message.usage.output_tokens
    assert found >= sampled - 64  # all but the last page, the thought included


def test_a_changed_thought_is_refused(client):
    message = think(client)
    for changed in ({"thinking": message.content[0].thinking + "."},
                    {"signature": message.content[0].signature[:-4] + "AAAA"}):
        with pytest.raises(anthropic.BadRequestError) as caught:
            client.messages.create(
                max_tokens=4, messages=sent_back(message, **changed), thinking=ADAPTIVE, **ONE_CALL)
        assert caught.value.body["error"]["message"] == (
            "messages.1.content.0: Invalid `signature` in `thinking` block")


def test_a_foreign_thought_is_left_out(client):
    message = think(client)
    whole = sent_back(message, signature="EqQBCkYIBxgCKkBvdGhlcg==")
    without = sent_back(message)
    del without[1]["content"][0]
    redacted = sent_back(message)
    redacted[1]["content"][0] = {"type": "redacted_thinking", "data": "b3BhcXVl"}
    assert count(client, whole) == count(client, without) == count(client, redacted)
