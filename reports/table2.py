"""Table 2: loss of predicted frames, model by model, beside the paper's; and the same by predicted frame.

What is shown is reduced in `reports.prediction_losses` and drawn in `reports.frame_panels`.
"""

import math
from collections.abc import Collection, Hashable, Mapping
from dataclasses import replace
from typing import SupportsFloat

import pandas as pd

from reports.cells import Lines
from reports.compose import Report, compose, missing_cells
from reports.evidence import Evidence
from reports.frame_panels import frame_panels
from reports.prediction_losses import (
    BACKWARDS,
    DECODINGS,
    FLOOR,
    FORCED,
    FREE,
    METRICS,
    PAPERS_SEQUENCES,
    by_frame,
    by_seed,
    is_papers,
    over_seeds,
)
from reports.published import DATASET_NAMES, PUBLISHED
from reports.tables import INCOMPLETE, MISSING, Column, Table, count, csv_bytes, mean_sd, number

Line = Mapping[Hashable, object]

PAPERS_SETTING = {
    "logistic": "Moving MNIST 64 x 64, 2048 units",
    "linear": "UCF-101 patches 32 x 32",
}
"""What the published numbers are of, by the decoders' output units."""

_SEEDS = ("dataset", "method", "seed", *METRICS, "unit", "cell", "run")


def draw(evidence: Evidence, formats: Collection[str]) -> dict[str, bytes]:
    """The report's files by name: png, pdf, svg, md, tex, html, csv and json.

    Args:
        evidence: cells of `tasks.evaluate`, of models that predict the future, and what their runs and those of the models'
            training kept. "csv" gives three files: NAME.csv has the table's numbers, NAME_frames.csv those of the figure,
            NAME_seeds.csv every run's own.
        formats: which forms to make; those that do not exist are left out.

    Raises:
        ValueError: for evidence that `reports.prediction_losses` refuses.
    """
    lines = by_seed(evidence)
    means, frames = over_seeds(lines), by_frame(evidence, lines)
    datasets = list(dict.fromkeys(means["dataset"]))
    done = lines[lines[FREE].notna()]
    known = means[means[FLOOR].notna()]
    floors = {
        str(name): float(each) for name, each in zip(known["dataset"], known[FLOOR], strict=True)
    }
    behind = _cells_behind(done)
    sections = [
        *(("Table 2", _losses(means[means["dataset"] == each], behind)) for each in datasets),
        *(
            ("By predicted frame", _frames(frames[frames["dataset"] == each], behind))
            for each in datasets
        ),
        ("Models", replace(_models(evidence, lines, means), rests_on=_behind(means, behind))),
        *([("Later records", _records())] if "logistic" in set(means["output"]) else []),
    ]
    report = Report(
        lead=f"{len(done)} of {len(lines)} expected results are in.",
        sections=tuple(sections),
        lines=means,
        lines_rest_on=_behind(means, behind),
        missing=missing_cells(evidence, set(done["cell"])),
        figure=lambda: frame_panels(frames, floors=floors),
        figure_alt="Loss of a predicted frame against how far ahead it is, for each model; the tables have the numbers.",
        more={
            "_frames.csv": lambda: csv_bytes(frames),
            "_seeds.csv": lambda: csv_bytes(lines[list(_SEEDS)]),
        },
    )
    return compose(evidence, report, formats)


def _cells_behind(done: pd.DataFrame) -> Lines:
    """The cells of every seed that has a result, by dataset and method."""
    return {
        (str(dataset), str(method)): tuple(mine["cell"])
        for (dataset, method), mine in done.groupby(["dataset", "method"], sort=False)
    }


def _behind(lines: pd.DataFrame, known: Lines) -> tuple[tuple[str, ...], ...]:
    places = zip(lines["dataset"], lines["method"], strict=True)
    return tuple(known.get((str(dataset), str(method)), ()) for dataset, method in places)


def _shown(dataset: object) -> str:
    return DATASET_NAMES.get(str(dataset), str(dataset))


