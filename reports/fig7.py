"""Fig. 7: the activity of LSTM units of the Future Predictor over 100 steps, trained and with random weights.

The paper shows the pattern alone. Beside it stand how fast it changes, what is predicted meanwhile, and measures of whether it
lasts; what the figure looks like is in `reports.activity_panels`.
"""

import math
from collections.abc import Callable, Collection, Hashable, Mapping
from functools import partial

import numpy as np
import pandas as pd

from reports.activity_panels import Watched, activity_figure
from reports.animation import Panel, Row, gif
from reports.cells import own_cells
from reports.compose import Report, compose, missing_cells
from reports.evidence import Evidence
from reports.film import Pixels
from reports.published import DATASET_NAMES
from reports.scores import scores
from reports.tables import MISSING, Column, Table, mean_sd

KEPT = "activity"
MEASURES = ("persistence", "moving_units", "period", "period_share", "first_loss", "last_loss")
"""In the order of the table."""


def draw(evidence: Evidence, formats: Collection[str]) -> dict[str, bytes]:
    """The report's files by name: png, pdf, svg, gif, md, tex, html, csv and json, and every step's numbers as csv.

    Args:
        evidence: cells of `tasks.activity`, with the folders of their runs.
        formats: which forms to make; those that do not exist are left out.

    Raises:
        ValueError: for scores that `reports.scores` refuses, or a run that kept no activity.
    """
    lines = _with_spread(evidence, scores(evidence))
    found = [(str(cell["method"]), _watched(evidence, cell)) for cell in evidence.expected]
    there = [each for _, each in found if each is not None]
    done = {
        key
        for key, value in zip(lines["cell"], lines["persistence"], strict=True)
        if value == value
    }
    more: dict[str, Callable[[], bytes]] = {}
    if there:
        more = {"_steps.csv": lambda: _steps(there), ".gif": lambda: _film(there)}
    report = Report(
        lead=f"{len(done)} of {len(lines)} expected results are in.",
        sections=(("Whether the activity lasts", _table(evidence, lines)),),
        lines=lines,
        missing=missing_cells(evidence, done),
        figure=partial(activity_figure, found) if there else None,
        figure_alt=(
            "Six patterns of activity for each Future Predictor (input, three gates, cell, output; units by steps), how fast the "
            "output changes and the loss at every step, and some of the frames predicted below the true ones."
        ),
        more=more,
    )
    return compose(evidence, report, formats)


def _watched(evidence: Evidence, cell: Mapping[str, object]) -> Watched | None:
    """What the run of a cell kept, or None without one."""
    key = str(cell["cell"])
    table = evidence.predictions(key)
    if table is None:
        return None
    return Watched(
        label=str(cell["method"]),
        weights=str(cell["weights"]),
        trained_steps=int(str(cell["future_frames"])),
        arrays=evidence.arrays(key, KEPT),
        steps=_by_step(table),
    )


def _by_step(table: pd.DataFrame) -> pd.DataFrame:
    """Change and loss at every step: mean and sd (ddof = 1) over sequences, by the number of the step."""
    columns: dict[str, pd.Series] = {}
    for name, prefix in (("change", "change_"), ("loss", "future_loss_")):
        numbers = {
            column: int(column.removeprefix(prefix))
            for column in table.columns
            if column.startswith(prefix)
        }
        mine = table[list(numbers)].rename(columns=numbers)
        columns |= {name: mine.mean(), f"{name}_sd": mine.std(ddof=1)}
    return pd.DataFrame(columns).sort_index().rename_axis("step")


def _with_spread(evidence: Evidence, lines: pd.DataFrame) -> pd.DataFrame:
    """The scores, with the sd (ddof = 1) over sequences of each measure and how many sequences are in it."""
    lines = lines.reindex(columns=list(dict.fromkeys([*lines.columns, *MEASURES])))
    tables = [evidence.predictions(str(key), ("sequence", *MEASURES)) for key in lines["cell"]]
    for name in MEASURES:
        lines[name] = lines[name].astype(float)
        lines[f"{name}_sd"] = [
            math.nan if table is None else float(table[name].std(ddof=1)) for table in tables
        ]
        lines[f"{name}_sequences"] = [
            0 if table is None else int(table[name].count()) for table in tables
        ]
    return lines


