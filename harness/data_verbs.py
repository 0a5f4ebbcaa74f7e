"""`harness data`: index a folder of videos, verify it, list what there is.

Features in and out are in `feature_verbs`, what comes from the internet is in `fetch_verb`.
Words become objects here; the work is in `tasks.data`, what people read is in `harness.data_show`.
"""

import os
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import click

from harness.answers import EXIT_FAILED, print_json, say, sentences
from harness.feature_verbs import check_new_name, export_features, import_features
from harness.fetch_verb import fetch
from harness.source import UsageError
from harness.split_words import rule_of, split_options
from harness.words import Verbs, options

if TYPE_CHECKING:
    from tasks.data.build import Matched
    from tasks.data.sheet import Sheet
    from tasks.data.survey import Surveyed

MEMORY = "examined.json"
"""Beside the index: what decoding found, so that no file is decoded twice."""


@click.group(cls=Verbs)
def data() -> None:
    """Index folders of videos, verify them, list them; fetch MNIST.

    They lie under $HARNESS_DATA (./data without it), a folder a set.

    \b
    harness data index ucf101 --videos UCF-101 --lists ucfTrainTestlist
    harness data index mine --videos clips --labels by-folder
    harness data verify ucf101
    harness data list
    harness data fetch mnist
    """  # noqa: D301 - \b is the character by which click keeps lines apart


data.add_command(import_features)
data.add_command(export_features)
data.add_command(fetch)


@data.command()
@click.argument("name", metavar="NAME")
@click.option(
    "--videos",
    "videos_dir",
    required=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder of the video files, which stay where they are.",
)
@click.option(
    "--lists",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder of the official lists of UCF-101 or HMDB-51: labels, groups and splits.",
)
@click.option(
    "--labels",
    metavar="by-folder|FILE.csv",
    help="Labels by the first folder of a file's path, or by a CSV file (video,label[,group][,split1,split2...]).",
)
@click.option("--unlabelled", is_flag=True, help="Videos without labels, to pretrain on.")
@split_options
@click.option(
    "--jobs", type=click.IntRange(min=1), help="Files decoded at once.  [default: one a core]"
)
@click.option(
    "--skip-bad", is_flag=True, help="Leave out missing and damaged files, and record that."
)
@click.option(
    "--partial",
    is_flag=True,
    help="With --lists: let the set be a part of them. Missing files are left out, counts are not checked.",
)
@options("json")
def index(
    name: str,
    videos_dir: Path,
    lists: Path | None,
    labels: str | None,
    unlabelled: bool,
    groups: str | None,
    splits: str | None,
    test_share: float | None,
    seed: int | None,
    jobs: int | None,
    skip_bad: bool,
    partial: bool,
    as_json: bool,
) -> None:
    """Decode every video of a folder once and write down what is there: NAME is what tasks will call it.

    Files that are missing, unreadable or damaged are all listed, and then nothing is written, unless --skip-bad.
    """
    with sentences():
        from tasks.data.build import assemble, check_before, check_ids, find_faults, match
        from tasks.data.root import folder_of
        from tasks.data.survey import find_videos

        sources = [bool(lists), bool(labels), unlabelled]
        if sum(sources) != 1:
            raise UsageError(
                "say where labels come from, by exactly one of --lists DIR, --labels by-folder, "
                "--labels FILE.csv and --unlabelled"
            )
        if partial and not lists:
            raise UsageError("--partial has no effect without --lists: leave it out")
        check_new_name(name, lists)
        videos_dir = videos_dir.expanduser()
        if not videos_dir.is_dir():
            raise UsageError(f"--videos {videos_dir} is no folder")
        try:
            folder = folder_of(name)
            files = find_videos(videos_dir)
            if not files:
                raise UsageError(f"--videos {videos_dir} holds no videos (.avi, .mp4, .mkv ...)")
            sheet = _sheet(files, lists, labels, groups)
            rule = rule_of(sheet, splits, test_share, seed)
            planned = rule.apply(sheet) if rule and not check_ids(sheet) else sheet
        except ValueError as error:
            raise UsageError(str(error)) from None
        matched = match(sheet, files)
        problems = check_before(name, planned, matched, partial=partial)
        if problems:
            _refuse(
                name,
                problems,
                None,
                f"{_way_out(name, partial)}; no video was decoded yet",
                as_json,
            )
        if matched.missing and not partial and not skip_bad:
            say(
                f"{len(matched.missing)} of {len(sheet.entries)} videos are not in the folder, such as {matched.missing[0].file}: "
                "no index will be written without --skip-bad; the others are decoded, and remembered"
            )
        surveyed = _survey(name, videos_dir, matched, folder / MEMORY, jobs or _cores())
        findings = find_faults(matched, surveyed)
        if not as_json:
            from harness.data_show import show_findings

            show_findings(findings, list_missing=not partial)
        blocking = (*findings.unreadable, *findings.damaged)
        if findings.missing and not partial:
            blocking = findings.bad
        if blocking and not skip_bad:
            count = f"{len(blocking)} of {len(sheet.entries)} videos are missing or damaged"
            _refuse(name, [count], findings, "mend them, or leave them out by --skip-bad", as_json)
        made, problems = assemble(
            name, videos_dir, sheet, matched, surveyed, rule=rule, partial=partial
        )
        if problems:
            _refuse(name, problems, findings, _way_out(name, partial), as_json)
        path = made.write(folder)
        from harness.data_show import show_index, summary

        if as_json:
            from harness.data_show import as_data

            print_json({**summary(made), **as_data(findings), "problems": [], "index": str(path)})
        else:
            show_index(made, path)


