"""From lists and files to an index: which file is which video, what is missing or damaged, and what remains."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tasks.data import splits as rules
from tasks.data.check import check_lists
from tasks.data.index import Index, IndexedVideo, LeftOut, check
from tasks.data.labels import nfc
from tasks.data.lists import official_counts
from tasks.data.sheet import Entry, Sheet, Split, id_of
from tasks.data.survey import Surveyed

SHORT_FRAMES = 16
"""Frames of the paper's blocks (sec. 3.3): a shorter video has one block, its last frame held."""
SHOWN = 5
"""Files that a note names before it only counts; index.json has them all, with reasons."""
SPLITS_SHOWN = 10
"""Splits of which a note says the group that they test before it only counts."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """How splits are made where no list says them."""

    leave_one_group_out: bool = False
    num_splits: int = 3
    test_share: float = 0.3
    seed: int = 0

    def apply(self, sheet: Sheet) -> Sheet:
        """The sheet with splits.

        Raises:
            ValueError: when the rule cannot be applied to these groups.
        """
        if self.leave_one_group_out:
            splits, groups = rules.leave_one_group_out(sheet.entries)
            named = [
                f"{split} tests {group}"
                for split, group in list(zip(splits, groups, strict=True))[:SPLITS_SHOWN]
            ]
            more = f" and {len(groups) - len(named)} more" if len(groups) > len(named) else ""
            notes = [f"splits leave one group out: {', '.join(named)}{more}"]
            # A video that no one named a group for carries its own id as the group's name.
            if all(entry.group == entry.id for entry in sheet.entries if entry.label is not None):
                notes.append(
                    "no groups were given, so every video is a group of its own: near-copies of a tested video may be trained on"
                )
            return replace(
                sheet,
                splits=splits,
                splits_from="leave-one-group-out",
                notes=(*sheet.notes, *notes),
            )
        groups_of: defaultdict[int, set[str]] = defaultdict(set)
        for entry in sheet.entries:
            if entry.label is not None:
                groups_of[entry.label].add(entry.group)
        alone = [each for label, each in enumerate(sheet.classes) if len(groups_of[label]) < 2]
        if alone:
            raise ValueError(
                f"class {alone[0]} has one group only ({len(alone)} such classes), which cannot be trained and tested on: "
                "give it videos of another source, name groups otherwise by --groups, or index it as --unlabelled"
            )
        drawn = rules.draw(
            sheet.entries, num_splits=self.num_splits, test_share=self.test_share, seed=self.seed
        )
        shares = [len(each.test) / len(each.train + each.test) for each in drawn.values()]
        # Rounded before they are compared: 0.25 to 0.25 would say nothing.
        least, most = f"{min(shares):.2f}", f"{max(shares):.2f}"
        came_out = least if least == most else f"{least} to {most}"
        note = (
            f"splits are drawn by group: test share {self.test_share:g} asked, {came_out} drawn, "
            f"seed {self.seed}"
        )
        return replace(sheet, splits=drawn, splits_from="drawn", notes=(*sheet.notes, note))


@dataclass(frozen=True, kw_only=True, slots=True)
class Matched:
    """Which file is which video."""

    paths: Mapping[str, str]
    """Id to the path of its file."""
    missing: tuple[Entry, ...]
    """Videos without a file."""
    extra: tuple[str, ...]
    """Files that are no video of the sheet."""
    problems: tuple[str, ...]
    """Files that could be either of two videos, or videos that could be either of two files."""


def match(sheet: Sheet, files: Sequence[str]) -> Matched:
    """Find the file of every video of a sheet.

    A file is looked for where the sheet says; else at that place with another ending; else anywhere by its name, with
    or without the ending, if there is one such file only. So lists fit a folder that was flattened or converted.
    """
    exact = {nfc(file): file for file in files}
    by_id: defaultdict[str, list[str]] = defaultdict(list)
    by_name: defaultdict[str, list[str]] = defaultdict(list)
    for file in files:
        by_id[id_of(nfc(file))].append(file)
        by_name[id_of(nfc(file)).rpartition("/")[2]].append(file)
    paths: dict[str, str] = {}
    missing, problems = [], []
    for entry in sheet.entries:
        wanted = nfc(entry.file)
        found = (
            ([exact[wanted]] if wanted in exact else [])
            or by_id.get(id_of(wanted), [])
            or by_name.get(id_of(wanted).rpartition("/")[2], [])
        )
        if len(found) == 1:
            paths[entry.id] = found[0]
        elif found:
            problems.append(
                f"{entry.file} could be any of {len(found)} files of one name: {', '.join(found[:3])}"
            )
        else:
            missing.append(entry)
    owners: defaultdict[str, list[str]] = defaultdict(list)
    for video, path in paths.items():
        owners[path].append(video)
    problems += [
        f"{path} is the only file for {len(videos)} videos: {', '.join(videos[:3])}"
        for path, videos in owners.items()
        if len(videos) > 1
    ]
    extra = tuple(file for file in files if file not in owners)
    return Matched(paths=paths, missing=tuple(missing), extra=extra, problems=tuple(problems))


def check_ids(sheet: Sheet) -> tuple[str, ...]:
    """Files that would be one video, as their names differ by no more than the ending; a sentence each."""
    files: defaultdict[str, list[str]] = defaultdict(list)
    for entry in sheet.entries:
        files[entry.id].append(entry.file)
    return tuple(
        f"{' and '.join(sorted(same))} would both be the video {video}: rename all but one"
        for video, same in files.items()
        if len(same) > 1
    )


def check_before(name: str, sheet: Sheet, matched: Matched, *, partial: bool) -> tuple[str, ...]:
    """What is wrong whatever the files hold: known before hours are spent on decoding them.

    What `check_ids` and `tasks.data.check.check_lists` say of the sheet; files that could be either of two videos; and classes of which
    no video is in the folder, unless the set may be partial.
    """
    problems = list(check_ids(sheet))
    if problems:
        return tuple(problems)
    problems = list(
        check_lists(
            name,
            sheet.classes,
            sheet.entries,
            sheet.splits,
            sheet.splits_from,
            partial=partial,
        )
    )
    problems += matched.problems
    if sheet.entries and not matched.paths:
        problems.append(
            f"none of the {len(sheet.entries)} videos is in the folder (the first would be {sheet.entries[0].file})"
        )
    elif not partial:
        present = {entry.label for entry in sheet.entries if entry.id in matched.paths}
        expected = Counter(entry.label for entry in sheet.entries)
        problems += [
            f"class {each} is in the lists and not in the folder: none of its {expected[label]} videos is there"
            for label, each in enumerate(sheet.classes)
            if expected[label] and label not in present
        ]
    return tuple(problems)


@dataclass(frozen=True, kw_only=True, slots=True)
class Findings:
    """Files that a person should know of; the first three kinds are in the way of an index."""

    missing: tuple[str, ...]
    unreadable: tuple[LeftOut, ...]
    """Files from which no frame can be decoded."""
    damaged: tuple[LeftOut, ...]
    """Files that hold less than they claim, or what they hold is corrupt."""
    extra: tuple[str, ...]
    short: tuple[str, ...]
    """Whole files of fewer frames than a block."""

    @property
    def bad(self) -> tuple[LeftOut, ...]:
        """What a set has to do without, each with its reason."""
        absent = [LeftOut(path=path, reason="it is not in the folder") for path in self.missing]
        return (*absent, *self.unreadable, *self.damaged)


def find_faults(matched: Matched, surveyed: Mapping[str, Surveyed]) -> Findings:
    """Sort what a survey (by path) found into kinds."""
    unreadable: list[LeftOut] = []
    damaged: list[LeftOut] = []
    short: list[str] = []
    for path in sorted(matched.paths.values()):
        seen = surveyed[path].examined
        if seen.problem:
            kind = damaged if seen.num_frames else unreadable
            kind.append(LeftOut(path=path, reason=seen.problem))
        elif seen.num_frames < SHORT_FRAMES:
            short.append(path)
    return Findings(
        missing=tuple(entry.file for entry in matched.missing),
        unreadable=tuple(unreadable),
        damaged=tuple(damaged),
        extra=matched.extra,
        short=tuple(short),
    )


def assemble(
    name: str,
    videos_dir: Path,
    sheet: Sheet,
    matched: Matched,
    surveyed: Mapping[str, Surveyed],
    *,
    rule: Rule | None,
    partial: bool,
) -> tuple[Index, tuple[str, ...]]:
    """The index of what is there and whole, and what `check` says of it.

    Videos that are missing, unreadable or damaged leave the lists as well; a rule, if there is one, makes its splits of
    those that are left. A class of a partial set goes when none of its videos is left, and the classes after it move up.
    """
    findings = find_faults(matched, surveyed)
    bad = {each.path for each in findings.bad}
    kept = [
        entry
        for entry in sheet.entries
        if entry.id in matched.paths and matched.paths[entry.id] not in bad
    ]
    broken: list[str] = []
    if rule:
        try:
            sheet = rule.apply(replace(sheet, entries=tuple(kept)))
        except ValueError as error:
            broken.append(str(error))
    labels = list(range(len(sheet.classes)))
    notes = list(sheet.notes)
    if partial:
        alive = {entry.label for entry in kept}
        gone = [sheet.classes[label] for label in labels if label not in alive]
        labels = [label for label in labels if label in alive]
        if gone:
            notes.append(f"classes without videos, left out: {', '.join(gone)}")
        if official_counts(name):
            notes.append(
                f"this is a part of {name}: {len(kept)} of its {len(sheet.entries)} videos; "
                "compare with no published number"
            )
    if findings.bad:
        named = ", ".join(each.path for each in findings.bad[:SHOWN])
        more = f" and {len(findings.bad) - SHOWN} more" if len(findings.bad) > SHOWN else ""
        notes.append(
            f"left out: {len(findings.bad)} of {len(kept) + len(findings.bad)} videos, missing or damaged: {named}{more}"
        )
    ids = {entry.id for entry in kept}
    index = Index(
        name=name,
        videos_dir=str(videos_dir.resolve()),
        classes=tuple(sheet.classes[label] for label in labels),
        videos=tuple(
            _video(entry, labels, matched.paths[entry.id], surveyed[matched.paths[entry.id]])
            for entry in kept
        ),
        splits={
            number: Split(
                train=tuple(video for video in split.train if video in ids),
                test=tuple(video for video in split.test if video in ids),
            )
            for number, split in sheet.splits.items()
        },
        splits_from=sheet.splits_from,
        partial=partial,
        left_out=findings.bad,
        notes=tuple(notes),
    )
    return index, (*broken, *check(index))


def _video(entry: Entry, labels: Sequence[int], path: str, seen: Surveyed) -> IndexedVideo:
    found = seen.examined
    return IndexedVideo(
        id=entry.id,
        path=path,
        label=None if entry.label is None else labels.index(entry.label),
        group=entry.group,
        num_frames=found.num_frames,
        fps=round(found.fps, 6),
        height=found.height,
        width=found.width,
        bytes=seen.bytes,
        sha256=seen.sha256,
    )
