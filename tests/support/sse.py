"""Reads a stream of the Messages API and checks that it is exactly what the contract allows.

Every streaming test goes through here. `parse` holds the bytes to the grammar of the frames;
`check` holds the events to their order and shapes, and returns the message that they add up to,
as an SDK's accumulator would have it.
"""

import json
import re
from dataclasses import dataclass

FRAME = re.compile(rb"event: ([a-z_]+)\ndata: ([^\n\r]+)\Z")

MESSAGE_KEYS = {
    "id", "type", "role", "model", "content", "container", "stop_reason", "stop_sequence",
    "stop_details", "usage", "diagnostics",
}
INPUT_COUNTERS = {"input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens"}
STOP_REASONS = {"end_turn", "max_tokens", "stop_sequence", "model_context_window_exceeded"}
ERROR_TYPES = {
    "invalid_request_error", "authentication_error", "permission_error", "not_found_error",
    "request_too_large", "rate_limit_error", "api_error", "timeout_error", "overloaded_error",
}


class BadStream(AssertionError):
    pass


def expect(condition, *why):
    if not condition:
        raise BadStream(*why)


@dataclass
class Event:
    name: str
    data: dict


def parse(raw):
    """Bytes -> events. Each frame is exactly `event: NAME`, `data: ONE LINE OF JSON`, a blank."""
    expect(raw.endswith(b"\n\n"), "the stream does not end with a whole frame", raw[-80:])
    events = []
    for frame in raw[:-2].split(b"\n\n"):
        match = FRAME.match(frame)
        expect(match, "not a frame of the contract", frame)
        data = json.loads(match[2].decode("utf-8"))
        name = match[1].decode()
        expect(data.get("type") == name, "the event's name is not its type", frame)
        events.append(Event(name, data))
    return events


def is_count(value):
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def check_error(data):
    """The body of an error, in a stream or not."""
    expect(set(data) == {"type", "error", "request_id"}, "keys of an error", data)
    expect(data["type"] == "error", data)
    expect(set(data["error"]) - {"details"} == {"type", "message"}, "keys of an error", data)
    expect(data["error"]["type"] in ERROR_TYPES, "unknown error type", data)
    expect(data["error"]["message"], "an error without words", data)
    expect(data["request_id"].startswith("req_"), "request_id", data)


def check_start(message):
    expect(set(message) == MESSAGE_KEYS, "keys of message_start.message", message)
    expect(re.fullmatch(r"msg_01[1-9A-HJ-NP-Za-km-z]{22}", message["id"]), "id", message["id"])
    expect((message["type"], message["role"]) == ("message", "assistant"), message)
    expect(message["content"] == [], "content of message_start", message)
    for key in ("container", "stop_reason", "stop_sequence", "stop_details"):
        expect(message[key] is None, f"{key} of message_start", message)
    usage = message["usage"]
    expect(INPUT_COUNTERS | {"output_tokens"} <= set(usage), "usage of message_start", usage)
    for key in INPUT_COUNTERS | {"output_tokens"}:
        expect(is_count(usage[key]), f"usage.{key}", usage)


def check_end(data):
    expect(set(data) - {"context_management"} == {"type", "delta", "usage"}, data)
    delta, usage = data["delta"], data["usage"]
    expect(set(delta) == {"stop_reason", "stop_sequence", "stop_details", "container"}, delta)
    expect(delta["stop_reason"] in STOP_REASONS, delta)
    expect((delta["stop_sequence"] is not None) == (delta["stop_reason"] == "stop_sequence"), delta)
    expect(delta["stop_details"] is None and delta["container"] is None, delta)
    for key in INPUT_COUNTERS | {"output_tokens"}:
        expect(is_count(usage.get(key)), f"usage.{key} of message_delta", usage)


def check(events, keepalive=False, later=False):
    """Events of one whole stream -> the message, or the error that ended it (type "error").

    keepalive: allow empty text deltas, which the server sends through long silences.
    later: the prompt's usage may come with the end, as it does from OpenAI-compatible servers."""
    expect(events and events[0].name == "message_start", "the first event", events[:1])
    start = events[0].data
    expect(set(start) == {"type", "message"}, start)
    check_start(start["message"])
    message = json.loads(json.dumps(start["message"]))
    open_block = False
    ended = finished = False
    for event in events[1:]:
        data = event.data
        expect(not finished, "an event after the end", event)
        if event.name == "ping":
            expect(data == {"type": "ping"}, data)
        elif event.name == "error":
            check_error(data)
            finished = True
            message = data
        elif event.name == "content_block_start":
            expect(set(data) == {"type", "index", "content_block"}, data)
            expect(not open_block and not ended, "a block inside another, or too late", event)
            expect(data["index"] == len(message["content"]), "index", event)
            expect(data["content_block"] == {"type": "text", "text": ""}, event)
            message["content"].append(dict(data["content_block"]))
            open_block = True
        elif event.name == "content_block_delta":
            expect(set(data) == {"type", "index", "delta"}, data)
            expect(open_block and data["index"] == len(message["content"]) - 1, "index", event)
            expect(set(data["delta"]) == {"type", "text"}, data)
            expect(data["delta"]["type"] == "text_delta", data)
            text = data["delta"]["text"]
            expect(isinstance(text, str) and (text or keepalive), "an empty delta", event)
            message["content"][-1]["text"] += text
        elif event.name == "content_block_stop":
            expect(set(data) == {"type", "index"}, data)
            expect(open_block and data["index"] == len(message["content"]) - 1, "index", event)
            expect(message["content"][-1]["text"] or keepalive, "an empty block", event)
            open_block = False
        elif event.name == "message_delta":
            expect(not open_block and not ended, "message_delta in a block or twice", event)
            check_end(data)
            for key in ("stop_reason", "stop_sequence", "stop_details", "container"):
                message[key] = data["delta"][key]
            for key in INPUT_COUNTERS:
                expect(later or data["usage"][key] == message["usage"][key], f"usage.{key} changed", data)
            message["usage"].update(data["usage"])
            ended = True
        elif event.name == "message_stop":
            expect(data == {"type": "message_stop"}, data)
            expect(ended, "message_stop before message_delta", event)
            finished = True
        else:
            raise BadStream("an event that the contract does not know", event)
    expect(finished, "the stream ended without message_stop or error", events[-1])
    return message


def read(raw, keepalive=False):
    return check(parse(raw), keepalive)


def text_of(message):
    return "".join(block["text"] for block in message["content"])
