"""HTTP/1.1 as bytes on a socket: what a careful client may send, what a hostile one does, and how
the server ends."""

import json
import re
import select
import signal
import socket
import time

import pytest
from support import sse

BODY = json.dumps({
    "model": "claude-x", "max_tokens": 2, "temperature": 0,
    "messages": [{"role": "user", "content": "Count to 3"}],
}).encode()
HEAD = (b"POST /v1/messages HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer "
        b"pensieve-local-token\r\nContent-Type: application/json\r\n")
GET = (b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n"
       b"Authorization: Bearer pensieve-local-token\r\n\r\n")


def whole(body=BODY):
    return HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body


class Peer:
    """One connection, and the answers read from it."""

    def __init__(self, server):
        self.socket = socket.create_connection(("127.0.0.1", server.port), timeout=30)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.data = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def more(self):
        data = self.socket.recv(65536)
        self.data += data
        return bool(data)

    def is_silent(self, seconds):
        return not select.select([self.socket], [], [], seconds)[0]

    def is_closed(self):
        """All that came after the last answer is the end of the connection."""
        try:
            return not self.data and not self.more()
        except ConnectionResetError:
            return True

    def answer(self):
        """(status, headers, body) of the next answer; a chunked body is put together."""
        while b"\r\n\r\n" not in self.data:
            assert self.more(), ("closed within a head", self.data)
        head, _, self.data = self.data.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        status = int(re.fullmatch(r"HTTP/1\.1 (\d{3}) .*", lines[0])[1])
        headers = {}
        for line in lines[1:]:
            name, value = line.split(": ", 1)
            headers[name.lower()] = value
        if status == 100:
            return status, headers, b""
        if headers.get("transfer-encoding") == "chunked":
            return status, headers, self.chunks()
        n = int(headers.get("content-length", 0))
        return status, headers, self.take(n)

    def take(self, n):
        while len(self.data) < n:
            assert self.more(), "closed within a body"
        taken, self.data = self.data[:n], self.data[n:]
        return taken

    def chunks(self):
        body = b""
        while True:
            while b"\r\n" not in self.data:
                assert self.more(), "closed within a chunked body"
            size, _, self.data = self.data.partition(b"\r\n")
            chunk = self.take(int(size, 16))
            assert self.take(2) == b"\r\n"
            if not chunk:
                return body
            body += chunk


@pytest.fixture
def peer(server):
    with Peer(server) as peer:
        yield peer


# --- what a client may do --------------------------------------------------------------------------


def test_one_connection_many_requests(peer):
    for _ in range(20):
        peer.send(whole())
        status, headers, body = peer.answer()
        assert status == 200 and headers["connection"] == "keep-alive"
        assert json.loads(body)["usage"]["output_tokens"] == 2


def test_pipelined_requests_are_answered_in_order(peer):
    peer.send(whole() + GET + whole(BODY.replace(b'"max_tokens": 2', b'"max_tokens": 1')) + GET)
    for kind in ("message", None, "message", None):
        status, _, body = peer.answer()
        assert status == 200 and json.loads(body).get("type") == kind


@pytest.mark.parametrize("size", [1, 7, 100000])
def test_chunked_body(peer, size):
    chunks = b"".join(
        b"%x;note=1\r\n%s\r\n" % (len(part), part)
        for part in (BODY[i : i + size] for i in range(0, len(BODY), size)))
    peer.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\nTrailer: x\r\n\r\n")
    assert peer.answer()[0] == 200
    peer.send(GET)
    assert peer.answer()[0] == 200


def test_expect_100_continue(peer):
    peer.send(HEAD + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(BODY))
    assert peer.answer()[0] == 100
    peer.send(BODY)
    assert peer.answer()[0] == 200


def test_expect_is_not_answered_100_when_the_answer_is_no(peer):
    head = HEAD.replace(b"local-token", b"wrong")
    peer.send(head + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(BODY))
    assert peer.answer()[0] == 401


def test_byte_by_byte(peer):
    for byte in whole():
        peer.send(bytes([byte]))
    assert peer.answer()[0] == 200


def test_connection_close(peer):
    peer.send(whole().replace(b"Host:", b"Connection: close\r\nHost:"))
    status, headers, _ = peer.answer()
    assert status == 200 and headers["connection"] == "close"
    assert peer.is_closed()


def test_http_1_0(peer):
    peer.send(whole().replace(b"HTTP/1.1", b"HTTP/1.0"))
    status, headers, _ = peer.answer()
    assert status == 200 and headers["connection"] == "close"
    assert peer.is_closed()


