"""UCF-101 and HMDB-51 by name only: tiny synthetic clips under every name of the official lists.

    python -m tests.official_sets DIR --lists ../shared/data/splits

writes DIR/UCF-101/<Class>/v_<Class>_g01_c01.avi and DIR/hmdb51_org/<class>/<name>.avi, 13,320 and 6,766 of them. Whoever
has the lists and not the videos can see the whole protocol run. What a clip shows tells its class, so that a classifier
has something to find; what it finds says nothing of the real sets.

A class has VARIANTS clips, encoded as the real ones are (MPEG-4 part 2 with B-frames, called XVID, in AVI). A group shows
one of them in each class, and all names of a variant are links to one file. The lists are read here in a few plain
lines, so that tests can hold the harness against them.
"""

import argparse
import os
import shutil
import sys
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import av
import numpy as np

FOLDERS = {"ucf101": "UCF-101", "hmdb51": "hmdb51_org"}
"""Folders of the two sets, called as their archives unpack."""

HEIGHT, WIDTH = 24, 32
FPS = 25
LENGTHS = (16, 18, 20, 24)
"""Frames of a class's variants: a video is one 16-frame block at stride 8, or two."""
VARIANTS = len(LENGTHS)

Lists = dict[tuple[int, str], list[str]]
"""Split and side ("train", "test", "unused") to paths such as Archery/v_Archery_g08_c01.avi."""


def read_plainly(name: str, lists: Path) -> Lists:
    """The official lists of a set, from the raw bytes of its files.

    Args:
        name: ucf101 or hmdb51.
        lists: the folder of the lists of that set.
    """
    found: Lists = {}
    for split in (1, 2, 3):
        if name == "ucf101":
            for side in ("train", "test"):
                lines = (lists / f"{side}list{split:02d}.txt").read_bytes().decode().split()
                found[split, side] = [word for word in lines if "/" in word]
            continue
        for path in sorted(lists.glob(f"*_test_split{split}.txt")):
            words = path.read_bytes().decode().split()
            for file, code in zip(words[::2], words[1::2], strict=True):
                side = {"0": "unused", "1": "train", "2": "test"}[code]
                whole = f"{path.name.partition('_test_split')[0]}/{file}"
                found.setdefault((split, side), []).append(whole)
    return found


def group_of(name: str, path: str) -> str:
    """What a video was cut from, by its name: gNN in UCF-101, in HMDB-51 all that comes before the class."""
    folder, _, file = path.partition("/")
    if name == "ucf101":
        return file.rpartition("_c")[0][-3:]
    return f"{folder}/{file.rpartition(f'_{folder}_')[0]}"


def write_set(name: str, folder: Path, lists: Path) -> int:
    """Write a clip under every name of a set; a file that is there is left alone.

    Args:
        name: ucf101 or hmdb51.
        folder: the folder of the set's classes; made where it is not there.
        lists: the folder of its official lists.

    Returns:
        How many names there are.
    """
    paths = sorted({path for each in read_plainly(name, lists).values() for path in each})
    first: dict[tuple[str, int], Path] = {}
    for path in paths:
        target = folder / path
        class_name = path.partition("/")[0]
        own = f"{class_name}, {group_of(name, path)}"
        variant = sha256(own.encode()).digest()[0] % VARIANTS
        if not target.exists():
            _link_or_write(first.get((class_name, variant)), target, class_name, variant)
        first.setdefault((class_name, variant), target)
    return len(paths)


def _link_or_write(same: Path | None, target: Path, class_name: str, variant: int) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if same is None:
        write_clip(target, class_name, variant)
        return
    try:
        os.link(same, target)
    except OSError:  # a file system without links, or too many of one file
        shutil.copyfile(same, target)


def write_clip(path: Path, class_name: str, variant: int) -> None:
    """Write the clip of a class in one of its variants, 24 x 32 pixels."""
    unfinished = path.with_name(f".{path.name}.part")
    with av.open(str(unfinished), "w", format="avi") as container:
        stream = container.add_stream("mpeg4", rate=FPS, options={"bf": "1", "qscale": "3"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.codec_tag = "XVID"
        stream.codec_context.thread_count = 1
        for image_YX in pictures(class_name, variant):
            frame = av.VideoFrame.from_ndarray(image_YX, format="gray").reformat(format="yuv420p")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    unfinished.replace(path)


def pictures(class_name: str, variant: int) -> np.ndarray:
    """Frames of a clip, uint8 (T, 24, 32): a still picture of the class, and a spot that runs over it.

    The picture is 4 rows of 4 grey squares in the middle, drawn from the class's name. The spot's way is the class's as
    well. In a variant every square is a little lighter or darker, the spot starts elsewhere, and the length is another.
    """
    random = np.random.default_rng(list(sha256(class_name.encode()).digest()))
    squares_YX = random.choice([40.0, 128.0, 215.0], (4, 4))
    step_y, step_x = random.integers(1, 4, 2)
    own = np.random.default_rng([variant, *sha256(class_name.encode()).digest()])
    squares_YX += own.normal(0, 60, (4, 4))
    start = own.integers(0, 24, 2)
    still_YX = np.pad(np.kron(squares_YX, np.ones((6, 6))), ((0, 0), (4, 4)), mode="edge")
    frames_TYX = still_YX + own.normal(0, 6, (LENGTHS[variant], HEIGHT, WIDTH))
    for number, frame_YX in enumerate(frames_TYX):
        rows = (start[0] + step_y * number + np.arange(5)) % HEIGHT
        columns = (start[1] + step_x * number + np.arange(5)) % WIDTH
        frame_YX[np.ix_(rows, columns)] += 60
    return frames_TYX.clip(0, 255).astype(np.uint8)


def main(arguments: Sequence[str]) -> int:
    """Write both sets, or those of which there are lists."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.official_sets",
        description="Tiny synthetic clips under every name of the official lists of UCF-101 and HMDB-51.",
    )
    parser.add_argument(
        "folder", type=Path, metavar="DIR", help="where UCF-101 and hmdb51_org are written"
    )
    parser.add_argument(
        "--lists",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder that holds the lists, unpacked, as ucf101 and hmdb51",
    )
    given = parser.parse_args(arguments)
    there = [name for name in FOLDERS if (given.lists / name).is_dir()]
    if not there:
        parser.error(f"{given.lists} holds neither ucf101 nor hmdb51, the folders of their lists")
    for name in there:
        number = write_set(name, given.folder / FOLDERS[name], given.lists / name)
        sys.stdout.write(f"{given.folder / FOLDERS[name]}: {number:,} clips\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
