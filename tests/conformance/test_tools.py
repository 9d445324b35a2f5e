"""Calls of tools through the official Python SDK, on the default model: whatever a model of this size says, a
call that is forced is one of the request's tools, its input is held to that tool's schema, and the
message around it is as the contract says. What the blocks look like on the wire is shown by
tests/api/test_response.c; whether a model calls the right tool is no business of this file.
"""

import json
from typing import Literal

import anthropic
import pytest
from pydantic import BaseModel, ConfigDict

MODEL = "claude-sonnet-5"
ASK = [{"role": "user", "content": "What is the weather in Paris? Use a tool."}]


class Input(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Weather(Input):
    city: str
    unit: Literal["celsius", "fahrenheit"]
    days: int | None = None


class Find(Input):
    words: list[Literal["sun", "rain", "snow"]]
    exact: bool


class Clock(Input):
    pass


INPUTS = {"get_weather": Weather, "find-all": Find, "clock": Clock}
TOOLS = [{"name": name, "description": shape.__name__, "input_schema": shape.model_json_schema()}
         for name, shape in INPUTS.items()]


@pytest.fixture
def client(server):
    with anthropic.Anthropic(base_url=server.url, api_key=server.key, max_retries=0) as client:
        yield client


def is_call(block, names=INPUTS):
    assert block.type == "tool_use" and block.name in names, block
    INPUTS[block.name].model_validate(block.input)
    return block.id.startswith("toolu_01")


def test_any_streams_valid_calls(client):
    """At temperature 1: every one of them, with ids of their own."""
    ids = []
    for _ in range(2):
        partial = {}
        with client.messages.stream(
            model=MODEL, max_tokens=80, messages=ASK, tools=TOOLS, tool_choice={"type": "any"},
        ) as stream:
            for event in stream:
                if event.type == "content_block_delta":
                    assert event.delta.type == "input_json_delta"
                    partial[event.index] = partial.get(event.index, "") + event.delta.partial_json
            message = stream.get_final_message()
        assert message.stop_reason == "tool_use"
        assert message.content and all(is_call(block) for block in message.content)
        assert [json.loads(partial[i]) for i in range(len(message.content))] == [
            block.input for block in message.content]
        ids += [block.id for block in message.content]
        assert message.usage.output_tokens <= 80
    assert len(set(ids)) == len(ids)


def test_a_named_tool_once(client):
    message = client.messages.create(
        model=MODEL, max_tokens=100, messages=ASK, tools=TOOLS,
        tool_choice={"type": "tool", "name": "find-all", "disable_parallel_tool_use": True})
    assert len(message.content) == 1 and is_call(message.content[0], ["find-all"])
    assert message.stop_reason == "tool_use"
    assert message.content[0].caller.type == "direct"


def test_streamed_or_not_it_is_the_same(start_server):
    server = start_server("--seed", "7")
    body = {"model": MODEL, "max_tokens": 70, "messages": ASK, "tools": TOOLS,
            "tool_choice": {"type": "any"}}
    with anthropic.Anthropic(base_url=server.url, api_key=server.key, max_retries=0) as client:
        whole = client.messages.create(**body)
        with client.messages.stream(**body) as stream:
            streamed = stream.get_final_message()
    assert [(block.name, block.input) for block in whole.content] == [
        (block.name, block.input) for block in streamed.content]
    assert whole.usage.output_tokens == streamed.usage.output_tokens
    assert (whole.stop_reason, streamed.stop_reason) == ("tool_use", "tool_use")


def test_none_is_text(client):
    message = client.messages.create(
        model=MODEL, max_tokens=12, messages=ASK, tools=TOOLS, tool_choice={"type": "none"})
    assert {block.type for block in message.content} <= {"text"}
    assert message.stop_reason in ("end_turn", "max_tokens")


def test_what_a_stop_sequence_finds_in_an_input_is_no_stop(client):
    message = client.messages.create(
        model=MODEL, max_tokens=100, messages=ASK, tools=TOOLS, stop_sequences=['"', "{"],
        tool_choice={"type": "tool", "name": "get_weather"})
    assert message.stop_reason == "tool_use" and all(is_call(block) for block in message.content)


LONG = [{"name": "write", "input_schema": {
    "type": "object", "required": ["text"], "additionalProperties": False,
    "properties": {"text": {"type": "string", "minLength": 4000}}}}]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_cut_in_the_middle_it_can_still_be_read(client, stream):
    body = {"model": MODEL, "max_tokens": 60, "messages": ASK, "tools": LONG,
            "tool_choice": {"type": "any"}}
    if stream:
        with client.messages.stream(**body) as events:
            sent = "".join(event.delta.partial_json for event in events
                           if event.type == "content_block_delta")
            message = events.get_final_message()
        assert json.loads(sent) == message.content[0].input
    else:
        message = client.messages.create(**body)
    assert message.stop_reason == "max_tokens"
    assert message.usage.output_tokens == 60
    assert message.content[0].name == "write" and set(message.content[0].input) <= {"text"}


def test_a_result_goes_back_and_the_count_is_the_usage(client):
    call = client.messages.create(
        model=MODEL, max_tokens=100, messages=ASK, tools=TOOLS,
        tool_choice={"type": "any", "disable_parallel_tool_use": True})
    history = [*ASK, {"role": "assistant", "content": call.content}, {"role": "user", "content": [
        {"type": "tool_result", "tool_use_id": call.content[0].id, "content": "18 degrees, dry"}]}]
    counted = client.messages.count_tokens(model=MODEL, messages=history, tools=TOOLS)
    message = client.messages.create(model=MODEL, max_tokens=8, messages=history, tools=TOOLS)
    assert message.usage.input_tokens == counted.input_tokens > call.usage.input_tokens


def strict_tool(**keywords):
    return {"name": "tag", "strict": True, "input_schema": {
        "type": "object", "required": ["tags"], "additionalProperties": False,
        "properties": {"tags": {"type": "array", "items": {"type": "boolean"}, "maxItems": 3, **keywords}}}}


@pytest.mark.parametrize("choice", ["auto", "any"])
def test_a_strict_tool_is_refused_by_the_keyword(client, choice):
    with pytest.raises(anthropic.BadRequestError) as caught:
        client.messages.create(
            model=MODEL, max_tokens=40, messages=ASK, tool_choice={"type": choice},
            tools=[*TOOLS, strict_tool(uniqueItems=True)])
    text = caught.value.body["error"]["message"]
    assert text.startswith("tools.3.") and text.endswith(
        "`/properties/tags/uniqueItems` is not supported"), text
    message = client.messages.create(
        model=MODEL, max_tokens=60, messages=ASK, tool_choice={"type": "any"}, tools=[strict_tool()])
    assert message.stop_reason == "tool_use"


def test_a_format_where_there_are_tools_too(client):
    """Either the one or the other, whole."""
    message = client.messages.create(
        model=MODEL, max_tokens=120, messages=ASK, tools=TOOLS, output_config={"format": {
            "type": "json_schema", "schema": Find.model_json_schema()}})
    if message.stop_reason == "tool_use":
        assert all(is_call(block) for block in message.content)
    else:
        assert [block.type for block in message.content] == ["text"]
        Find.model_validate_json(message.content[0].text)
