"""client.py - one request of the Messages API over a plain socket, with the time of each of its events.

All benches ask through this, and all servers are asked in the same way, so that what differs is theirs.
"""
import dataclasses
import http.client
import json
import time

KEY = "pensieve-local-token"
HEADERS = {"content-type": "application/json", "anthropic-version": "2023-06-01", "x-api-key": KEY}


@dataclasses.dataclass
class Answer:
    started: float                  # monotonic seconds, as all times here
    first: float = None             # when the first text came
    last: float = None
    gaps: list = dataclasses.field(default_factory=list)    # between two deltas of text
    text: str = ""
    usage: dict = dataclasses.field(default_factory=dict)
    stop_reason: str = None

    @property
    def ttft(self):
        """Seconds to the first text; to the end where there was none."""
        return (self.first or self.last) - self.started

    @property
    def seconds(self):
        return self.last - self.started

    @property
    def tokens(self):
        return self.usage.get("output_tokens", 0)

    @property
    def decode_tps(self):
        """Tokens a second after the first."""
        return (self.tokens - 1) / (self.last - self.first) if self.first and self.last > self.first else 0


def body_of(messages, max_tokens, **fields):
    return {"model": "claude-any", "max_tokens": max_tokens, "temperature": 0, "messages": messages} | fields


def user(text):
    return {"role": "user", "content": text}


def assistant(text):
    return {"role": "assistant", "content": text}


def call(port, method, path, body=None):
    """Without streaming: status and JSON, also of an error."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
    connection.request(method, path, body and json.dumps(body), HEADERS)
    response = connection.getresponse()
    data = response.read()
    connection.close()
    return response.status, json.loads(data)


def post(port, path, body):
    status, found = call(port, "POST", path, body)
    if status != 200:
        raise RuntimeError(f"{path}: {status} {found}")
    return found


def ask(port, messages, max_tokens, session=None, **fields):
    """Streams one answer to its end. session: the conversation that it belongs to."""
    return finish(begin(port, messages, max_tokens, session, **fields))


def begin(port, messages, max_tokens, session=None, **fields):
    """Sends a request; (connection, Answer) for finish or for abandon."""
    body = json.dumps(body_of(messages, max_tokens, stream=True, **fields))
    headers = HEADERS | ({"x-claude-code-session-id": session} if session else {})
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
    connection.connect()
    answer = Answer(time.monotonic())
    connection.request("POST", "/v1/messages", body, headers)
    return connection, answer


def abandon(begun):
    """Closes the connection, as a client does whose user pressed Ctrl-C."""
    begun[0].close()


def finish(begun):
    connection, answer = begun
    response = connection.getresponse()
    if response.status != 200:
        raise RuntimeError(f"/v1/messages: {response.status} {response.read()[:300]!r}")
    for line in response:
        if line.startswith(b"data:"):
            take(answer, json.loads(line[5:]))
    answer.last = time.monotonic()
    connection.close()
    return answer


def take(answer, event):
    kind = event.get("type")
    if kind == "message_start":
        answer.usage.update(event["message"]["usage"])
    elif kind == "message_delta":
        answer.usage.update(event.get("usage") or {})
        answer.stop_reason = event["delta"].get("stop_reason")
    elif kind == "content_block_delta" and event["delta"].get("text"):
        now = time.monotonic()
        if answer.first is None:
            answer.first = now
        else:
            answer.gaps.append(now - answer.last)
        answer.last = now
        answer.text += event["delta"]["text"]
    elif kind == "error":
        raise RuntimeError(f"error in the stream: {event}")