def _losses(means: pd.DataFrame, behind: Lines) -> Table:
    """Table 2's column of one dataset: its four models, then what a perfect and a know-nothing predictor score."""
    first = means.iloc[0]
    output, unit = str(first["output"]), str(first["unit"])
    own = is_papers(first["dataset"], first["layers"], first["units"], int(first["test_sequences"]))
    rows = [_loss_row(line, own=own) for line in means.to_dict("records")]
    if output == "logistic":
        floor = means[FLOOR].dropna()
        known = number(floor.iloc[0] if len(floor) else None)
        half = number(first["frame_size"] * math.log(2))
        empty = (MISSING,) * (3 if own else 2)
        rows.append(("perfect prediction (the true frames' own entropy)", known, known, *empty))
        rows.append(("always 0.5 in every pixel", half, half, *empty))
    several = bool((means["expected"] > 1).any())
    spread = (
        " Mean ± sd (ddof = 1) over seeds of weights and training sequences." if several else ""
    )
    published = f"published, {PAPERS_SETTING[output]}"
    difference = Column(header="difference: ours minus published", unit=unit, align="right")
    return Table(
        columns=(
            Column(header="model"),
            *(Column(header=each, unit=unit, align="right") for each in DECODINGS.values()),
            Column(header="seeds", align="right"),
            Column(header=published, unit=unit, align="right"),
            *([difference] if own else []),
        ),
        rows=tuple(rows),
        caption=(
            f"Table 2 on {_shown(first['dataset'])}: {_LOSS[output]} of a predicted frame, summed over its {first['frame_size']:,} "
            f"{'pixels' if output == 'logistic' else 'numbers'}, mean over {first['future_frames']} predicted frames and {first['test_sequences']:,} held-out sequences; lower "
            "is better. Free-running: a conditional predictor sees its own outputs; teacher-forced: the true previous frames. To "
            f"unconditioned models nothing is shown, so the two are one.{spread}"
        ),
        notes=tuple(_loss_notes(means, own=own)),
        label=f"tab:table2-{str(first['dataset']).replace('_', '-')}",
        # What follows the models is reckoned, not measured.
        rests_on=(*_behind(means, behind), *[()] * (len(rows) - len(means))),
    )


_LOSS = {"logistic": "cross entropy", "linear": "squared loss (half the squared distance)"}


def _loss_row(line: Line, *, own: bool) -> tuple[str, ...]:
    """One model's line."""

    def shown(name: str) -> str:
        return mean_sd(_number(line[name]), _number(line[f"{name}_sd"]))

    row = [str(line["method"]), shown(FREE), shown(FORCED), _seeds(line)]
    row.append(number(_number(line["published"])))
    if own:
        row.append(number(_number(line["difference"]), signed=True))
    return tuple(row)


def _loss_notes(means: pd.DataFrame, *, own: bool) -> list[str]:
    """What a reader should know before comparing."""
    first = means.iloc[0]
    sizes = (
        f"{first['layers']} layers of {first['units']:,} units, {first['steps']:,} steps of "
        f"{first['batch_size']:,} sequences ({first['schedule']}; trained in {first['precision']})"
    )
    notes = [
        f"“published” is Srivastava et al. (2015), Table 2: {PAPERS_SETTING[str(first['output'])]}. Its conditional "
        "decoders receive the frame generated last (sec. 2.2), so free-running is what to compare; how they were scored is not said "
        f"beyond that. Ours: {sizes}."
    ]
    notes.append(f"Tested on {first['tested_on']}, the first {first['test_sequences']:,}.")
    if not own:
        why = (
            "the paper states neither the scale of its pixels nor how many units these models had"
            if first["output"] == "linear"
            else f"ours are over {first['test_sequences']:,} sequences, the paper's over {PAPERS_SEQUENCES:,}"
            if is_papers(first["dataset"], first["layers"], first["units"], PAPERS_SEQUENCES)
            else f"ours are {first['layers']} x {first['units']:,} units on {_shown(first['dataset'])}, with "
            f"{first['frame_size']:,} pixels a frame, and the paper's 2 x 2,048 units on Moving MNIST, with 4,096: losses are "
            "sums over pixels"
        )
        notes.append(f"No difference from the published numbers is given: {why}.")
    if (means["n"] < means["expected"]).any():
        notes.append(f"{INCOMPLETE} Incomplete: the mean is over the seeds that have a result.")
    return notes


