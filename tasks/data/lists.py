"""The official lists of UCF-101 and HMDB-51, as their authors publish them.

UCF-101: `classInd.txt` ("1 ApplyEyeMakeup"), and per split `trainlist01.txt` ("Archery/v_Archery_g08_c01.avi 3") and
`testlist01.txt` (without labels). Labels count from 1 there and from 0 here. A group is the gNN of a file's name, taken
across all classes: the official lists keep even that apart.

HMDB-51: per class and split `<class>_test_split1.txt` ("name.avi 1"): 1 trains, 2 tests, 0 is unused in that split. A
group is the class and the video that a clip was cut from. Names read `<source>_<class>_<body>_<camera>_np<people>_
<view>_<quality>_<number>.avi`, so the source is all that comes before the class and those six parts. Within a class the
official lists keep sources apart in all three splits; between classes they do not (from one film, a run may train and a
walk may test), which is why the class is part of the group.
"""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tasks.data.reading import LONGEST, quoted, read_whole, shown
from tasks.data.sheet import Entry, Sheet, Split, SplitsFrom, id_of

_UCF_LIST = re.compile(r"(train|test)list(\d+)\.txt")
_UCF_GROUP = re.compile(r"_(g\d+)_c\d+$")
_HMDB_LIST = re.compile(r"(.+)_test_split(\d+)\.txt")
_HMDB_PARTS = re.compile(r"_[a-z]_(?:cm|nm)_np\d+_[a-z]+_[a-z]+_\d+$")
_HMDB_CODES = ("0", "1", "2")


class BadList(ValueError):
    """Lists or labels that cannot be understood; the sentence names the file and the line."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OfficialCounts:
    """How many videos a published set has."""

    videos: int
    classes: int
    splits: Mapping[int, tuple[int, int]]
    """Split to the lengths of its training and its test list."""
    per_class: tuple[int, int] | None
    """Training and test videos of every class, where they are the same for all."""


_OFFICIAL = {
    "ucf101": OfficialCounts(
        videos=13_320,
        classes=101,
        splits={1: (9537, 3783), 2: (9586, 3734), 3: (9624, 3696)},
        per_class=None,
    ),
    "hmdb51": OfficialCounts(
        videos=6_766,
        classes=51,
        splits=dict.fromkeys((1, 2, 3), (51 * 70, 51 * 30)),
        per_class=(70, 30),
    ),
}


def official_counts(name: str) -> OfficialCounts | None:
    """What a set of this name must count (Soomro et al. 2012; Kuehne et al. 2011); None for any other name."""
    return _OFFICIAL.get(name)


def read_lists(folder: Path) -> Sheet:
    """Read a folder of official lists, of whichever of the two formats it holds.

    Raises:
        BadList: when the folder holds neither, or a line is not of its format.
        OSError: when a file cannot be read.
    """
    if not folder.is_dir():
        raise BadList(f"{folder} is no folder: --lists takes the folder of the official lists")
    if (folder / "classInd.txt").is_file():
        return _read_ucf101(folder)
    if any(_HMDB_LIST.fullmatch(path.name) for path in folder.iterdir()):
        return _read_hmdb51(folder)
    raise BadList(
        f"{folder} holds no lists: UCF-101's are classInd.txt, trainlist01.txt and testlist01.txt, "
        "HMDB-51's are <class>_test_split1.txt"
    )


def _read_ucf101(folder: Path) -> Sheet:
    numbers: dict[str, str] = {}
    for where, line in _lines(folder / "classInd.txt"):
        number, _, name = line.partition(" ")
        if number != str(len(numbers) + 1) or not name.strip() or name.strip() in numbers:
            raise BadList(
                f"{where}: {quoted(line)} is not '{len(numbers) + 1} CLASS' with a new class; classes count from 1"
            )
        numbers[name.strip()] = number
    classes = tuple(numbers)
    files: dict[str, Entry] = {}
    sides: dict[int, dict[str, list[str]]] = {}
    for path in sorted(folder.iterdir()):
        match = _UCF_LIST.fullmatch(path.name)
        if not match:
            continue
        side, split = match[1], int(match[2])
        ids = sides.setdefault(split, {"train": [], "test": []})[side]
        for where, line in _lines(path):
            file, label = line, ""
            if side == "train":
                file, _, label = line.rpartition(" ")
            name = file.partition("/")[0]
            if name not in numbers or "/" not in file:
                raise BadList(
                    f"{where}: {quoted(line)} does not begin with a class of classInd.txt and a /"
                )
            if side == "train" and label != numbers[name]:
                raise BadList(
                    f"{where}: {quoted(line)} should end with {numbers[name]}, the number of {name} in classInd.txt"
                )
            video = id_of(file)
            group = _UCF_GROUP.search(video)
            entry = Entry(
                id=video,
                file=file,
                label=int(numbers[name]) - 1,
                group=group[1] if group else video,
            )
            files.setdefault(video, entry)
            ids.append(video)
    return _sheet(folder, "ucf101", classes, files, sides)


def _read_hmdb51(folder: Path) -> Sheet:
    found = {match: path for path in folder.iterdir() if (match := _HMDB_LIST.fullmatch(path.name))}
    classes = tuple(sorted({match[1] for match in found}))
    label_of = {name: label for label, name in enumerate(classes)}
    files: dict[str, Entry] = {}
    sides: dict[int, dict[str, list[str]]] = {}
    for match, path in sorted(found.items(), key=lambda item: item[1].name):
        name, split = match[1], int(match[2])
        both = sides.setdefault(split, {"train": [], "test": []})
        for where, line in _lines(path):
            file, _, code = line.rpartition(" ")
            if not file or code not in _HMDB_CODES:
                raise BadList(
                    f"{where}: {quoted(line)} is not 'NAME CODE' with the code 0 (unused), 1 (train) or 2 (test)"
                )
            video = f"{name}/{id_of(file.strip())}"
            files.setdefault(
                video,
                Entry(
                    id=video,
                    file=f"{name}/{file.strip()}",
                    label=label_of[name],
                    group=f"{name}/{hmdb51_source(video.partition('/')[2], name)}",
                ),
            )
            if code != "0":
                both["train" if code == "1" else "test"].append(video)
    return _sheet(folder, "hmdb51", classes, files, sides)


def hmdb51_source(name: str, class_name: str) -> str:
    """The video that an HMDB-51 clip was cut from, by the clip's name; the name itself where it is built otherwise."""
    parts = _HMDB_PARTS.search(name)
    stem = name[: parts.start()] if parts else ""
    return stem.removesuffix(f"_{class_name}") if stem.endswith(f"_{class_name}") else name


