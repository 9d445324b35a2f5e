"""The validator itself: it lets a correct stream pass, and each way of being wrong is caught."""

import json

import pytest
from support import sse

USAGE = {"input_tokens": 9, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0}
MESSAGE = {
    "id": "msg_01" + "a" * 22, "type": "message", "role": "assistant", "model": "m", "content": [],
    "container": None, "stop_reason": None, "stop_sequence": None, "stop_details": None,
    "usage": {**USAGE, "output_tokens": 1}, "diagnostics": None,
}
END = {"stop_reason": "end_turn", "stop_sequence": None, "stop_details": None, "container": None}
ERROR = {"type": "overloaded_error", "message": "Overloaded"}


def start(**changes):
    return {"type": "message_start", "message": {**MESSAGE, **changes}}


def block(index=0, text=""):
    return {"type": "content_block_start", "index": index,
            "content_block": {"type": "text", "text": text}}


def delta(text, index=0):
    return {"type": "content_block_delta", "index": index,
            "delta": {"type": "text_delta", "text": text}}


def stop(index=0):
    return {"type": "content_block_stop", "index": index}


def end(usage=None, **changes):
    return {"type": "message_delta", "delta": {**END, **changes},
            "usage": usage or {**USAGE, "output_tokens": 2}}


PING = {"type": "ping"}
LAST = {"type": "message_stop"}
FAILURE = {"type": "error", "error": ERROR, "request_id": "req_01x"}


def raw(*events):
    return b"".join(
        b"event: %s\ndata: %s\n\n" % (event["type"].encode(), json.dumps(event).encode())
        for event in events
    )


GOOD = {
    "text": (start(), PING, block(), delta("Hi"), PING, delta("!"), stop(), end(), LAST),
    "two blocks": (start(), block(), delta("a"), stop(), block(1), delta("b", 1), stop(1), end(),
                   LAST),
    "no block": (start(), end(stop_reason="max_tokens"), LAST),
    "stop sequence": (start(), end(stop_reason="stop_sequence", stop_sequence="x"), LAST),
    "error": (start(), block(), delta("a"), FAILURE),
}
BAD = {
    "nothing": (),
    "no start": (block(), delta("a"), stop(), end(), LAST),
    "ping first": (PING, start(), end(), LAST),
    "second start": (start(), start(), end(), LAST),
    "content in the start": (start(content=[{"type": "text", "text": "a"}]), end(), LAST),
    "reason in the start": (start(stop_reason="end_turn"), end(), LAST),
    "other id": (start(id="chatcmpl-1"), end(), LAST),
    "vendor key": (start(timings={}), end(), LAST),
    "delta without block": (start(), delta("a"), end(), LAST),
    "block in a block": (start(), block(), block(1), delta("a", 1), stop(1), end(), LAST),
    "index skipped": (start(), block(1), delta("a", 1), stop(1), end(), LAST),
    "text in the block's start": (start(), block(text="a"), delta("a"), stop(), end(), LAST),
    "empty delta": (start(), block(), delta(""), delta("a"), stop(), end(), LAST),
    "empty block": (start(), block(), stop(), end(), LAST),
    "block left open": (start(), block(), delta("a"), end(), LAST),
    "no message_delta": (start(), block(), delta("a"), stop(), LAST),
    "two message_delta": (start(), end(), end(), LAST),
    "no message_stop": (start(), block(), delta("a"), stop(), end()),
    "event after the end": (start(), end(), LAST, PING),
    "event after the error": (start(), FAILURE, LAST),
    "reason unknown": (start(), end(stop_reason="length"), LAST),
    "sequence without its reason": (start(), end(stop_sequence="x"), LAST),
    "reason without its sequence": (start(), end(stop_reason="stop_sequence"), LAST),
    "usage without output": (start(), end(usage=USAGE), LAST),
    "input changes": (start(), end(usage={**USAGE, "input_tokens": 8, "output_tokens": 1}), LAST),
    "unknown event": (start(), {"type": "message_ping"}, end(), LAST),
    "error without request id": (start(), {"type": "error", "error": ERROR}),
}
WHOLE = raw(*GOOD["text"])
BAD_BYTES = {
    "data only": WHOLE.replace(b"event: ping\n", b"", 1),
    "CRLF": WHOLE.replace(b"\n", b"\r\n"),
    "comment": b": hello\n\n" + WHOLE,
    "no space": WHOLE.replace(b"data: ", b"data:"),
    "last frame cut": WHOLE[:-1],
    "[DONE]": WHOLE + b"data: [DONE]\n\n",
    "other name": WHOLE.replace(b"event: ping", b"event: pong", 1),
    "two lines of data": WHOLE.replace(b'{"type": "ping"}', b'{"type":\ndata: "ping"}', 1),
    "half a character": WHOLE.replace(b'"Hi"', b'"\xf0\x9f"'),
    "id line": WHOLE.replace(b"event: ping\n", b"id: 1\nevent: ping\n", 1),
}


@pytest.mark.parametrize("name", GOOD)
def test_good(name):
    message = sse.read(raw(*GOOD[name]))
    if name == "error":
        assert message["error"] == ERROR
    else:
        assert message["stop_reason"] and message["usage"]["output_tokens"] == 2
        assert sse.text_of(message) == {"text": "Hi!", "two blocks": "ab"}.get(name, "")


def test_empty_deltas_are_good_where_they_keep_alive():
    events = raw(start(), block(), delta(""), delta(""), stop(), end(), LAST)
    assert sse.text_of(sse.read(events, keepalive=True)) == ""


@pytest.mark.parametrize("name", BAD)
def test_bad(name):
    with pytest.raises(sse.BadStream):
        sse.read(raw(*BAD[name]))


@pytest.mark.parametrize("name", BAD_BYTES)
def test_bad_bytes(name):
    with pytest.raises((sse.BadStream, UnicodeDecodeError)):
        sse.read(BAD_BYTES[name])
