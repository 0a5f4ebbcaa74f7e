"""`harness data import-features` and `export-features`: features in the layout of the paper's own code, in and out."""

import re
import shutil
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from harness.answers import print_json, say, sentences
from harness.source import UsageError
from harness.split_words import rule_of, split_options
from harness.words import options

if TYPE_CHECKING:
    from tasks.data.feature_plan import StorePlan
    from tasks.data.hidden6 import Listing, Source
    from tasks.data.index import Index
    from tasks.data.sheet import Sheet

STREAM = re.compile(r"rgb|flow[1-9][0-9]*")
FILE = click.Path(path_type=Path)


@dataclass(frozen=True, kw_only=True, slots=True)
class NewIndex:
    """What the words say of a set that is not indexed yet."""

    classes: Path | None
    lists: Path | None
    groups: str | None
    splits: str | None
    test_share: float | None
    seed: int | None
    train_ids: tuple[Path, ...]
    test_ids: tuple[Path, ...]

    @property
    def given(self) -> tuple[str, ...]:
        """The words that were typed."""
        return tuple(
            f"--{each.name.replace('_', '-')}"
            for each in fields(self)
            if getattr(self, each.name) not in (None, ())
        )


@click.command("import-features")
@click.argument("name", metavar="NAME")
@click.option("--hdf5", required=True, type=FILE, metavar="FILE", help="Features of all frames.")
@click.option(
    "--labels",
    required=True,
    type=FILE,
    metavar="FILE",
    help="A class from 0 a line, a line a video.",
)
@click.option(
    "--num-frames",
    required=True,
    type=FILE,
    metavar="FILE",
    help="A number a line, a line a video.",
)
@click.option(
    "--names",
    type=FILE,
    metavar="FILE",
    help="A video's name a line. Without it the set must not be indexed, and groups are not known.",
)
@click.option("--dataset", default="hidden6", show_default=True, help="Of the HDF5 file.")
@click.option(
    "--dtype",
    type=click.Choice(["float16", "float32"]),
    help="Of the store.  [default: as in the HDF5 file]",
)
@click.option(
    "--stream",
    default="rgb",
    show_default=True,
    metavar="rgb|flowN",
    help="What was looked at: frames, or N fields of optical flow.",
)
@click.option(
    "--made-by",
    default="",
    metavar="TEXT",
    help="What made the features, such as 'VGG-16 fc6'. One text for two sets: one may pretrain for the other.",
)
@click.option("--classes", type=FILE, metavar="FILE", help="A class's name a line, by label.")
@click.option(
    "--lists",
    type=FILE,
    metavar="DIR",
    help="Folder of the official lists of UCF-101 or HMDB-51: classes, groups and splits.",
)
@split_options
@click.option(
    "--train-ids", type=FILE, multiple=True, metavar="FILE", help="Names to train on, of a split."
)
@click.option(
    "--test-ids",
    type=FILE,
    multiple=True,
    metavar="FILE",
    help="Names to test on. Give both once a split, in order.",
)
@options("json")
def import_features(
    name: str,
    hdf5: Path,
    labels: Path,
    num_frames: Path,
    names: Path | None,
    dataset: str,
    dtype: Literal["float16", "float32"] | None,
    stream: str,
    made_by: str,
    classes: Path | None,
    lists: Path | None,
    groups: str | None,
    splits: str | None,
    test_share: float | None,
    seed: int | None,
    train_ids: tuple[Path, ...],
    test_ids: tuple[Path, ...],
    as_json: bool,
) -> None:
    """Put features that others extracted among the percepts of NAME.

    The files are those of the paper's own code: an HDF5 file with all frames of all videos in a row, and text files with a
    line a video. If NAME is indexed, names, labels and numbers of frames must be those of its index. If it is not, and the
    features are all there is, an index without videos is made of the files. Keep made_of.json of export-features beside the
    HDF5 file: it says whose labels were seen.

    \b
    harness data import-features ucf101 --hdf5 F.h5 --labels L.txt --num-frames N.txt --names V.txt
    """  # noqa: D301 - \b is the character by which click keeps lines apart
    with sentences():
        from tasks.data.hidden6 import Source, plan_hidden6, read_listing
        from tasks.data.made_of import labels_carried
        from tasks.data.root import folder_of

        if not STREAM.fullmatch(stream):
            raise UsageError(f"--stream {stream}: use rgb, or flow and a number such as flow10")
        source = Source(
            hdf5=hdf5.expanduser(),
            labels=labels.expanduser(),
            num_frames=num_frames.expanduser(),
            names=names.expanduser() if names else None,
            dataset=dataset,
        )
        new = NewIndex(
            classes=classes, lists=lists, groups=groups, splits=splits, test_share=test_share, seed=seed,
            train_ids=train_ids, test_ids=test_ids,
        )  # fmt: skip
        try:
            folder = folder_of(name)
            listing = read_listing(source)
            index, is_new = _index(name, source, listing, new)
            videos = index.content_identity
            seen = labels_carried(source.hdf5, videos)
            made_of = {"stream": stream, "made_by": made_by, "videos": videos, **seen}
            plan = plan_hidden6(source, listing, dtype=dtype, made_of=made_of)
            store = f"{stream}-hidden6-{plan.identity[:12]}"
            _write(name, source, plan, folder / "percepts" / store)
        except ValueError as error:
            raise UsageError(str(error)) from None
        # The index comes last: a set that is listed has its features, and whoever is killed before types the same again.
        path = index.write(folder) if is_new else None
        _tell(index, plan, store, path, as_json)


