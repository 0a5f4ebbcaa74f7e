"""Which labelled and unlabelled videos an experiment means by a name: built-in data, or any set that was indexed."""

from collections.abc import Sequence

from configs.knobs import did_you_mean
from tasks.data.dataset import Dataset
from tasks.data.index import Index
from tasks.registry import DATASETS, STREAMS, load


def find_dataset(name: str, percepts: str = "", knob: str = "percepts") -> Dataset:
    """Look a dataset up.

    Args:
        name: built-in data, or a set that `harness data index` has made.
        percepts: of an indexed set, the store of percepts, by the first letters of its name; empty if it has one. Of built-in
            data, the stream: "pixels" (the same as empty), "flow1" or "flow10".
        knob: what the user sets to name it, for messages.

    Raises:
        ValueError: when there is no such data, in one sentence.
    """
    if name in DATASETS:
        if percepts and percepts not in STREAMS[name]:
            have = ", ".join(STREAMS[name])
            raise ValueError(
                f"{knob}={percepts}: the built-in {name} have no percepts, they come as {have}; name one of these, or set "
                "nothing"
            )
        made: Dataset = load(STREAMS[name][percepts] if percepts else DATASETS[name])()
        return made
    known = [*DATASETS, *indexed()]
    if name not in known:
        raise ValueError(
            f"there is no dataset '{name}'{did_you_mean(name, known)} (there are: {', '.join(known)}; more with `harness "
            "data index`)"
        )
    found: Dataset = load("tasks.data.videos:video_percepts")(name, percepts, knob)
    return found


def find_labelled(
    name: str, percepts: str, knob: str, splits: Sequence[int], *, by_scale: str
) -> Dataset:
    """Look a dataset up that is trained and tested on.

    Args:
        name: as for `find_dataset`.
        percepts: as for `find_dataset`.
        knob: as for `find_dataset`.
        splits: those that are asked for.
        by_scale: the scale that asks for them; empty where the user named them.

    Raises:
        ValueError: when there is no such data, or it has no labels or not these splits.
    """
    found = find_dataset(name, percepts, knob)
    if not found.splits:
        raise ValueError(
            f"{name} has no labels and no splits: it can be pretrained on (pretrain_on={name}), not tested on"
        )
    lacking = [split for split in splits if split not in found.splits]
    if lacking and by_scale:
        have = ",".join(map(str, found.splits))
        raise ValueError(
            f"scale={by_scale} takes splits {','.join(map(str, splits))}, and {name} has {have}: add --set splits={have}"
        )
    return found


def notes_on_pretraining(labelled: Dataset, unlabelled: Dataset) -> tuple[str, ...]:
    """What a report should say where the tested videos themselves are pretrained on; nothing where others are."""
    if labelled != unlabelled or labelled.name in DATASETS:
        return ()
    return (
        f"Pretraining saw all videos of {labelled.name}, those of the test lists too, without their labels.",
    )


def check_alike(labelled: Dataset, unlabelled: Dataset) -> None:
    """See that what is learned on unlabelled frames fits the labelled ones.

    Raises:
        ValueError: when their frames are not of one kind.
    """
    if labelled.name == unlabelled.name and labelled.name in DATASETS:
        if labelled.stream != unlabelled.stream:
            raise ValueError(
                f"{unlabelled.name} as {unlabelled.stream} are not like {labelled.name} as {labelled.stream}: pretrain on the "
                "same stream"
            )
        return
    kinds = type(labelled), type(unlabelled)
    if kinds[0] is not kinds[1]:
        raise ValueError(
            f"frames of {unlabelled.name} are not like those of {labelled.name}: pretrain on videos of the same kind"
        )
    if labelled.name not in DATASETS:
        load("tasks.data.videos:check_alike")(labelled, unlabelled)


def check_same_flow(first: Dataset, other: Dataset) -> None:
    """See that stores of percepts of one set, one for each split, are made alike but for the split.

    Raises:
        ValueError: naming what differs.
    """
    if first == other:
        return
    if first.name in DATASETS:
        raise ValueError(
            f"{first.name} as {first.stream} and as {other.stream} are not one kind of flow: one row of a table needs the same in "
            "all splits"
        )
    load("tasks.data.videos:check_same_flow")(first, other)


def indexed_set(name: str) -> Index:
    """The index of a set of videos, for experiments that work on videos themselves.

    Raises:
        ValueError: when there is no such set, or it has no files, in one sentence that names those there are.
    """
    known = indexed()
    if name not in known:
        there = f"there are: {', '.join(known)}" if known else "there is none yet"
        raise ValueError(
            f"dataset='{name}' is no indexed set of videos{did_you_mean(name, known)} ({there}): index one with "
            "`harness data index NAME --videos DIR`, and name it with --set dataset=NAME"
        )
    found: Index = load("tasks.data.index:read")(name)
    if not found.has_files:
        raise ValueError(
            f"{name} was made of features and has no video files: import others with `harness data import-features`, or "
            f"index its videos with `harness data index {name} --videos DIR`"
        )
    return found


def texts(given: Sequence[str]) -> tuple[str, ...]:
    """A list of names; a single one, as Python callers write it, is a list of one."""
    return (given,) if isinstance(given, str) else tuple(given)


def built_in() -> dict[str, str]:
    """Built-in data in each of its streams, as people name them: where each is defined."""
    shown = {}
    for name, place in DATASETS.items():
        shown[name] = place
        for stream, other in STREAMS[name].items():
            if other != place:
                shown[f"{name} ({stream})"] = other
    return shown


def has_stream(name: str, stream: str) -> bool:
    """Whether built-in data come as a stream, or an indexed set has stores of percepts of it, usable or not."""
    if name in DATASETS:
        return stream in STREAMS[name]
    from tasks.data.stores import stores_in

    readable, damaged = stores_in(name, "percepts")
    return any(each.startswith(f"{stream}-") for each in (*readable, *damaged))


def indexed() -> list[str]:
    """Names of the sets of videos that were indexed."""
    from tasks.data.index import FILE
    from tasks.data.root import data_root

    return sorted(path.parent.name for path in data_root().glob(f"*/{FILE}"))