def _frames(frames: pd.DataFrame, behind: Lines) -> Table:
    """Loss at each predicted frame of one dataset."""
    first = frames.iloc[0]
    places = sorted(set(frames["frame"]))
    rows, rests_on = [], []
    for (method, decoding), mine in frames.groupby(["method", "decoding"], sort=False):
        line = mine.iloc[0].to_dict()
        losses = mine.set_index("frame")["mean"]
        rows.append(
            (str(method), str(decoding), _seeds(line), *(number(losses[each]) for each in places))
        )
        rests_on.append(behind.get((str(first["dataset"]), str(method)), ()))
    incomplete = bool((frames["n"] < frames["expected"]).any())
    return Table(
        columns=(
            Column(header="model"),
            Column(header="decoding"),
            Column(header="seeds", align="right"),
            *(Column(header=str(each), align="right") for each in places),
        ),
        rows=tuple(rows),
        caption=(
            f"{_shown(first['dataset'])}, frame by frame: loss ({first['unit']}) of the predicted frame of each column, counted "
            "from 1; mean over held-out sequences, then over seeds."
        ),
        notes=(f"{INCOMPLETE} Incomplete: the mean is over the seeds that have a result.",)
        if incomplete
        else (),
        label=f"tab:table2-frames-{str(first['dataset']).replace('_', '-')}",
        group_by=1,
        rests_on=tuple(rests_on),
    )


def _models(evidence: Evidence, lines: pd.DataFrame, means: pd.DataFrame) -> Table:
    """How the models were trained, how large they are, and what they reconstruct."""
    rows = []
    for line in means.to_dict("records"):
        mine = lines[(lines["dataset"] == line["dataset"]) & (lines["method"] == line["method"])]
        sizes = next(
            (found for c in mine["trained_cell"] if (found := evidence.sizes(c, "model"))), None
        )
        rows.append(
            (
                _shown(line["dataset"]),
                str(line["method"]),
                f"{line['layers']} x {line['units']:,}",
                MISSING if sizes is None else f"{sum(sizes.values()):,}",
                f"{line['steps']:,}",
                f"{line['steps'] * line['batch_size']:,}",
                mean_sd(line[BACKWARDS], line[f"{BACKWARDS}_sd"]),
                _seeds(line),
            )
        )
    units = "; ".join(
        f"{_shown(line['dataset'])}: {line['unit']}"
        for line in means.drop_duplicates("dataset").to_dict("records")
    )
    return Table(
        columns=(
            Column(header="data"),
            Column(header="model"),
            *(
                Column(header=each, align="right")
                for each in ("layers x units", "parameters", "steps", "sequences seen")
            ),
            Column(header="reconstruction loss", align="right"),
            Column(header="seeds", align="right"),
        ),
        rows=tuple(rows),
        caption=(
            f"The models. Reconstruction loss ({units}): of a frame of the input, decoded last one first, free-running, as the losses "
            "of predicted frames are; only Composite Models have one."
        ),
        label="tab:table2-models",
        group_by=2,
    )


def _records() -> Table:
    """What others published later on Moving MNIST."""
    rows = tuple(
        (one.method, number(one.value), one.source)
        for one in PUBLISHED
        if one.artefact == "mnist_records"
    )
    return Table(
        columns=(
            Column(header="method"),
            Column(header="published", unit="nats/frame", align="right"),
            Column(header="source"),
        ),
        rows=rows,
        caption=(
            "For context: later published results on Moving MNIST (64 x 64), cross entropy of a predicted frame. FC-LSTM is the "
            "ConvLSTM authors' own version of the models of Table 2, the others are other architectures; none of these numbers is "
            "ours."
        ),
        label="tab:table2-records",
    )


def _seeds(line: Line) -> str:
    return count(int(_number(line["n"])), int(_number(line["expected"])))


def _number(value: object) -> float:
    """A number of a line; nan where there is none."""
    return float(value) if isinstance(value, SupportsFloat) else math.nan
