"""Structured output through the official Python SDK's parse helper: eight models of data, answered at
temperature 1, each answer whole and valid, because its tokens are held to the schema.

bench/structured.py does the same with 200 generated schemas and the jsonschema package.
"""

import enum
import json
from typing import Literal

import anthropic
import pytest
from pydantic import BaseModel, ConfigDict

MODEL = "claude-sonnet-5"
ASK = [{"role": "user", "content": "Describe a small town."}]


@pytest.fixture
def client(server):
    with anthropic.Anthropic(base_url=server.url, api_key=server.key, max_retries=0) as client:
        yield client


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Title(Strict):
    title: str


class Kind(enum.Enum):
    village = "village"
    town = "town"


class Enums(Strict):
    kind: Kind
    coast: bool
    river: Literal["wide", "narrow"] | None


class Numbers(Strict):
    people: int
    area: float


class Street(Strict):
    name: str
    houses: list[int]


class Nested(Strict):
    mayor: Title
    main: Street


class Lists(Strict):
    tags: list[Kind]
    shops: list[Title]


class Either(Strict):
    where: Title | Numbers | None


class Optional(Strict):
    name: str
    motto: str = "none"


class Tree(Strict):
    kind: Kind
    part: "Tree | None"


SHAPES = [Title, Enums, Numbers, Nested, Lists, Either, Optional, Tree]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.__name__)
def test_parse_gives_an_instance(client, shape):
    message = client.messages.parse(
        model=MODEL, max_tokens=90, messages=ASK, output_format=shape)
    assert message.stop_reason == "end_turn"
    assert [block.type for block in message.content] == ["text"]
    assert isinstance(message.parsed_output, shape)
    assert message.usage.output_tokens <= 90


def format_of(schema):
    return {"format": {"type": "json_schema", "schema": schema}}


def test_a_stream_holds_the_same_one_block(client):
    with client.messages.stream(
        model=MODEL, max_tokens=60, messages=ASK, output_config=format_of(
            {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"],
             "additionalProperties": False})) as stream:
        text = "".join(stream.text_stream)
        message = stream.get_final_message()
    assert message.stop_reason == "end_turn"
    assert [block.type for block in message.content] == ["text"]
    assert list(json.loads(text)) == ["a"]


def test_count_tokens_counts_the_schema_and_equals_the_usage(client):
    request = {"model": MODEL, "messages": ASK}
    wanted = format_of({"enum": ["yes", "no"]})
    plain = client.messages.count_tokens(**request).input_tokens
    counted = client.messages.count_tokens(**request, output_config=wanted).input_tokens
    message = client.messages.create(**request, max_tokens=9, output_config=wanted)
    assert plain < counted == message.usage.input_tokens
    assert json.loads(message.content[0].text) in ("yes", "no")


def test_the_older_place_of_the_format(client):
    message = client.messages.create(
        model=MODEL, max_tokens=9, messages=ASK,
        extra_body={"output_format": {"type": "json_schema", "schema": {"const": "x y"}}},
        extra_headers={"anthropic-beta": "structured-outputs-2025-11-13"})
    assert message.content[0].text == '"x y"'


def test_json_is_closed_before_the_tokens_end(client):
    schema = {"type": "array", "items": {"type": "string"}, "minItems": 1}
    message = client.messages.create(
        model=MODEL, max_tokens=14, messages=ASK, output_config=format_of(schema))
    assert message.stop_reason == "end_turn"
    assert json.loads(message.content[0].text)
    assert message.usage.output_tokens <= 14


def test_where_the_schema_leaves_no_way_out_the_tokens_end(client):
    message = client.messages.create(
        model=MODEL, max_tokens=9, messages=ASK,
        output_config=format_of({"type": "string", "minLength": 4000}))
    assert message.stop_reason == "max_tokens"
    assert message.usage.output_tokens == 9


REFUSED = {
    "unsatisfiable": ({"type": "integer", "minimum": 2, "maximum": 1}, "JSON schema is invalid: "),
    "no such type": ({"type": "thing"}, "JSON schema is invalid: Invalid type: thing"),
    "too big": ({"description": "x" * (4 << 20)}, "Schema is too complex for compilation"),
}


@pytest.mark.parametrize("schema, text", REFUSED.values(), ids=REFUSED)
def test_what_is_no_schema_is_a_400_that_names_the_place(client, schema, text):
    with pytest.raises(anthropic.BadRequestError) as caught:
        client.messages.create(
            model=MODEL, max_tokens=9, messages=ASK, output_config=format_of(schema))
    assert caught.value.body["error"]["message"].startswith(f"output_config.format.schema: {text}")


UNIQUE = {"type": "object", "properties": {"a": {"type": "array", "items": {"type": "null"},
          "maxItems": 2, "uniqueItems": True}}, "required": ["a"], "additionalProperties": False}


def test_a_keyword_that_no_grammar_enforces_is_left_out_and_logged(server, client):
    message = client.messages.create(
        model=MODEL, max_tokens=40, messages=ASK, output_config=format_of(UNIQUE))
    assert len(json.loads(message.content[0].text)["a"]) <= 2
    assert 'schema_loosened keywords="/properties/a/uniqueItems"' in server.output


def test_a_strict_server_refuses_it_by_name(start_server):
    server = start_server("--strict")
    with anthropic.Anthropic(base_url=server.url, api_key=server.key, max_retries=0) as client:
        with pytest.raises(anthropic.BadRequestError) as caught:
            client.messages.create(
                model=MODEL, max_tokens=9, messages=ASK, output_config=format_of(UNIQUE))
    assert caught.value.body["error"]["message"] == (
        "output_config.format.schema: `/properties/a/uniqueItems` is not supported")