def _table(evidence: Evidence, lines: pd.DataFrame) -> Table:
    """One row a Future Predictor."""
    first = lines.iloc[0]
    steps, trained = int(first["future_steps"]), int(first["future_frames"])
    half, name = steps - steps // 2, str(first["dataset"])
    data = DATASET_NAMES.get(name, name)
    columns = (
        Column(header="predictor"),
        Column(header="persistence", unit="ratio", align="right"),
        Column(header="units still moving", unit="%", align="right"),
        Column(header="strongest period", unit="steps", align="right"),
        Column(header="its share of power", unit="%", align="right"),
        Column(header="loss, first 10 frames", unit="nats/frame", align="right"),
        Column(header="loss, last 10 frames", unit="nats/frame", align="right"),
        Column(header="sequences", align="right"),
    )
    layers = int(first["layers"])
    return Table(
        columns=columns,
        rows=tuple(_row(line) for line in lines.to_dict("records")),
        caption=(
            f"{evidence.title}. Mean ± sd over test sequences (ddof = 1). The model was trained to predict {trained} frames and "
            f"runs on for {steps}. Persistence: step-to-step change |h(t) - h(t-1)|, mean over units, in the last 10 steps over "
            "that in the first 10; near 0 for what dies out. Units still moving: those whose h has a standard deviation above "
            f"0.01 over the last {half} steps. Strongest period: of the power spectrum of h over these {half} steps, summed over "
            "units, with its share of all power but the mean's."
        ),
        notes=(
            f"The model: {first['model']!s} of {layers} layer{'s' if layers > 1 else ''} of {int(first['units']):,} units, trained for "
            f"{int(first['steps']):,} steps of {int(first['batch_size']):,} sequences of {data}.",
            "The figure shows one sequence and units in random order; the dotted line is where the frames that the model was trained to "
            "predict end. The colours of the cell, which has no bound, reach to the 99th percentile of its absolute values.",
            "Random weights replace those of the Future Predictor alone, its output layer included: it starts from the trained "
            "encoder's state of the same sequences.",
            f"Periods are fractions of {half} steps ({half}, {half / 2:g}, {half / 3:.1f} and so on), so a long one is coarse, and one of "
            f"{half} may be a drift. A sequence in which no unit moves any more has none ({MISSING}; "
            "of how many sequences a mean is stands behind it where it is not of all).",
            "The paper shows this figure for a model of 2048 units on Moving MNIST, and states no measure: there are no published "
            "numbers to compare with.",
        ),
        label="tab:fig7",
        rests_on=own_cells(lines),
    )


def _row(line: Mapping[Hashable, object]) -> tuple[str, ...]:
    every = int(str(line["persistence_sequences"]))

    def shown(name: str, digits: int = 1) -> str:
        mean, sd = (float(str(line[each])) for each in (name, f"{name}_sd"))
        if math.isnan(mean):
            return MISSING
        some = int(str(line[f"{name}_sequences"]))
        return mean_sd(mean, sd, digits=digits) + (f" ({some}/{every})" if some < every else "")

    return (
        str(line["method"]),
        shown("persistence", 3),
        *(shown(name) for name in MEASURES[1:]),
        str(every),
    )


def _steps(there: Collection[Watched]) -> bytes:
    """Every step's numbers; in significant digits, as changes that die out are far below any fixed decimal."""
    frames = [each.steps.reset_index().assign(method=each.label) for each in there]
    table = pd.concat(frames)[["method", "step", "change", "change_sd", "loss", "loss_sd"]]
    return table.to_csv(index=False, float_format="%.6g", lineterminator="\n").encode()


def _film(there: list[Watched]) -> bytes:
    """The frames read, then the true future beside what each predictor makes of it."""
    first = there[0].arrays
    read_TYXC = _pixels(first["input_frames"])
    futures = [("true", first["true_frames"])]
    futures += [(each.weights, each.arrays["predicted_frames"]) for each in there]
    panels = [Panel(past_TYXC=read_TYXC, future_FYXC=_pixels(made)) for _, made in futures]
    return gif(
        [name for name, _ in futures],
        [Row(label="", panels=tuple(panels))],
        names=("input", "future"),
    )


def _pixels(frames_TYX: np.ndarray) -> Pixels:
    """Grey frames with an axis of one colour."""
    return frames_TYX[..., None].astype(np.uint8)
