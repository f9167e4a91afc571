"""A file server on localhost that misbehaves on demand: cut connections, ignored ranges, errors, slow starts.

with FileServer({"/a.txt": b"..."}) as server:
    server.cut["/a.txt"] = 100  # the next answer stops after so many bytes of its body
    get(server.url + "/a.txt")
    assert server.requests == [("/a.txt", None)]  # paths and Range headers in order of arrival
"""

from __future__ import annotations

import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType


class FileServer:
    """Serves `files` (path -> body) until the with block ends."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        self.cut: dict[str, int] = {}
        self.status: dict[str, list[int]] = {}  # answers to give before the file itself
        self.delay = 0.0
        self.ranges = True
        self.lengths = True  # whether answers say how long they are
        self.requests: list[tuple[str, str | None]] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server._answer(self)

            def log_message(self, format: str, *args: object) -> None:
                pass

        class Quiet(ThreadingHTTPServer):
            def handle_error(self, request: object, client_address: object) -> None:
                pass  # a client that hung up, as some tests make it

        self._server = Quiet(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> FileServer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def count(self, path: str) -> int:
        return sum(asked == path for asked, _ in self.requests)

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        wanted = handler.headers.get("Range")
        self.requests.append((handler.path, wanted))
        time.sleep(self.delay)
        if self.status.get(handler.path):
            return handler.send_error(self.status[handler.path].pop(0))
        if handler.path not in self.files:
            return handler.send_error(404)
        body = self.files[handler.path]
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and self.ranges else 0
        if start and start >= len(body):
            return handler.send_error(416)
        handler.send_response(206 if start else 200)
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        if self.lengths:
            handler.send_header("Content-Length", str(len(body) - start))
        handler.end_headers()
        end = start + self.cut.pop(handler.path) if handler.path in self.cut else len(body)
        handler.wfile.write(body[start:end])


def dead_url() -> str:
    """An address where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"
