"""From words on a command line to an experiment: by name, by `FILE.py:function`, or by entry point.

Strings become objects here, once. A worker is given the same words and makes the same cells again; the keys must
agree, so a file that was edited in between is noticed.
"""

import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from configs.experiment import Experiment
from configs.knobs import did_you_mean, knobs, parse
from configs.registry import ENTRY_POINTS, EXPERIMENTS
from reports.evidence import NAMES_OF_FILES, name_of_files


class UsageError(Exception):
    """The user asked for something that does not exist or cannot be; nothing was started."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where an experiment comes from."""

    text: str
    """As a worker can find it again: a name, or an absolute FILE.py:function."""
    name: str
    function: Callable[..., Any]

    def lacking(self, settings: Sequence[str]) -> list[str]:
        """Knobs without a default that are not set.

        Raises:
            UsageError: for an unknown knob or a value that it refuses.
        """
        try:
            chosen = parse(self.function, settings)
        except ValueError as error:
            raise UsageError(f"{self.name}: {error}") from None
        return [
            knob.name
            for knob in knobs(self.function).values()
            if knob.default is inspect.Parameter.empty and knob.name not in chosen
        ]

    def experiment(self, settings: Sequence[str]) -> Experiment:
        """Call the function with `name=value` settings.

        Raises:
            UsageError: for an unknown knob or a value that it refuses.
        """
        lacking = self.lacking(settings)
        if lacking:
            raise UsageError(
                f"{self.name} needs to be told its {' and '.join(lacking)}: add --set {lacking[0]}=... (`harness describe "
                f"{self.text}` says what it may be)"
            )
        try:
            made = self.function(**parse(self.function, settings))
        except ValueError as error:
            raise UsageError(f"{self.name}: {error}") from None
        except Exception as error:
            if self.text in EXPERIMENTS:
                raise  # a bug of ours
            frame = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{Path(frame.filename).name}, line {frame.lineno}"
            raise UsageError(
                f"{self.name} raised {type(error).__name__}: {error} ({where})"
            ) from error
        if not isinstance(made, Experiment):
            raise UsageError(
                f"{self.name} returned a {type(made).__name__}: an experiment function returns an Experiment, for "
                "instance what configs.fig12.fig12(...) returns"
            )
        return made


def names() -> dict[str, str]:
    """Every experiment known by name, with its summary."""
    known = {name: entry.summary for name, entry in EXPERIMENTS.items()}
    known.update(
        {
            point.name: f"from {point.value}"
            for point in entry_points(group=ENTRY_POINTS)
            if point.name not in known
        }
    )
    return known


def find(words: str) -> Source:
    """Look an experiment up.

    Args:
        words: a name, or FILE.py:function.

    Raises:
        UsageError: when there is no such thing, with what was probably meant.
    """
    if ":" in words or words.endswith(".py"):
        return _from_file(words)
    if words in EXPERIMENTS:
        module, _, function = EXPERIMENTS[words].place.partition(":")
        return Source(words, words, getattr(importlib.import_module(module), function))
    for point in entry_points(group=ENTRY_POINTS):
        if point.name == words:
            return Source(words, words, point.load())
    known = names()
    raise UsageError(
        f"there is no experiment '{words}'{did_you_mean(words, known)} (known: {', '.join(sorted(known))}; your own: "
        "FILE.py:function)"
    )


def _from_file(words: str) -> Source:
    place, _, function = words.rpartition(":")
    if not place or not function:
        raise UsageError(f"'{words}' does not name a function: write FILE.py:function")
    path = Path(place).resolve()
    if not path.is_file():
        raise UsageError(f"there is no file {place}: an experiment of your own is FILE.py:function")
    module = _load(path)
    if not callable(getattr(module, function, None)):
        defined = [
            n
            for n, v in vars(module).items()
            if callable(v) and getattr(v, "__module__", "") == module.__name__
        ]
        raise UsageError(
            f"{place} defines no function '{function}'{did_you_mean(function, defined)} (it defines: "
            f"{', '.join(sorted(defined)) or 'none'})"
        )
    if not name_of_files(function):
        raise UsageError(
            f"the function {function!r} of {place} becomes the name of files: {NAMES_OF_FILES}"
        )
    return Source(f"{path}:{function}", function, getattr(module, function))


def _load(path: Path) -> Any:
    """Import a user's file under its own name, with its folder on the path so that it finds its neighbours."""
    for module in list(sys.modules.values()):
        if getattr(module, "__file__", None) == str(path):
            return module
    name = path.stem if path.stem not in sys.modules else f"{path.stem}_of_{path.parent.name}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise UsageError(f"{path} cannot be imported: {type(error).__name__}: {error}") from error
    return module
