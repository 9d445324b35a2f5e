"""A server elsewhere, on this machine, over raw sockets: each answer is played by a function, so that it can
be slow, break off, or be no HTTP at all."""

import json
import socket
import ssl
import threading

HEAD = "HTTP/1.1 {} X\r\n{}\r\n"


class Request:
    """One that came, and its connection to play the answer on."""

    def __init__(self, method, path, headers, body, connection):
        self.method, self.path, self.headers, self.raw = method, path, headers, body
        self.connection = connection

    @property
    def body(self):
        return json.loads(self.raw)

    def send(self, data):
        self.connection.sendall(data if isinstance(data, bytes) else data.encode())

    def head(self, status=200, kind="text/event-stream", **headers):
        lines = {"content-type": kind, "connection": "close", **{k.replace("_", "-"): v for k, v in headers.items()}}
        self.send(HEAD.format(status, "".join(f"{k}: {v}\r\n" for k, v in lines.items())))

    def reply(self, value, status=200, **headers):
        self.head(status, "application/json", **headers)
        self.send(json.dumps(value))

    def events(self, *values):
        """Anthropic's with their names, OpenAI's without."""
        for value in values:
            name = f"event: {value['type']}\n" if "type" in value else ""
            self.send(f"{name}data: {json.dumps(value)}\n\n")

    def closed(self, seconds=10.0):
        """Whether the other side goes away in time."""
        self.connection.settimeout(seconds)
        try:
            return self.connection.recv(1) == b""
        except ConnectionResetError:
            return True
        except TimeoutError:
            return False


class Upstream:
    """plays: functions of a Request, one for each next POST; the last one stays. `requests` came."""

    def __init__(self, tls=None):
        self.tls = tls                  # an ssl.SSLContext
        self.plays, self.requests, self.errors = [], [], []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def play(self, *functions):
        self.plays, self.requests = list(functions), []

    def close(self):
        self.listener.close()

    def _accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        with connection:
            try:
                if self.tls:
                    connection = self.tls.wrap_socket(connection, server_side=True)
                request = self._read(connection)
                if request.method == "GET":
                    request.reply({"data": []})
                    return
                self.requests.append(request)
                play = self.plays[0] if len(self.plays) == 1 else self.plays.pop(0)
                play(request)
            except (ConnectionError, ssl.SSLError):
                pass                    # it went away
            except Exception as error:  # noqa: BLE001 - shown by the test
                self.errors.append(error)

    @staticmethod
    def _read(connection):
        data = b""
        while b"\r\n\r\n" not in data:
            more = connection.recv(65536)
            if not more:
                raise ConnectionError
            data += more
        head, body = data.split(b"\r\n\r\n", 1)
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {k.lower(): v.strip() for k, v in (line.split(":", 1) for line in lines)}
        while len(body) < int(headers.get("content-length", 0)):
            more = connection.recv(65536)
            if not more:
                raise ConnectionError
            body += more
        method, path, _ = first.split(" ")
        return Request(method, path, headers, body, connection)


# ---- OpenAI's chunks ----


def delta(**fields):
    return {"choices": [{"index": 0, "delta": fields}]}


def end(reason="stop", **more):
    return {"choices": [{"index": 0, "delta": {}, "finish_reason": reason, **more}]}


def says(*words, reason="stop"):
    """A play: an answer of these words."""

    def play(request):
        request.head()
        request.events(*(delta(content=word) for word in words), end(reason))
        request.events({"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": len(words)}})
        request.send("data: [DONE]\n\n")

    return play


def refuses(status, message="no", **headers):
    return lambda request: request.reply({"error": {"message": message}}, status, **headers)
