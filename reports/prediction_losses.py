"""Losses of predicted frames: seed by seed, over seeds, and by predicted frame; the paper's numbers beside them.

One order of reduction everywhere: the mean over a run's held-out sequences comes from the run, mean and sd over seeds from
here. A seed without an accepted result is counted, never filled in.
"""

import numpy as np
import pandas as pd

from reports.evidence import Evidence
from reports.published import published
from reports.scores import scores

FREE, FORCED = "future_loss", "future_loss_teacher_forced"
DECODINGS = {FREE: "free-running", FORCED: "teacher-forced"}
"""What a conditional predictor is shown at test: its own outputs, or the true previous frames."""
BACKWARDS, FLOOR = "reconstruction_loss", "target_entropy"
METRICS = (FREE, FORCED, BACKWARDS, FLOOR)

UNITS = {"logistic": "nats/frame", "linear": "squared loss/frame"}
"""Of the losses, by the decoders' output units."""
PAPERS_DATA = {"logistic": "mnist", "linear": "patches"}
"""Which of Table 2's columns the same kind of loss is in."""
PAPERS_SEQUENCES = 10_000
"""Held-out sequences that published losses are averaged over."""
PAPERS_SIZE = (2, 2048)
"""Layers and units of a layer of the paper's models of Moving MNIST."""

LINE = (
    *("dataset", "method", "output", "predict_future", "layers", "units"),
    *("frame_size", "input_frames", "future_frames", "tested_on", "test_sequences"),
    *("steps", "batch_size", "learning_rate", "schedule", "precision"),
)
"""What the seeds of one line have in common."""
BY_FRAME = (
    *("dataset", "method", "predict_future", "decoding", "frame"),
    *("n", "expected", "mean", "sd", "unit"),
)


def by_seed(evidence: Evidence) -> pd.DataFrame:
    """One line a cell, as of `reports.scores.scores`, with a column for each of `METRICS` and the `unit` of all of them.

    Raises:
        ValueError: if a model of one dataset is there twice with one seed, seeds of one line differ in more than the seed, or a
            score has another unit than its outputs.
    """
    lines = scores(evidence)
    for name in METRICS:
        if name not in lines:
            lines[name] = np.nan
    lines["unit"] = lines["output"].map(UNITS)
    check_units(lines)
    for place, seeds in lines.groupby(["dataset", "method"], sort=False):
        if seeds["seed"].duplicated().any() or len(seeds[list(LINE)].drop_duplicates()) > 1:
            raise ValueError(
                f"{', '.join(map(str, place))}: cells that are averaged must differ in their seed, and in nothing else"
            )
    return lines


def check_units(lines: pd.DataFrame) -> None:
    """See that every loss is in the unit that its cell's output units are scored in.

    Args:
        lines: as of `reports.scores.scores`, of cells that say what their `output` units are.

    Raises:
        ValueError: for the first that is not.
    """
    units = lines["output"].map(UNITS)
    for name in METRICS:
        if name not in lines:
            continue
        other = lines[name].notna() & (lines.get(f"{name}_unit", units) != units)
        if other.any():
            first = lines[other].iloc[0]
            raise ValueError(
                f"{name} of cell {str(first['cell'])[:16]} is in {first[f'{name}_unit']}, and {first['output']} outputs are "
                f"scored in {units[other].iloc[0]}: it is no such score"
            )


def over_seeds(lines: pd.DataFrame) -> pd.DataFrame:
    """One line per (dataset, model), in the order of the cells.

    Args:
        lines: as of `by_seed`.

    Returns:
        The columns of `LINE`; `unit`; `n` seeds that have a result, of `expected`; of every metric of `METRICS` its mean under its
        own name and NAME_sd (ddof = 1, empty for n < 2); `published`, the number that Table 2 prints for the model; `difference`,
        ours minus published, where the setting is the paper's own (`is_papers`), else empty.
    """
    made = []
    for _, seeds in lines.groupby(["dataset", "method"], sort=False):
        first = seeds.iloc[0]
        line = {name: first[name] for name in (*LINE, "unit")}
        line |= {"n": int(seeds[FREE].notna().sum()), "expected": len(seeds)}
        for name in METRICS:
            line |= {name: seeds[name].mean(), f"{name}_sd": seeds[name].std()}
        printed = published("table2", PAPERS_DATA[line["output"]], str(line["method"]), "all")
        line["published"] = np.nan if printed is None else printed
        own = is_papers(
            line["dataset"], line["layers"], line["units"], int(first["test_sequences"])
        )
        line["difference"] = line[FREE] - line["published"] if own else np.nan
        made.append(line)
    return pd.DataFrame(made)


def is_papers(dataset: object, layers: object, units: object, test_sequences: int) -> bool:
    """Whether data and sizes are those of the paper's numbers, so that a difference from them means something.

    On patches they never are: the paper states neither the scale of its pixels nor the units of Table 2's models of them.
    """
    right = dataset == "mnist" and (layers, units) == PAPERS_SIZE
    return right and test_sequences >= PAPERS_SEQUENCES


def by_frame(evidence: Evidence, lines: pd.DataFrame) -> pd.DataFrame:
    """Loss at each predicted frame, over seeds, from what the runs predicted.

    Args:
        evidence: with the folders of accepted runs.
        lines: as of `by_seed`.

    Returns:
        The columns of `BY_FRAME`: a line per (dataset, model, decoding, frame from 1); mean, and sd (ddof = 1), are over the `n` of
        `expected` seeds that have a result. Unconditioned models are there as free-running alone: nothing is shown to them.
    """
    made: list[dict[str, object]] = []
    for _, seeds in lines.groupby(["dataset", "method"], sort=False):
        first = seeds.iloc[0]
        frames = range(1, int(first["future_frames"]) + 1)
        shown = [FREE, FORCED] if first["predict_future"] == "conditional" else [FREE]
        columns = [f"{metric}_{frame:03d}" for metric in shown for frame in frames]
        tables = [
            table.mean()
            for cell in seeds["cell"]
            if (table := evidence.predictions(str(cell), columns)) is not None
        ]
        means = pd.DataFrame(tables, columns=columns)
        for metric in shown:
            for frame in frames:
                values = means[f"{metric}_{frame:03d}"]
                made.append(
                    {
                        **{name: first[name] for name in BY_FRAME[:3]},
                        "decoding": DECODINGS[metric],
                        "frame": frame,
                        "n": len(values),
                        "expected": len(seeds),
                        "mean": values.mean(),
                        "sd": values.std(),
                        "unit": first["unit"],
                    }
                )
    return pd.DataFrame(made, columns=list(BY_FRAME))