def _sheet(
    folder: Path,
    splits_from: SplitsFrom,
    classes: tuple[str, ...],
    files: Mapping[str, Entry],
    sides: Mapping[int, Mapping[str, list[str]]],
) -> Sheet:
    for split, both in sides.items():
        for side in ("train", "test"):
            ids = both[side]
            if not ids:
                raise BadList(
                    f"{folder}: split {split} has no {side} list; a split has one to train and one to test"
                )
            video, times = Counter(ids).most_common(1)[0]
            if times > 1:
                raise BadList(
                    f"{folder}: {shown(video)} is {times} times on the {side} list of split {split}"
                )
    if not sides:
        raise BadList(f"{folder}: there is no list of a split beside classInd.txt")
    return Sheet(
        classes=classes,
        entries=tuple(sorted(files.values(), key=lambda entry: entry.id)),
        splits={
            split: Split(train=tuple(sorted(both["train"])), test=tuple(sorted(both["test"])))
            for split, both in sorted(sides.items())
        },
        splits_from=splits_from,
    )


def _lines(path: Path) -> list[tuple[str, str]]:
    """Where and what: the lines that are not empty, line ends of any system."""
    try:
        text = read_whole(path).decode()
    except UnicodeDecodeError as error:
        raise BadList(f"{path}: byte {error.start} is not UTF-8; save the list as UTF-8") from None
    except ValueError as error:
        raise BadList(str(error)) from None
    lines = [
        (f"{path}, line {number}", line.strip())
        for number, line in enumerate(text.splitlines(), 1)
        if line.strip()
    ]
    for where, line in lines:
        if len(line) > LONGEST:
            raise BadList(
                f"{where}: {len(line):,} characters are more than any path has: {quoted(line)}"
            )
    return lines