def test_slow_senders_do_not_hold_up_others(server, wire):
    slow = [Peer(server) for _ in range(50)]
    for i, peer in enumerate(slow):
        peer.send(whole()[: 10 + 3 * i])
    begin = time.monotonic()
    assert wire.get("/v1/models").status == 200
    assert time.monotonic() - begin < 0.5
    for i, peer in enumerate(slow):
        peer.send(whole()[10 + 3 * i :])
    for peer in slow:
        assert peer.answer()[0] == 200
        peer.socket.close()


def test_slow_reader_gets_everything(server):
    """It reads nothing for a while; no other stream may suffer, and nothing of its own be lost."""
    body = json.dumps({
        "model": "claude-x", "max_tokens": 300, "temperature": 0, "stream": True,
        "messages": [{"role": "user", "content": "Tell me a long story about a lighthouse."}],
    }).encode()
    with Peer(server) as peer:
        peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        peer.send(whole(body))
        time.sleep(1)
        _, headers, raw = peer.answer()
    assert headers["content-type"].startswith("text/event-stream")
    assert sse.read(raw)["usage"]["output_tokens"] > 100


# --- what a hostile one does -----------------------------------------------------------------------

MALFORMED = {
    "not HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 hello\r\n\r\n",
    "HTTP/0.9": b"GET /\r\n\r\n",
    "HTTP/2.0": GET.replace(b"HTTP/1.1", b"HTTP/2.0"),
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "bare LF": GET.replace(b"\r\n", b"\n"),
    "space before the colon": GET.replace(b"Host:", b"Host :"),
    "folded header": GET.replace(b"\r\n\r\n", b"\r\nX-A: b\r\n c\r\n\r\n"),
    "NUL in a header": GET.replace(b"localhost", b"local\x00host"),
    "no host": GET.replace(b"Host: localhost\r\n", b""),
    "two hosts": GET.replace(b"\r\n\r\n", b"\r\nHost: localhost\r\n\r\n"),
    "two lengths": HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "length and chunks": HEAD + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "unknown coding": HEAD + b"Transfer-Encoding: gzip\r\n\r\n{}",
    "length negative": HEAD + b"Content-Length: -1\r\n\r\n",
    "length overflows": HEAD + b"Content-Length: 18446744073709551617\r\n\r\n",
    "length in hex": HEAD + b"Content-Length: 0x2\r\n\r\n{}",
    "chunk size wrong": HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    "chunk size overflows": HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"f" * 17 + b"\r\n",
    "absolute nonsense": GET.replace(b"/v1/models", b"http://[::::]:99999999/"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_is_refused_and_the_connection_closed(peer, wire, name):
    peer.send(MALFORMED[name])
    status, headers, body = peer.answer()
    assert 400 <= status < 600 and status != 500
    error = json.loads(body)
    sse.check_error(error)
    assert error["request_id"] == headers["request-id"]
    if headers["connection"] == "close":
        assert peer.is_closed()
    else:  # a sound message, refused for what it asks
        peer.send(GET)
        assert peer.answer()[0] == 200
    assert wire.get("/v1/models").status == 200


def test_nothing_of_a_malformed_request_is_taken_for_another(peer):
    """Request smuggling: the second request must not be answered."""
    peer.send(HEAD + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + GET)
    assert peer.answer()[0] == 400
    assert peer.is_closed()


def test_head_too_large(peer):
    try:
        for _ in range(300):
            peer.send(b"X-Filler: " + b"x" * 1000 + b"\r\n" if _ else GET[:-2])
    except (BrokenPipeError, ConnectionResetError):
        pass
    status, _, body = peer.answer()
    assert status in (413, 431)
    sse.check_error(json.loads(body))


def test_body_grows_beyond_the_limit_in_chunks(start_server):
    server = start_server("--body-bytes-max", "64KiB")
    with Peer(server) as peer:
        peer.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        try:
            for _ in range(100):
                peer.send(b"1000\r\n" + b" " * 4096 + b"\r\n")
        except (BrokenPipeError, ConnectionResetError):
            pass
        status, _, body = peer.answer()
        assert status == 413
        assert json.loads(body)["error"]["type"] == "request_too_large"


@pytest.mark.parametrize("host, right", [
    ("127.0.0.1", True), ("localhost:7777", True), ("LOCALHOST", True), ("[::1]:1", True),
    ("evil.example", False), ("127.0.0.1.evil.example", False), ("localhost.evil.example", False),
    ("192.168.0.1", False), ("", False), ("127.0.0.1@evil.example", False),
])
def test_host_names_that_a_rebound_name_would_have_are_refused(peer, host, right):
    peer.send(GET.replace(b"localhost", host.encode()))
    status, _, _ = peer.answer()
    assert status == 200 if right else status in (400, 403)


@pytest.mark.parametrize("origin, right", [
    ("http://localhost:3000", True), ("http://127.0.0.1", True), ("https://evil.example", False),
    ("http://localhost.evil.example", False), ("null", False),
])
def test_pages_of_other_origins_are_refused(peer, origin, right):
    peer.send(GET.replace(b"\r\n\r\n", b"\r\nOrigin: " + origin.encode() + b"\r\n\r\n"))
    status, headers, _ = peer.answer()
    if right:
        assert status == 200 and headers["access-control-allow-origin"] == origin
    else:
        assert status == 403 and "access-control-allow-origin" not in headers


def test_time_limits(start_server):
    server = start_server("--head-timeout", "300ms", "--body-timeout", "300ms",
                          "--idle-timeout", "300ms")
    begun = {"nothing": b"", "half a head": GET[:20], "half a body": whole()[:-10]}
    for name, data in begun.items():
        with Peer(server) as peer:
            peer.send(data)
            begin = time.monotonic()
            peer.socket.settimeout(3)
            while peer.more():
                pass
            assert 0.2 < time.monotonic() - begin < 2, name
            assert peer.data == b"" or b" 408 " in peer.data.split(b"\r\n", 1)[0], name


# --- the end ---------------------------------------------------------------------------------------


def long_stream(server):
    body = json.dumps({
        "model": "claude-x", "max_tokens": 4000, "temperature": 0, "stream": True,
        "messages": [{"role": "user", "content": "Tell me a very long story about the sea."}],
    }).encode()
    peer = Peer(server)
    peer.send(whole(body))
    while b"content_block_delta" not in peer.data:
        assert peer.more()
    return peer


def test_sigterm_at_the_deadline_ends_streams_with_overloaded_error(start_server):
    server = start_server("--drain", "300ms")
    peer = long_stream(server)
    server.process.send_signal(signal.SIGTERM)
    _, _, raw = peer.answer()
    ended = sse.read(raw)
    if ended["type"] == "error":
        assert ended["error"]["type"] == "overloaded_error"
    else:
        pytest.fail("the answer was over before the deadline: nothing was tested")
    assert peer.is_closed()
    assert server.process.wait(5) == 0


def test_sigterm_lets_streams_finish_and_takes_no_new_work(start_server):
    server = start_server("--drain", "30s")
    body = json.dumps({
        "model": "claude-x", "max_tokens": 100, "temperature": 0, "stream": True,
        "messages": [{"role": "user", "content": "Tell me a very long story about the sea."}],
    }).encode()
    idle = Peer(server)
    idle.send(GET)
    assert idle.answer()[0] == 200
    peer = Peer(server)
    peer.send(whole(body))
    while b"content_block_delta" not in peer.data:
        assert peer.more()
    server.process.send_signal(signal.SIGTERM)
    _, _, raw = peer.answer()
    assert sse.read(raw)["stop_reason"] == "max_tokens"
    assert idle.is_closed()
    assert server.process.wait(5) == 0
    with pytest.raises(OSError):
        Peer(server)


def test_second_sigterm_ends_at_once(start_server):
    server = start_server("--drain", "60s")
    peer = long_stream(server)
    server.process.send_signal(signal.SIGTERM)
    time.sleep(0.2)
    assert server.process.poll() is None
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(5) == 0
    peer.socket.close()


def test_output_names_the_address_and_never_the_prompt(start_server):
    server = start_server("--log", "debug")
    secret = "xylophone-quartz"
    answer = server.wire.post({
        "model": "claude-x", "max_tokens": 1,
        "messages": [{"role": "user", "content": f"Say {secret}"}]},
        {"x-api-key": None, "anthropic-version": "2023-06-01"})
    assert answer.status == 200
    assert server.wire.post({}, {"Authorization": "Bearer not-a-key-37"}).status == 401
    server.stop()
    assert f"http://127.0.0.1:{server.port}" in server.output
    assert answer.headers["request-id"] in server.output
    for word in (secret, "not-a-key-37"):
        assert word not in server.output


def test_no_key_of_a_person_is_shown(start_server):
    server = start_server("--key", "my-own-secret-key")
    server.wire.key = "my-own-secret-key"
    assert server.wire.get("/v1/models").status == 200
    assert server.wire.get("/v1/models", {"Authorization": "Bearer pensieve-local-token"}).status == 401
    server.stop()
    assert "my-own-secret-key" not in server.output


def test_beyond_loopback_needs_a_key_of_ones_own(start_server):
    with pytest.raises(RuntimeError) as refused:
        start_server("--host", "0.0.0.0")
    assert "key" in str(refused.value)


def test_port_in_use_is_told(server, start_server):
    with pytest.raises(RuntimeError) as refused:
        start_server(port=server.port)
    assert str(server.port) in str(refused.value).split("\n", 1)[1]
