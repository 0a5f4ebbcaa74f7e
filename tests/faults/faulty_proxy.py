"""A proxy on loopback in front of a tracking server, which does to calls what a bad network and a bad server do.

A fault is one word or two: what happens, and whether the server carries the call out before ("after") or never sees it:
  500, drop, garbage, cut   an error; a closed connection; an answer that is no JSON; half of the answer;
  lie                       an empty answer, which MLflow's client takes for a good one;
  wait                      nothing, until `gate` is opened, and then the call goes on;
  slow                      the answer, but `slow_s` seconds later.
"""

import http.client
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

GARBAGE = b"<html><body>\xff\x00 502 this is not what you asked for</body>"


class FaultyProxy:
    """Passes calls on to a server, but for those that a plan has a fault for."""

    def __init__(self, upstream: str) -> None:
        """Start to listen on a free port.

        Args:
            upstream: HOST:PORT of the server.
        """
        self.upstream = upstream
        self.plan: Callable[[int, str, str], str] = lambda number, method, path: ""
        """Number of the call from 1 on, method and path to the fault; empty for none."""
        self.gate = threading.Event()
        self.slow_s = 0.0
        self.calls = 0
        self.faults = 0
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def follow(self, plan: Callable[[int, str, str], str]) -> None:
        """Have another plan, and count from 1 again."""
        self.plan, self.calls = plan, 0

    def close(self) -> None:
        self.gate.set()
        self._server.shutdown()
        self._server.server_close()

    def _next(self, method: str, path: str) -> str:
        with self._lock:
            self.calls += 1
            fault = self.plan(self.calls, method, path)
            self.faults += bool(fault)
            return fault

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            def do(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                what, _, when = proxy._next(self.command, self.path).partition(" ")
                if what == "wait":
                    proxy.gate.wait()
                if what == "slow":
                    time.sleep(proxy.slow_s)
                status, answer, kind = 500, b"", "application/json"
                if what in ("", "wait", "slow", "cut") or when == "after":
                    status, answer, kind = self.passed_on(body)
                if what == "500":
                    status, answer = 500, b'{"error_code": "INTERNAL_ERROR", "message": "no luck"}'
                elif what == "garbage":
                    status, answer, kind = 200, GARBAGE, "text/html"
                elif what == "lie":
                    status, answer = 200, b""
                self.close_connection = True
                if what == "drop":
                    return
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(answer)))
                self.send_header("Connection", "close")
                self.end_headers()
                self.wfile.write(answer[: len(answer) // 2] if what == "cut" else answer)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do

            def passed_on(self, body: bytes) -> tuple[int, bytes, str]:
                there = http.client.HTTPConnection(proxy.upstream, timeout=60)
                try:
                    there.request(self.command, self.path, body, dict(self.headers.items()))
                    answer = there.getresponse()
                    content = answer.read()
                    return answer.status, content, answer.headers.get("Content-Type", "")
                except (OSError, http.client.HTTPException):
                    return 502, b"", "text/plain"
                finally:
                    there.close()

            def log_message(self, *_: Any) -> None:
                pass

        return Handler


@contextmanager
def faulty_proxy(upstream: str) -> Iterator[FaultyProxy]:
    proxy = FaultyProxy(upstream)
    try:
        yield proxy
    finally:
        proxy.close()