def _index(name: str, source: "Source", listing: "Listing", new: NewIndex) -> tuple["Index", bool]:
    """The index that the features belong to, and whether it is a new one.

    Raises:
        ValueError: when they belong to no index, or none can be made of them.
    """
    from tasks.data.featured import difference
    from tasks.data.index import FILE, read
    from tasks.data.root import folder_of

    there = read(name) if (folder_of(name) / FILE).exists() else None
    if there is None:
        return _made(name, source, listing, new), True
    # The same words, typed again, make the same index again: then nothing is to be said against them.
    typed_again = not there.has_files and (new.given or not source.names)
    if typed_again and _made(name, source, listing, new).identity == there.identity:
        return there, False
    if not source.names:
        raise UsageError(
            f"{name} is indexed, and which row belongs to which of its videos is not told: give their names by --names FILE"
        )
    if new.given:
        raise UsageError(
            f"{name} is indexed, and its index says classes, groups and splits: leave out {', '.join(new.given)}, or import "
            "under another name"
        )
    wrong = difference(listing, there)
    if wrong:
        raise UsageError(
            f"the features are not of the videos of {name}: {wrong}; mend the files, or import under another name"
        )
    return there, False


def check_new_name(name: str, lists: Path | None) -> None:
    """See that a set may be indexed under a name.

    Raises:
        UsageError: for the name of built-in data, and for that of an official set without its lists.
    """
    from tasks.data.lists import official_counts
    from tasks.registry import DATASETS

    if name in DATASETS:
        raise UsageError(
            f"{name} is the name of built-in data, which runs would take instead: choose another name"
        )
    if official_counts(name) and not lists:
        raise UsageError(
            f"{name} is the name of an official set: give its lists by --lists DIR, or choose another name"
        )


def _made(name: str, source: "Source", listing: "Listing", new: NewIndex) -> "Index":
    """An index of features without videos."""
    from tasks.data.featured import index_of

    check_new_name(name, new.lists)
    sheet = _sheet(source, listing, new)
    rule = rule_of(sheet, new.splits, new.test_share, new.seed)
    made, problems = index_of(name, rule.apply(sheet) if rule else sheet, listing, source)
    if problems:
        more = f" ({len(problems) - 1} more such)" if len(problems) > 1 else ""
        raise UsageError(f"no index of {name} is made: {problems[0]}{more}; mend the files")
    return made


