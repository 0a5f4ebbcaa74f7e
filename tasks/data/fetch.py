"""From a name to right files below the data root: looks what is there, asks mirrors, puts whole files into their places.

What can be fetched is in `fetchable`, one file from one mirror in `download`. Nothing here prints.
"""

import fcntl
import os
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tasks.data import writing
from tasks.data.download import MirrorFailed, OnBytes, download, shown
from tasks.data.fetchable import FETCHABLE, OnlineFile, place_of, what_is_wrong


class NotFetched(Exception):
    """A file is not there and cannot be had, or another one is in its place; in one sentence with the way out."""


class FetchBusy(Exception):
    """Another process fetches the same; nothing was changed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Fetched:
    """A right file that is in its place now."""

    name: str
    path: Path
    num_bytes: int
    mirror: str | None
    """The base URL it came from, without user and password; None where it was there before."""
    failed: tuple[tuple[str, str], ...] = ()
    """Mirrors that were asked before, each with its reason; shown in the same way."""


def check_mirror(url: str) -> str:
    """A base URL that can be asked.

    Raises:
        ValueError: when it is none: another scheme, no host, a port that is no number, a query, blanks. The sentence names it
            without user and password.
    """
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(url)
        known = parts.scheme == "file" or (
            parts.scheme in ("http", "https") and bool(parts.hostname)
        )
        usable = known and parts.port != 0 and not parts.query and not parts.fragment
        # A / in a password ends the host's part too early, and the rest of it would be asked for as a path.
        usable = usable and (parts.scheme == "file" or "@" not in parts.path)
    except ValueError:  # of a port or an IPv6 address
        usable = False
    if not usable or not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError(
            f"'{shown(url)}' is no mirror: give the URL of the folder that the files lie in, such as https://HOST/mnist or "
            "file:///FOLDER, without blanks, '?' and '#'; a /, ?, # or @ of a password is written %2F, %3F, %23 or %40"
        )
    return url


def fetch(
    name: str,
    *,
    mirrors: Sequence[str] = (),
    again: bool = False,
    on_bytes: OnBytes = lambda name, here, total: None,
) -> Generator[Fetched, None, None]:
    """Fetch what is not there yet; each file is yielded when it is in its place.

    Args:
        name: one of FETCHABLE.
        mirrors: base URLs to ask instead of the known ones.
        again: fetch what is there too, and replace it, whatever it is.
        on_bytes: told how far a file is.

    Raises:
        NotFetched: when another file is in a place, and then nothing was asked for; or when all mirrors failed.
        FetchBusy: when another process fetches the same.
        ValueError: when a mirror's URL is none.
        OSError: when the disk is full, read-only or gone. NAME.part is kept, and the next call goes on from its end.
    """
    wanted = FETCHABLE[name]
    folder = place_of(name)
    asked = [check_mirror(each) for each in mirrors or wanted.mirrors]
    # Looking needs no lock and writes nothing: whoever may only read a shared folder can ask whether all is there.
    there = [_in_place(folder, file, again=again) for file in wanted.files]
    if None not in there:
        yield from filter(None, there)
        return
    with _alone(folder, name):
        for file in wanted.files:
            found = _in_place(folder, file, again=again)
            if found is None:
                found = _from_mirrors(folder, file, asked, on_bytes)
            yield found


@contextmanager
def _alone(folder: Path, name: str) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f".{name}.lock").open("a", encoding="utf-8") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FetchBusy(
                f"another `harness data fetch {name}` is at work in {folder}: wait for it, then type the same again"
            ) from None
        yield


def _in_place(folder: Path, file: OnlineFile, *, again: bool) -> Fetched | None:
    """The right file where it is already; None where it has to be fetched."""
    path = folder / file.name
    if file.unpacked:
        plain = path.with_suffix("")
        if plain.exists():  # it would be read instead of the packed one
            wrong = what_is_wrong(plain, file)
            if wrong:
                raise NotFetched(
                    f"{plain} is in the way: it would be read instead of {path.name}, and {wrong}; move it away"
                )
            path = plain
    if again or not path.exists():
        return None
    wrong = what_is_wrong(path, file)
    if wrong:
        raise NotFetched(
            f"{path} is there and is not the file that is wanted: {wrong}; move it away, or replace it by --again"
        )
    return Fetched(name=path.name, path=path, num_bytes=path.stat().st_size, mirror=None)


def _from_mirrors(folder: Path, file: OnlineFile, mirrors: list[str], on_bytes: OnBytes) -> Fetched:
    """Fetch a file; the mirror that had it becomes the first: it answers, and others may take their time to fail."""
    path, part = folder / file.name, folder / f"{file.name}.part"
    failed: list[tuple[str, str]] = []
    for base in tuple(mirrors):
        url = f"{base.rstrip('/')}/{file.name}"
        try:
            download(url, part, file, on_bytes)
        except MirrorFailed as reason:
            failed.append((shown(base), str(reason)))
            continue
        with part.open("r+b") as whole:
            os.fsync(whole.fileno())
        num_bytes = part.stat().st_size
        writing.rename(part, path)
        mirrors.remove(base)
        mirrors.insert(0, base)
        return Fetched(
            name=file.name, path=path, num_bytes=num_bytes, mirror=shown(base), failed=tuple(failed)
        )
    reasons = "; ".join(f"{base}: {reason}" for base, reason in failed)
    raise NotFetched(
        f"{file.name} could not be fetched ({reasons}): name another mirror by --mirror URL, or get the file by other means, "
        f"place it in {folder} and type the same again, which checks it"
    )
