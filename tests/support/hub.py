"""A model hub in Hugging Face's layout on this machine, which misbehaves as it is told."""

import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

REPO = "org/model"


def blob_sha1(data):
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def entry(path, data, lfs=None):
    """A file as the listing has it: large ones (lfs) with their sha256."""
    item = {"type": "file", "path": path, "size": len(data), "oid": blob_sha1(data)}
    if lfs if lfs is not None else len(data) > 1000:
        item["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data)}
    return item


class Hub:
    """files: path -> bytes. twists: path -> functions, one for each next request of that path; a
    function gets the handler and the data and answers itself. listing: instead of the true one."""

    def __init__(self, files, repo=REPO, page=1000):
        self.files, self.repo, self.page = dict(files), repo, page
        self.twists, self.listing, self.requests = {}, None, []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args):
                pass

            def do_GET(self):
                hub.answer(self)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def got(self, path):
        """The requests for a file: their headers."""
        return [headers for p, headers in self.requests if p.endswith("/" + path)]

    def twist(self, path, *functions):
        self.twists.setdefault(path, []).extend(functions)

    def answer(self, handler):
        path = urlsplit(handler.path).path
        self.requests.append((unquote(path), {k.lower(): v for k, v in handler.headers.items()}))
        if re.fullmatch(f"/api/models/{self.repo}/tree/[^/]+", path):
            name, data = "", None
        elif found := re.fullmatch(rf"/{self.repo}/resolve/[^/]+/(.+)", path):
            name = unquote(found[1])
            data = self.files.get(name)
        else:
            return status(404)(handler, b"")
        if self.twists.get(name):
            return self.twists[name].pop(0)(handler, data)
        if data is None and name:
            return status(404)(handler, b"")
        return plain(handler, data) if name else self.tree(handler)

    def tree(self, handler):
        items = self.listing
        if items is None:
            items = [entry(path, data) for path, data in self.files.items()]
            items.append({"type": "directory", "path": "folder", "oid": "0" * 40, "size": 0})
        if isinstance(items, bytes):
            return send(handler, 200, items)
        found = re.search(r"cursor=(\d+)", handler.path)
        at = int(found[1]) if found else 0
        more = at + self.page < len(items)
        # The link names another place on purpose: only its query may be used.
        link = {"Link": f'<https://elsewhere.invalid/x?recursive=true&cursor={at + self.page}>; '
                        'rel="next"'} if more else {}
        return send(handler, 200, json.dumps(items[at:at + self.page]).encode(), link)


def send(handler, code, data, headers=None, length=None):
    handler.send_response(code)
    for name, value in (headers or {}).items():
        handler.send_header(name, value)
    handler.send_header("Content-Length", str(len(data) if length is None else length))
    handler.end_headers()
    handler.wfile.write(data)


def start_of(handler):
    found = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range", ""))
    return int(found[1]) if found else 0


def plain(handler, data):
    """As it should be: 200, or 206 for a range."""
    start = start_of(handler)
    if not start:
        return send(handler, 200, data)
    if start >= len(data):
        return send(handler, 416, b"")
    return send(handler, 206, data[start:],
                {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"})


# --- twists ----------------------------------------------------------------------------------------


def status(code, headers=None):
    return lambda handler, data: send(handler, code, b"{}", headers)


def redirect(url):
    return lambda handler, data: send(handler, 302, b"moved", {"Location": url})


def cut(n):
    """n bytes of what it promises, then the end of the connection."""
    def twist(handler, data):
        start = start_of(handler)
        headers = {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"} if start else {}
        send(handler, 206 if start else 200, data[start:start + n], headers, len(data) - start)
        handler.close_connection = True
    return twist


def stall(n, seconds=30):
    def twist(handler, data):
        send(handler, 200, data[:n], length=len(data))
        handler.wfile.flush()
        threading.Event().wait(seconds)
        handler.close_connection = True
    return twist


def garbage(handler, data):
    """As many bytes, but others."""
    plain(handler, bytes(b ^ 1 for b in data))


def ignore_range(handler, data):
    send(handler, 200, data)


def wrong_range(first):
    def twist(handler, data):
        send(handler, 206, data[first:],
             {"Content-Range": f"bytes {first}-{len(data) - 1}/{len(data)}"})
    return twist


def other_size(handler, data):
    send(handler, 200, data + b"more")


def endless(handler, data):
    """Chunked: no length is told, and there is more than the listing says."""
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    for piece in (data, b"more"):
        handler.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
    handler.wfile.write(b"0\r\n\r\n")
