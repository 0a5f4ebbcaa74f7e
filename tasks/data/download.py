"""One file from one mirror: resumed where it was cut, and known to be right before anyone takes it."""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.data.fetchable import CHUNK_BYTES, OnlineFile, what_is_wrong

if TYPE_CHECKING:
    from email.message import Message
    from http.client import HTTPResponse
    from urllib.request import Request

TIMEOUT_S = 30.0
"""Seconds without a byte, or without an answer, after which the connection counts as broken."""
TRIES = 3
"""How often in a row a mirror that had begun to send is asked again without one new byte."""
WAIT_S = 2.0
"""Seconds before it is asked again."""

OnBytes = Callable[[str, int, int], None]
"""Told a file's name, how many of its bytes are here, and of how many."""


LONGEST_REASON = 300
"""Letters of what a mirror says that are repeated."""


class MirrorFailed(Exception):
    """A mirror has not the file, or cannot be reached; in a few words."""


class _Cut(Exception):
    """The connection broke, or never came about."""


def shown(url: str) -> str:
    """A mirror's URL as people may see it, whether it is one or not: without user, password, query and fragment."""
    if url.startswith("file:"):
        return _plain(re.sub(r"^file://[^/]*@", "file://", url))
    # To the last @, as a password may hold any sign; a path that has one is shown without its beginning.
    without = re.sub(r"^([^/]*//)?.*@", r"\1", url, flags=re.DOTALL)
    return _plain(re.split(r"[?#]", without, maxsplit=1)[0])


def _plain(text: str) -> str:
    """A text that may be another's in one line: without signs that steer a terminal, and with an end."""
    line = " ".join(text.split())[:LONGEST_REASON]
    return "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in line)


def download(url: str, part: Path, file: OnlineFile, on_bytes: OnBytes) -> None:
    """Fill a part file with the right bytes, from the end of what is there already.

    Args:
        url: of the file, not of its folder; a user and password in it go to this host alone, wherever it redirects to.
        part: where the bytes go; it need not be there. It is kept when the connection breaks, and removed when it is whole and wrong.
        file: what it has to be.
        on_bytes: told how far it is.

    Raises:
        MirrorFailed: when the mirror has not the file, or cannot be reached, or stopped sending.
        OSError: when the disk is full, read-only or gone.
    """
    resumed = _size(part) > 0
    _all_bytes(url, part, file, on_bytes)
    wrong = what_is_wrong(part, file)
    if wrong and resumed:
        # The fault may lie in what was here before, such as the beginning of another mirror's file.
        part.unlink()
        _all_bytes(url, part, file, on_bytes)
        wrong = what_is_wrong(part, file)
    if wrong:
        part.unlink()
        raise MirrorFailed(f"what it sent is not the file: {wrong}")


def _all_bytes(url: str, part: Path, file: OnlineFile, on_bytes: OnBytes) -> None:
    """Ask until the mirror has no more to send: a mirror that had begun is asked again from where it stopped."""
    most, idle, begun = _size(part), 0, False

    def note(name: str, here: int, total: int) -> None:
        nonlocal begun
        begun = True
        on_bytes(name, here, total)

    while True:
        try:
            return _ask(url, part, file, note)
        except _Cut as cut:
            # A server that ignores ranges begins anew each time: only bytes never reached before are progress.
            idle = 0 if _size(part) > most else idle + 1
            most = max(most, _size(part))
            if not begun or idle >= TRIES:
                raise MirrorFailed(str(cut)) from None
        time.sleep(WAIT_S)


def _ask(url: str, part: Path, file: OnlineFile, on_bytes: OnBytes) -> None:
    """One request, from the end of the part file on (RFC 9110, sec. 14)."""
    from http.client import HTTPException
    from urllib.error import HTTPError
    from urllib.request import urlopen

    here = _size(part)
    headers = {"User-Agent": "video-lstm-harness"}
    if here:
        headers["Range"] = f"bytes={here}-"
    try:
        answer: HTTPResponse = urlopen(_request(url, headers), timeout=TIMEOUT_S)
    except HTTPError as error:
        with error:
            if error.code == 416 and here:
                return  # there is no more: the checksum tells whether this is all
            raise MirrorFailed(_plain(f"{error.code} {error.reason}")) from None
    except (OSError, HTTPException, ValueError) as error:  # ValueError: a host that cannot be one
        raise _Cut(_reason(error)) from None
    with answer:
        # 200 begins at the first byte, and so do files, which have no status.
        here = here if answer.status == 206 else 0
        total = _announced(answer.status, answer.headers, here, file)
        with _naming(part), part.open("ab" if here else "wb") as sink:
            while chunk := _receive(answer):
                here += len(chunk)
                if here > total:
                    raise MirrorFailed(f"it sends more than {total:,} bytes")
                sink.write(chunk)
                on_bytes(file.name, here, total)
    if here < total and (file.unpacked is None or answer.headers["Content-Length"]):
        raise _Cut(f"the connection ended after {here:,} of {total:,} bytes")


def _request(url: str, headers: dict[str, str]) -> "Request":
    """A request in which user and password stand where HTTP wants them (RFC 7617), and not in the URL, which errors repeat."""
    from base64 import b64encode
    from urllib.parse import unquote, urlsplit
    from urllib.request import Request

    parts = urlsplit(url)
    user, has_user, host = parts.netloc.rpartition("@")
    request = Request(parts._replace(netloc=host).geturl(), headers=headers)
    if has_user:
        name, _, password = user.partition(":")
        told = b64encode(f"{unquote(name)}:{unquote(password)}".encode()).decode()
        request.add_unredirected_header("Authorization", f"Basic {told}")
    return request


def _announced(status: int | None, headers: "Message", here: int, file: OnlineFile) -> int:
    """How many bytes the whole file has there, or may have at most where that is not said."""
    if status not in (None, 200, 206):
        raise MirrorFailed(f"it answers {status}, and not with a file")
    if status == 206 and not (headers["Content-Range"] or "").startswith(f"bytes {here}-"):
        raise MirrorFailed(
            f"asked for the bytes from {here:,} on, it sends '{_plain(str(headers['Content-Range']))}'"
        )
    length = headers["Content-Length"] or ""
    total = here + int(length) if length.isdecimal() else file.most_bytes
    if total > file.most_bytes or (file.unpacked is None and total != file.num_bytes):
        raise MirrorFailed(
            f"the file has {total:,} bytes there, and should have {file.num_bytes:,}"
        )
    return total


def _receive(answer: "HTTPResponse") -> bytes:
    from http.client import HTTPException

    try:
        return answer.read1(CHUNK_BYTES)
    except (OSError, HTTPException) as error:
        raise _Cut(_reason(error)) from None


def _reason(error: Exception) -> str:
    cause = getattr(error, "reason", error)  # of an URLError
    return _plain(str(getattr(cause, "strerror", None) or cause or type(error).__name__))


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """A disk that is full says so when written to, and does not say which file it was."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