def _sheet(
    files: Sequence[str], lists: Path | None, labels: str | None, groups: str | None
) -> "Sheet":
    """What lists, folders or a CSV file say."""
    from tasks.data import labels as labelling
    from tasks.data.lists import read_lists

    if lists:
        if groups:
            raise UsageError("--groups has no effect beside --lists, whose names say the groups")
        return read_lists(lists.expanduser())
    if labels is None:
        sheet = labelling.unlabelled(files)
    elif labels == "by-folder":
        sheet = labelling.by_folder(files)
    elif labels.lower().endswith(".csv"):
        path = Path(labels).expanduser()
        if not path.is_file():
            raise UsageError(f"--labels {path}: there is no such file")
        sheet = labelling.from_csv(path)
    else:
        raise UsageError(f"--labels {labels}: use by-folder, or the name of a CSV file (.csv)")
    return labelling.with_groups(sheet, groups) if groups else sheet


def _survey(
    name: str, videos_dir: Path, matched: "Matched", memory: Path, jobs: int
) -> "dict[str, Surveyed]":
    from harness.data_show import Progress
    from tasks.data.survey import survey

    found = {}
    files = sorted(matched.paths.values())
    with (
        Progress(name, len(files), "videos decoded") as progress,
        closing(survey(videos_dir, files, memory=memory, jobs=jobs)) as answers,
    ):
        for path, seen in answers:
            found[path] = seen
            progress.advance()
    return found


def _refuse(
    name: str, problems: Sequence[str], findings: object, advice: str, as_json: bool
) -> None:
    """Say all that is wrong, write nothing, and leave."""
    from harness.data_show import as_data
    from tasks.data.build import Findings

    if as_json:
        found = as_data(findings) if isinstance(findings, Findings) else {}
        print_json({"name": name, **found, "problems": list(problems), "index": None})
    else:
        for problem in problems:
            say(f"- {problem}")
    say(f"harness: no index of {name} is written: {advice}")
    sys.exit(EXIT_FAILED)


def _way_out(name: str, partial: bool) -> str:
    from tasks.data.lists import official_counts

    if official_counts(name) and not partial:
        return f"mend the lists or the folder, or take a part of {name} by --partial"
    return "mend the lists or the folder"


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@data.command()
@click.argument("name", metavar="NAME")
@click.option("--full", is_flag=True, help="Compare checksums too, which reads every file.")
@options("json")
def verify(name: str, full: bool, as_json: bool) -> None:
    """Look whether files, percepts, flow and patches of an indexed set are there and of the right sizes. Exit code 1 if not."""
    with sentences():
        from harness.data_show import Progress
        from tasks.data.index import read
        from tasks.data.stores import Kind
        from tasks.data.verify import verify_stores, verify_videos

        try:
            found = read(name)
        except ValueError as error:
            raise UsageError(str(error)) from None
        problems: list[str] = []
        if found.has_files:
            with Progress(name, len(found.videos), "files looked at") as progress:
                for _, problem in verify_videos(found, full=full):
                    progress.advance()
                    if problem:
                        problems.append(problem)
        bad = len(problems)
        stores = {kind: list(verify_stores(found, full=full, kind=kind)) for kind in get_args(Kind)}
        problems += [problem for looked in stores.values() for _, problem in looked if problem]
        if as_json:
            names = {kind: [store for store, _ in looked] for kind, looked in stores.items()}
            print_json({"name": name, "videos": len(found.videos), "has_files": found.has_files, **names, "full": full, "problems": problems})  # fmt: skip
        else:
            for problem in problems:
                say(f"- {problem}")
            what = "are there, with their checksums" if full else "are there, of the right sizes"
            if found.has_files:
                number = len(found.videos)
                click.echo(f"{name}: {number - bad} of {number} files {what}")
            else:
                click.echo(f"{name}: there are no files to verify, it was made of features")
            for kind, looked in stores.items():
                if looked:
                    good = sum(not problem for _, problem in looked)
                    click.echo(f"{name}: {good} of {len(looked)} stores of {kind} {what}")
        if problems:
            sys.exit(EXIT_FAILED)


@data.command("list")
@options("json")
def list_(as_json: bool) -> None:
    """List the indexed sets: videos, classes, splits, frames, hours, what was left out, and their features."""
    with sentences():
        from harness.data_show import show_sets, summary
        from tasks.data.index import FILE, NoIndex, read_from
        from tasks.data.root import data_root

        root = data_root()
        rows, problems = [], []
        for path in sorted(root.glob(f"*/{FILE}")):
            try:
                found = read_from(path.parent)
            except NoIndex as error:
                problems.append(str(error))
                continue
            features = [
                f"{before}{each.name}"
                for kind, before in (("flow", "flow/"), ("patches", "patches/"), ("percepts", ""))
                for each in sorted((path.parent / kind).glob("[!.]*"))
                if each.is_dir()
            ]
            rows.append({**summary(found), "features": features})
        if as_json:
            print_json({"root": str(root), "sets": rows, "problems": problems})
        else:
            show_sets(root, rows)
            for problem in problems:
                say(f"- {problem}")
        if problems:
            sys.exit(EXIT_FAILED)
