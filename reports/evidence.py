"""What a report is given: the cells it needs and the scores that exist, as plain rows.

Nothing here knows where rows come from. The harness fills an `Evidence` from its store; a reader can fill one by hand
from a csv file. Checking rows against cells is `reports.join`; means and spreads are `reports.frame`.
"""

import math
import re
from collections.abc import Callable, Collection, Hashable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

Value = str | int | float | bool | None

_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
NAMES_OF_FILES = "use letters without accents, digits, '_', '-' and '.' only"
"""The rule of `name_of_files`, in words."""


def name_of_files(name: str) -> bool:
    """Whether a name can be that of files on every system, in LaTeX and in addresses."""
    return _FILE_NAME.fullmatch(name) is not None


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """Everything one report may speak about.

    A *cell* is a score that should exist; a *row* is one score of an accepted run of a cell. Both name the cell's
    coordinates with the same keys, so that a missing cell can still be placed in a table.
    """

    experiment: str
    """Name of the experiment, also the base name of every file drawn: letters, digits, `_`, `-` and `.`."""

    title: str
    """One line for headings, in words."""

    expected: tuple[Mapping[str, Value], ...]
    """One mapping per cell the report needs, in the order in which methods should be shown.

    Keys: `cell` (its key), `dataset`, `split` (int, the dataset's own), `method` (label), `shots` (labelled videos per
    class as text: "1", "2", ... or "all"), `labels_per_class` (videos; for "all" the mean number of training videos per
    class of that split), `resample` (int, which draw of the labelled subset). `stream` may be there: what was looked at
    ("rgb", "flow1", "flow10", "rgb+flow", "pixels"), so that only the paper's numbers of the same stream stand beside ours;
    and `pool_per_class` (mean number of training videos per class of that split, of which `labels_per_class` were drawn).
    """

    rows: tuple[Mapping[str, Value], ...]
    """One mapping per score: the keys of `expected` and `run` (attempt), `metric`, `value`, `unit`, `higher_is_better`."""

    failed: Mapping[str, str]
    """Cell key to a one-line reason, for cells whose last run ended without an accepted result."""

    provenance: Mapping[str, object]
    """JSON-able facts: commit, knobs, versions, hosts. Four keys are read here.

    `notes`: sentences printed under the tables; `chance`: dataset to chance level in percent; `commit`; `runs`: where the
    folders of the cells' runs are, from the folder of the report, such as "../../runs".
    """

    kept: Mapping[str, Path] = field(default_factory=dict)
    """Cell key to the folder of its accepted run, for reports that show what a run kept: pictures, weights, predictions."""

    classes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Dataset to the names of its classes by label, for reports that speak of single classes."""

    _made: dict[Hashable, "pd.DataFrame"] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        """Refuse a name that could not be a file name on any system."""
        if not name_of_files(self.experiment):
            raise ValueError(
                f"the experiment name {self.experiment!r} becomes the name of files: {NAMES_OF_FILES}"
            )

    def once(self, what: Hashable, make: Callable[[], "pd.DataFrame"]) -> "pd.DataFrame":
        """A frame that is reduced from all of this, made once: every form of a report asks for the same ones.

        Args:
            what: Names the frame.
            make: Makes it; called the first time.

        Returns:
            A copy of its own for whoever asks.
        """
        if what not in self._made:
            self._made[what] = make()
        return self._made[what].copy()

    def arrays(self, cell: str, file: str, names: Collection[str] = ()) -> dict[str, "np.ndarray"]:
        """Arrays that a cell's accepted run kept in one of its files.

        Args:
            cell: Its key.
            file: Name of the file without ".safetensors".
            names: Which of them, all if left out; only these are read.

        Returns:
            By name; empty when the cell has no accepted run.

        Raises:
            ValueError: When the run kept no such file or array.
        """
        if cell not in self.kept:
            return {}
        from safetensors import SafetensorError, safe_open

        path = self.kept[cell] / f"{file}.safetensors"
        try:
            with safe_open(path, framework="numpy") as opened:
                return {name: opened.get_tensor(name) for name in names or sorted(opened.keys())}
        except (OSError, SafetensorError) as error:
            raise ValueError(f"{path} does not hold what a report needs: {error}") from error

    def sizes(self, cell: str, file: str) -> dict[str, int]:
        """How many numbers each array has that a cell's accepted run kept in one of its files; they are not read.

        Args:
            cell: Its key.
            file: Name of the file without ".safetensors".

        Returns:
            By name; empty when the cell has no accepted run.

        Raises:
            ValueError: When the run kept no such file.
        """
        if cell not in self.kept:
            return {}
        from safetensors import SafetensorError, safe_open

        path = self.kept[cell] / f"{file}.safetensors"
        try:
            with safe_open(path, framework="numpy") as opened:
                names = sorted(opened.keys())
                return {name: math.prod(opened.get_slice(name).get_shape()) for name in names}
        except (OSError, SafetensorError) as error:
            raise ValueError(f"{path} does not hold what a report needs: {error}") from error

    def predictions(self, cell: str, columns: Collection[str] = ()) -> "pd.DataFrame | None":
        """What a cell's accepted run predicted, one line a thing; None when the cell has no accepted run.

        Args:
            cell: Its key.
            columns: Which columns, all if left out.
        """
        if cell not in self.kept:
            return None
        import pandas as pd

        path = self.kept[cell] / "predictions.parquet"
        return pd.read_parquet(path, columns=list(columns) or None)

    @property
    def notes(self) -> tuple[str, ...]:
        """The sentences of `provenance["notes"]`, in order; a single sentence may stand alone."""
        notes = self.provenance.get("notes", ())
        if isinstance(notes, str):
            return (notes,)
        if not isinstance(notes, (list, tuple)):
            raise TypeError(f"provenance 'notes' must be a list of sentences, not {notes!r}")
        return tuple(str(note) for note in notes)

    @property
    def chance(self) -> dict[str, float]:
        """Chance level per dataset in percent, empty when `provenance` does not give it."""
        chance = self.provenance.get("chance", {})
        if not isinstance(chance, Mapping):
            raise TypeError(f"provenance 'chance' must map a dataset to percent, not {chance!r}")
        return {str(dataset): float(percent) for dataset, percent in chance.items()}
