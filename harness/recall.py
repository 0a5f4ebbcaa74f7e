"""The experiments that a work folder remembers, made again with the knobs of their last run."""

from dataclasses import dataclass

from configs.experiment import Experiment
from harness.source import UsageError, find
from harness.workdir import Workdir


@dataclass(frozen=True, kw_only=True, slots=True)
class Recalled:
    """One experiment as it was last run here."""

    name: str
    settings: tuple[str, ...]
    experiment: Experiment | None
    """None where it cannot be made any more."""
    problem: str = ""
    """Why not, in a sentence."""


def names_in(workdir: Workdir) -> list[str]:
    """Names of the experiments that were run in a work folder, sorted."""
    return sorted(path.stem for path in (workdir.root / "experiments").glob("*.json"))


def recall(workdir: Workdir, name: str) -> Recalled | None:
    """One experiment as it was last run in a work folder; None if it was not, or its record cannot be read."""
    record = workdir.remembered(name)
    if record is None:
        return None
    try:
        experiment = find(record.source).experiment(record.settings)
    except UsageError as error:
        return Recalled(name=name, settings=record.settings, experiment=None, problem=str(error))
    return Recalled(name=name, settings=record.settings, experiment=experiment)


def recall_all(workdir: Workdir) -> list[Recalled]:
    """All that were run in a work folder, by name."""
    found = (recall(workdir, name) for name in names_in(workdir))
    return [each for each in found if each is not None]
