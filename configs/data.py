"""Which labelled and unlabelled videos an experiment means by a name: built-in data, or any set that was indexed."""

from collections.abc import Sequence

from configs.knobs import did_you_mean
from tasks.data.dataset import Dataset
from tasks.data.index import Index
from tasks.registry import DATASETS, load


def find_dataset(name: str, percepts: str = "") -> Dataset:
    """Look a dataset up.

    Args:
        name: built-in data, or a set that `harness data index` has made.
        percepts: of an indexed set, the store of percepts, by the first letters of its name; empty if it has one.

    Raises:
        ValueError: when there is no such data, in one sentence.
    """
    if name in DATASETS:
        if percepts:
            raise ValueError(f"percepts={percepts}: {name} are used as they are; leave it out")
        made: Dataset = load(DATASETS[name])()
        return made
    known = [*DATASETS, *indexed()]
    if name not in known:
        raise ValueError(
            f"there is no dataset '{name}'{did_you_mean(name, known)} (there are: {', '.join(known)}; more with `harness "
            "data index`)"
        )
    found: Dataset = load("tasks.data.videos:video_percepts")(name, percepts)
    return found


def check_alike(labelled: Dataset, unlabelled: Dataset) -> None:
    """See that what is learned on unlabelled frames fits the labelled ones.

    Raises:
        ValueError: when their frames are not of one kind.
    """
    kinds = type(labelled), type(unlabelled)
    if kinds[0] is not kinds[1]:
        raise ValueError(
            f"frames of {unlabelled.name} are not like those of {labelled.name}: pretrain on videos of the same kind"
        )
    if labelled.name not in DATASETS:
        load("tasks.data.videos:check_alike")(labelled, unlabelled)


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


def indexed() -> list[str]:
    """Names of the sets of videos that were indexed."""
    from tasks.data.index import FILE
    from tasks.data.root import data_root

    return sorted(path.parent.name for path in data_root().glob(f"*/{FILE}"))
