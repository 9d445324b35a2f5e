"""A small, exact HTTP client for the conformance tests: what was sent and received, byte for byte.

It uses http.client and nothing cleverer, so that a header or a frame that a friendlier client would
repair is seen as it is.
"""

import http.client
import json
import time
from dataclasses import dataclass, field

KEY = "pensieve-local-token"
TIMEOUT = 60.0


@dataclass
class Answer:
    status: int
    headers: dict  # names in lower case
    body: bytes
    raw_headers: list = field(default_factory=list)

    def json(self):
        return json.loads(self.body)


class Wire:
    """Requests to one server, each on its own connection."""

    def __init__(self, host, port, key=KEY):
        self.host, self.port, self.key = host, port, key

    def headers(self, extra):
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
        headers.update(extra or {})
        return {name: value for name, value in headers.items() if value is not None}

    def open(self, method, path, body=None, headers=None):
        """Sends a request; returns the connection and the response, whose body is still to read."""
        if isinstance(body, (dict, list)):
            body = json.dumps(body).encode()
        elif isinstance(body, str):
            body = body.encode()
        connection = http.client.HTTPConnection(self.host, self.port, timeout=TIMEOUT)
        connection.request(method, path, body, self.headers(headers))
        return connection, connection.getresponse()

    def request(self, method, path, body=None, headers=None):
        connection, response = self.open(method, path, body, headers)
        try:
            return Answer(
                response.status,
                {name.lower(): value for name, value in response.getheaders()},
                response.read(),
                response.getheaders(),
            )
        finally:
            connection.close()

    def post(self, body, headers=None, path="/v1/messages"):
        return self.request("POST", path, body, headers)

    def count(self, body, headers=None):
        return self.post(body, headers, "/v1/messages/count_tokens")

    def get(self, path, headers=None):
        return self.request("GET", path, None, headers)

    def stream(self, body, headers=None):
        """The lines of a stream as they arrive: (seconds since the request, line)."""
        begin = time.monotonic()
        connection, response = self.open("POST", "/v1/messages", {**body, "stream": True}, headers)
        try:
            assert response.status == 200, (response.status, response.read())
            while line := response.readline():
                yield time.monotonic() - begin, line
        finally:
            connection.close()
