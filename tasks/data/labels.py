"""Labels and groups of any folder of clips: from its subfolders, from a CSV file, or none."""

import csv
import io
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tasks.data.lists import BadList
from tasks.data.reading import LONGEST, quoted, read_whole, shown
from tasks.data.sheet import Entry, Sheet, Split, id_of

_SPLIT_COLUMN = re.compile(r"split(\d{0,9})", re.ASCII)


def nfc(text: str) -> str:
    """Text with composed letters: file systems disagree on whether an e with an accent is one letter or two."""
    return unicodedata.normalize("NFC", text)


def by_folder(files: Sequence[str]) -> Sheet:
    """The first folder of a file's path is its class; every video is a group of its own.

    Raises:
        BadList: when a file lies in no folder.
    """
    loose = [file for file in files if "/" not in file]
    if loose:
        raise BadList(
            f"{loose[0]} lies in no folder of a class ({len(loose)} such files): move it, or give labels by a CSV file"
        )
    classes = tuple(sorted({nfc(file).partition("/")[0] for file in files}))
    label_of = {name: label for label, name in enumerate(classes)}
    entries = [_entry(file, label=label_of[nfc(file).partition("/")[0]]) for file in files]
    return Sheet(classes=classes, entries=_sorted(entries))


def unlabelled(files: Sequence[str]) -> Sheet:
    """Videos to pretrain on, and no more; every video is a group of its own."""
    return Sheet(classes=(), entries=_sorted([_entry(file, label=None) for file in files]))


def from_csv(path: Path) -> Sheet:
    """Read labels, and groups and splits where the file has them.

    The first line names the columns: `video` (the path of a file in the folder of videos, its ending may be left out),
    `label` (the class's name; empty for an unlabelled video), and, if wanted, `group` and `split` or `split1`, `split2`
    and so on, whose values are `train`, `test` or nothing. Classes are numbered in the order of their names.

    Raises:
        BadList: names the line and what is wrong with it.
        OSError: when the file cannot be read.
    """
    try:
        text = read_whole(path).decode("utf-8-sig")  # spreadsheets put a mark in front
    except UnicodeDecodeError as error:
        raise BadList(f"{path}: byte {error.start} is not UTF-8; save it as UTF-8") from None
    except ValueError as error:
        raise BadList(str(error)) from None
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[tuple[int, list[str]]] = []
    try:
        rows.extend((reader.line_num, [nfc(cell.strip()) for cell in row]) for row in reader)
    except csv.Error as error:
        raise BadList(f"{path}, line {reader.line_num}: {error}") from None
    rows = [(number, row) for number, row in rows if any(row)]
    if not rows:
        raise BadList(f"{path} is empty: its first line is 'video,label'")
    header, split_of = _columns(path, rows[0][1])
    records: list[tuple[int, dict[str, str]]] = []
    seen: dict[str, int] = {}
    for number, row in rows[1:]:
        where = f"{path}, line {number}"
        if len(row) != len(header):
            raise BadList(
                f"{where}: {len(row)} values, but {len(header)} columns ({','.join(header)})"
            )
        record = dict(zip(header, row, strict=True))
        long = max(row, key=len)
        if len(long) > LONGEST:
            raise BadList(
                f"{where}: {len(long):,} characters are more than any path has: {quoted(long)}"
            )
        if not record["video"]:
            raise BadList(f"{where}: the video has no name")
        video = id_of(record["video"])
        if video in seen:
            raise BadList(f"{where}: {shown(video)} is on line {seen[video]} already")
        seen[video] = number
        for column in split_of:
            if record[column] not in ("train", "test", ""):
                raise BadList(
                    f"{where}: {quoted(record[column])} in column {column}: use train, test or nothing"
                )
            if record[column] and not record["label"]:
                raise BadList(f"{where}: {shown(video)} has no label, so it cannot be in a split")
        records.append((number, record))
    if not records:
        raise BadList(f"{path} has no line below its header")
    classes = tuple(sorted({record["label"] for _, record in records if record["label"]}))
    label_of = {name: label for label, name in enumerate(classes)}
    entries = [
        Entry(
            id=id_of(record["video"]),
            file=record["video"],
            label=label_of.get(record["label"]),
            group=record.get("group") or id_of(record["video"]),
        )
        for _, record in records
    ]
    splits = {
        split: Split(
            train=tuple(sorted(id_of(r["video"]) for _, r in records if r[column] == "train")),
            test=tuple(sorted(id_of(r["video"]) for _, r in records if r[column] == "test")),
        )
        for column, split in sorted(split_of.items(), key=lambda item: item[1])
    }
    return Sheet(
        classes=classes,
        entries=_sorted(entries),
        splits=splits,
        splits_from="csv" if splits else "",
    )


def with_groups(sheet: Sheet, pattern: str) -> Sheet:
    """Name the groups by a regular expression, whose one pair of parentheses is the group's name.

    It is searched in a file's name; a pattern that holds a / is searched in the path below the folder of videos.

    Raises:
        ValueError: when the pattern is none or has not one pair, or does not match a video.
    """
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise ValueError(f"--groups '{pattern}' is no regular expression: {error}") from None
    if expression.groups != 1:
        raise ValueError(
            f"--groups '{pattern}' has {expression.groups} pairs of parentheses: exactly one is the group's name"
        )
    entries, without = [], []
    for entry in sheet.entries:
        match = expression.search(entry.file if "/" in pattern else entry.file.rpartition("/")[2])
        if match and match[1]:
            entries.append(replace(entry, group=match[1]))
        else:
            without.append(entry.file)
    if without:
        raise ValueError(
            f"--groups '{pattern}' finds no group in {without[0]} ({len(without)} such videos): every video needs one"
        )
    return replace(sheet, entries=tuple(entries))


def _columns(path: Path, header: list[str]) -> tuple[list[str], dict[str, int]]:
    """The names of the columns, and which split those of splits are."""
    split_of: dict[str, int] = {}
    for column in header:
        match = _SPLIT_COLUMN.fullmatch(column)
        if match:
            split_of[column] = int(match[1] or 1)
        elif column not in ("video", "label", "group"):
            raise BadList(
                f"{path}, line 1: no column is called {quoted(column)} (columns: video, label, group, split1, split2, ...)"
            )
    for column in ("video", "label"):
        if column not in header:
            raise BadList(
                f"{path}, line 1: there is no column '{column}' (found: {shown(', '.join(header))})"
            )
    if len(set(header)) < len(header) or len(set(split_of.values())) < len(split_of):
        raise BadList(f"{path}, line 1: a column is there twice ({shown(', '.join(header))})")
    return header, split_of


def _entry(file: str, *, label: int | None) -> Entry:
    return Entry(id=id_of(nfc(file)), file=file, label=label, group=id_of(nfc(file)))


def _sorted(entries: list[Entry]) -> tuple[Entry, ...]:
    return tuple(sorted(entries, key=lambda entry: entry.id))
