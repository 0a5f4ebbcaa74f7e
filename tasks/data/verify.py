"""Whether the files of an index are still what they were when it was made."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from tasks.data.index import Index, IndexedVideo


def verify_videos(index: Index, *, full: bool) -> Iterator[tuple[IndexedVideo, str]]:
    """Look at every file, and yield each video with what is wrong as a sentence, or "".

    Args:
        index: the set.
        full: compare checksums, not only sizes.
    """
    folder = Path(index.videos_dir)
    for video in index.videos:
        yield video, _problem(video, folder / video.path, full=full)


def _problem(video: IndexedVideo, path: Path, *, full: bool) -> str:
    try:
        size = path.stat().st_size
        if size != video.bytes:
            return f"{path} has {size} bytes, not the {video.bytes} that were indexed"
        if full:
            with path.open("rb") as source:
                digest = hashlib.file_digest(source, "sha256").hexdigest()
            if digest != video.sha256:
                return f"{path} is as long as it was and has another content"
    except FileNotFoundError:
        return f"{path} is not there"
    except OSError as error:
        return f"{path} cannot be read ({error.strerror})"
    return ""
