"""Whether the files of an index, and its stores of percepts, flow and patches, are still what they were when they were made."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from tasks.data.feature_plan import read_plan
from tasks.data.features import FeatureStore
from tasks.data.index import Index, IndexedVideo
from tasks.data.root import folder_of
from tasks.data.stores import Kind, misplaced


def verify_videos(index: Index, *, full: bool) -> Iterator[tuple[IndexedVideo, str]]:
    """Look at every file, and yield each video with what is wrong as a sentence, or "".

    Args:
        index: the set.
        full: compare checksums, not only sizes.
    """
    folder = Path(index.videos_dir)
    for video in index.videos:
        yield video, _problem(video, folder / video.path, full=full)


def verify_stores(
    index: Index, *, full: bool, kind: Kind = "percepts"
) -> Iterator[tuple[str, str]]:
    """Look at every store of a set, and yield the name of each with what is wrong as a sentence, or "".

    Args:
        index: the set.
        full: read everything and compare checksums, not only sizes and headers.
        kind: of the stores.
    """
    for folder in sorted((folder_of(index.name) / kind).glob("[!.]*")):
        try:
            problem = misplaced(index, folder.name, read_plan(folder), kind)
            if not problem:
                with FeatureStore.open(folder) as store:
                    if full:
                        store.verify()
        except (ValueError, OSError) as error:
            problem = str(error)
        yield folder.name, problem


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