def _sheet(source: "Source", listing: "Listing", new: NewIndex) -> "Sheet":
    """What the official lists, or the files of the features themselves, say of the set."""
    from tasks.data.featured import difference, sheet_of
    from tasks.data.labels import with_groups
    from tasks.data.lists import read_lists

    sides = new.train_ids, new.test_ids
    if len(sides[0]) != len(sides[1]):
        raise UsageError(
            f"--train-ids is there {len(sides[0])} times and --test-ids {len(sides[1])} times: a split has both"
        )
    if not new.lists:
        pairs = [
            (train.expanduser(), test.expanduser()) for train, test in zip(*sides, strict=True)
        ]
        sheet = sheet_of(listing, new.classes.expanduser() if new.classes else None, pairs)
        return with_groups(sheet, new.groups) if new.groups else sheet
    for word in ("--groups", "--classes", "--train-ids"):
        if word in new.given:
            raise UsageError(f"{word} has no effect beside --lists: leave it out")
    if not source.names:
        raise UsageError("--lists name videos: say which row is which by --names FILE")
    sheet = read_lists(new.lists.expanduser())
    wrong = difference(listing, sheet)
    if wrong:
        raise UsageError(f"the features are not of the videos of {new.lists}: {wrong}")
    return sheet


def _write(name: str, source: "Source", plan: "StorePlan", folder: Path) -> None:
    from harness.data_show import Progress
    from tasks.data.feature_shards import shards_missing
    from tasks.data.hidden6 import write_hidden6

    begun = folder.exists()
    try:
        with Progress(name, len(plan.shards), "shards written") as progress:
            for _ in range(len(plan.shards) - len(shards_missing(folder, plan))):
                progress.advance()
            write_hidden6(source, plan, folder, lambda done, of: progress.advance())
    except ValueError:
        # These features will never be a store, so no part of one stays; a full disk or a kill leaves what is written.
        if not begun:
            shutil.rmtree(folder, ignore_errors=True)
        raise


def _tell(index: "Index", plan: "StorePlan", store: str, path: Path | None, as_json: bool) -> None:
    from harness.data_show import show_index, summary

    if as_json:
        print_json({**summary(index), "percepts": store, "percepts_identity": plan.identity})
        return
    if path:
        show_index(index, path)
    frames = sum(frames for shard in plan.shards for _, frames in shard)
    click.echo(
        f"percepts: {store}, {frames:,} frames of {plan.frame_size:,} numbers in {plan.dtype}"
    )
    match plan.made_of:
        case {"convnet": {"trained_on": {"set_name": set_name, "split": split}}}:
            click.echo(
                f"note: their net was trained on labels of split {split} of {set_name}, as made_of.json says: no other split of "
                "its videos is tested on them"
            )
    click.echo(f"use them: harness run fig12 --set dataset={index.name} --set percepts={store}")


@click.command("export-features")
@click.argument("name", metavar="NAME")
@click.option(
    "--percepts",
    default="",
    metavar="STORE",
    help="Which store, by the first letters of its name.  [default: the only one]",
)
@click.option(
    "--to", "folder", required=True, type=FILE, metavar="DIR", help="A folder that does not exist."
)
def export_features(name: str, percepts: str, folder: Path) -> None:
    """Write percepts of NAME in the layout of the paper's own code.

    hidden6.h5, labels.txt and num_frames.txt, and beside these names.txt and classes.txt, from which import-features makes
    the same set again, and made_of.json, by which it knows whose labels the net of the percepts has seen. Numbers stay as
    they are, bit by bit.
    """
    with sentences():
        from tasks.data.features import FeatureStore
        from tasks.data.hidden6 import export_hidden6
        from tasks.data.index import read
        from tasks.data.root import folder_of
        from tasks.data.videos import video_percepts

        folder = folder.expanduser()
        try:
            found = video_percepts(name, percepts, "--percepts")
            index = read(name)
            videos = [(each.id, each.label) for each in index.videos if each.label is not None]
            if len(videos) < len(index.videos):
                raise UsageError(
                    f"{len(index.videos) - len(videos)} of {len(index.videos)} videos of {name} have no label, and the layout "
                    "has one for every video: export a set that is labelled"
                )
            place = folder_of(name) / "percepts" / found.place
            with FeatureStore.open(place, expect=found.percepts) as store:
                store.verify()
                export_hidden6(store, folder, videos, classes=index.classes, set_name=name)
        except (ValueError, LookupError) as error:
            raise UsageError(str(error)) from None
        say(f"{name}: {len(videos):,} videos of {found.place}")
        click.echo(str(folder))
