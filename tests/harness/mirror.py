"""A mirror on this machine that can be told to fail, and a small MNIST for it to hold."""

import gzip
import hashlib
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType

import numpy as np

from tasks.data.fetchable import Fetchable, OnlineFile, Unpacked
from tests.tasks.test_idx import idx

TRAIN, TEST = "train-images-idx3-ubyte.gz", "t10k-images-idx3-ubyte.gz"


def _glyphs(seed: int, number: int) -> bytes:
    return idx(np.random.default_rng(seed).integers(0, 16, size=(number, 9, 9)))


PLAIN = {TRAIN: _glyphs(1, 3000), TEST: _glyphs(2, 500)}
CONTENT = {name: gzip.compress(plain, mtime=0) for name, plain in PLAIN.items()}


def online_file(name: str, content: bytes, plain: bytes | None = None) -> OnlineFile:
    """What is known of a file of this content."""
    unpacked = (
        Unpacked(num_bytes=len(plain), sha256=hashlib.sha256(plain).hexdigest()) if plain else None
    )
    return OnlineFile(
        name=name,
        num_bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        unpacked=unpacked,
    )


def small_mnist(*mirrors: str) -> Fetchable:
    """What stands in the table for MNIST in these tests."""
    files = tuple(online_file(name, CONTENT[name], PLAIN[name]) for name in (TRAIN, TEST))
    return Fetchable(meaning="small MNIST", folder="mnist", files=files, mirrors=mirrors)


@dataclass
class Mirror:
    """Serves files; a context manager. Its faults can be changed while it runs."""

    files: dict[str, bytes] = field(default_factory=lambda: dict(CONTENT))
    ranges: bool = True
    """Whether it knows the Range header."""
    says_length: bool = True
    status: int = 0
    """Answer every request with this error."""
    cuts: list[int] = field(default_factory=list)
    """Close the connection after so many bytes of the body: one entry a request, from the front."""
    stall_after: int = 0
    """Fall silent at this byte of a file, until `released`; then close."""
    released: threading.Event = field(default_factory=threading.Event)
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    """Names and Range headers of all requests."""
    passwords: list[str | None] = field(default_factory=list)
    """Authorization headers of all requests."""
    moved_to: str = ""
    """Send whoever asks to this folder."""
    reason: str | None = None
    """What it says beside a status."""

    def __enter__(self) -> "Mirror":
        mirror = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                mirror._answer(self)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/mnist/"

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        name, wanted = request.path.rpartition("/")[2], request.headers["Range"]
        self.asked.append((name, wanted))
        self.passwords.append(request.headers["Authorization"])
        if self.moved_to:
            request.send_response(302)
            request.send_header("Location", f"{self.moved_to}{name}")
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        status = self.status or (200 if name in self.files else 404)
        whole = self.files.get(name, b"")
        first = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
        if status == 200 and wanted and self.ranges:
            status = 206 if first < len(whole) else 416
        request.send_response(status, self.reason)
        body = whole[first:] if status == 206 else whole if status == 200 else b""
        if status == 206:
            request.send_header("Content-Range", f"bytes {first}-{len(whole) - 1}/{len(whole)}")
        if self.says_length:
            request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        body = body[: self.cuts.pop(0)] if self.cuts else body
        if self.stall_after:
            request.wfile.write(body[: max(0, self.stall_after - first)])
            self.released.wait()
            return
        request.wfile.write(body)
