"""Figures 9 and 10: the weights between frames and LSTM units as pictures, and a table that says how they look (sec. 3.2).

What a feature is and how it is measured is in `reports.features`, how pictures of weights are laid out in `reports.tiles`.
"""

from collections.abc import Collection, Iterable, Sequence

import numpy as np
import pandas as pd

from reports.compose import Report, compose, missing_cells
from reports.evidence import Evidence
from reports.features import (
    INPUT_KINDS,
    READOUTS,
    TOP,
    Features,
    NoSuchWeights,
    input_features,
    lines_of,
    output_features,
)
from reports.published import DATASET_NAMES
from reports.tables import MINUS, MISSING, Column, Table, number
from reports.tiles import Panel, tiles_figure

SCALING = "Each feature is scaled by its own largest weight: grey is 0, lighter is positive, darker is negative."
MEASURES = (
    "Norms are over all units, ranked by kind. Area and smoothness are medians over the features shown.",
    "Area: (sum of w^2)^2 / sum of w^4, in pixels. A feature that is even on n pixels and 0 elsewhere has n; independent normal "
    "weights have a third of all pixels.",
    "Smoothness: mean product of neighbouring weights over their mean square. An even feature has 1, independent weights have 0 "
    f"on average, and a chequered one has {MINUS}1.",
)


def fig9(evidence: Evidence, formats: Collection[str]) -> dict[str, bytes]:
    """Fig. 9's files by name: the input features of the encoder's lowest layer.

    Args:
        evidence: one cell of pretraining, whose run kept the paper's LSTM encoder.
        formats: which forms to make.

    Raises:
        ValueError: in one sentence, when there is another number of cells, or the model has no such weights.
    """
    cell = _only_cell(evidence, "9")
    found = input_features(evidence, cell)
    return _report(
        evidence,
        formats,
        found,
        kinds=tuple(INPUT_KINDS),
        panels=tuple(INPUT_KINDS.items()),
        what=f"Input features from {_model(evidence)}: the weights from a frame to the four sets of units of its encoder.",
        order=(
            f"{_which(evidence, found)} by L2 norm of the input features, row by row. Features in corresponding places belong to "
            "the same LSTM unit."
        ),
        label="tab:fig9",
    )


def fig10(evidence: Evidence, formats: Collection[str]) -> dict[str, bytes]:
    """Fig. 10's files by name: the output features of both decoders, in the tables beside the input features.

    Args:
        evidence: one cell of pretraining with two decoders.
        formats: which forms to make.

    Raises:
        ValueError: in one sentence, when there is another number of cells, or the model has not both decoders.
    """
    cell = _only_cell(evidence, "10")
    found = output_features(evidence, cell)
    compared, note = list(found), "The line of the input features is for comparison (Fig. 9)."
    kinds = [*READOUTS, "input"]
    try:
        compared += input_features(evidence, cell)[:1]
    except NoSuchWeights:
        # The decoders of a user's own encoder are as good as any; only the line to compare with is lacking.
        kinds = [*READOUTS]
        note = "The encoder has no input features to compare with: it is not the paper's LSTM."
    return _report(
        evidence,
        formats,
        compared,
        kinds=kinds,
        panels=tuple((kind, title) for kind, (title, _) in READOUTS.items()),
        what=(
            f"Output features from the two decoder LSTMs of {_model(evidence)}: the weights from LSTM output units to the output "
            "layer."
        ),
        order=f"{_which(evidence, found)} by L2 norm, of each decoder by itself, row by row.",
        label="tab:fig10",
        notes=(note,),
    )


def _only_cell(evidence: Evidence, figure: str) -> str:
    if len(evidence.expected) != 1:
        raise ValueError(
            f"Fig. {figure} is of one model, and {len(evidence.expected)} cells are to be drawn: make an experiment of each"
        )
    return str(evidence.expected[0]["cell"])


def _counted(evidence: Evidence, found: Sequence[Features]) -> tuple[int, int]:
    """How many features are shown, of how many units."""
    units = len(found[0].weights_HD) if found else int(str(evidence.expected[0]["units"]))
    return min(TOP, units), units


def _which(evidence: Evidence, found: Sequence[Features]) -> str:
    """Which features are shown, in words."""
    count, units = _counted(evidence, found)
    return f"The top {count} of {units:,}" if count < units else f"All {units}"


def _model(evidence: Evidence) -> str:
    """The model in words."""
    cell = evidence.expected[0]
    layers = int(str(cell["layers"]))
    data = str(cell["dataset"])
    return (
        f"a {cell['method']} ({layers} layer{'s' if layers > 1 else ''} of {cell['units']:,} units) trained on "
        f"{DATASET_NAMES.get(data, data)}"
    )


def _report(
    evidence: Evidence,
    formats: Collection[str],
    found: Sequence[Features],
    *,
    kinds: Sequence[str],
    panels: Sequence[tuple[str, str]],
    what: str,
    order: str,
    label: str,
    notes: Sequence[str] = (),
) -> dict[str, bytes]:
    """The report of features, in all its forms.

    Args:
        evidence: what it is made of.
        formats: which forms to make.
        found: features by kind; empty without a run.
        kinds: lines of the table.
        panels: kind and title of each panel.
        what: what is shown, in words.
        order: which of them, and in what order.
        label: the table's, in LaTeX.
        notes: under the table, after those of all such tables.
    """
    by_kind = {each.kind: each for each in found}
    lines = lines_of(found)
    note = f"{order} {SCALING}"
    drawn = tuple(
        Panel(title=f"({letter}) {title}", tiles_KYX=by_kind[kind].pictures)
        for letter, (kind, title) in zip("abcd", panels, strict=False)
        if kind in by_kind
    )
    table = _table(evidence, by_kind, lines, kinds, label, notes)
    cell = str(evidence.expected[0]["cell"])
    report = Report(
        lead=f"{what} {note}"
        if found
        else f"{what} The model has no accepted run yet, so there is no figure.",
        sections=(("How features look, in numbers", table),),
        lines=lines,
        missing=missing_cells(evidence, [cell] if found else []),
        figure=(lambda: tiles_figure(drawn, note)) if found else None,
        figure_alt=f"{what} {order} Panels: {', '.join(panel.title for panel in drawn)}.",
    )
    return compose(evidence, report, formats)


def _table(
    evidence: Evidence,
    by_kind: dict[str, Features],
    lines: pd.DataFrame,
    kinds: Sequence[str],
    label: str,
    notes: Sequence[str],
) -> Table:
    count, _ = _counted(evidence, list(by_kind.values()))
    rows = []
    for kind in kinds:
        if kind not in by_kind:
            rows.append((kind, *[MISSING] * 5))
            continue
        norms_H = np.sort(np.linalg.norm(by_kind[kind].weights_HD, axis=1))[::-1]
        mine = lines[lines["kind"] == kind]
        rows.append(
            (
                kind,
                *(
                    number(float(each), digits=3)
                    for each in (norms_H[0], norms_H[count - 1], np.median(norms_H))
                ),
                number(float(mine["area"].median()), digits=0),
                number(float(mine["smoothness"].median()), digits=2),
            )
        )
    return Table(
        columns=(
            Column(header="features"),
            Column(header="largest norm", align="right"),
            Column(header=f"norm at rank {count}", align="right"),
            Column(header="median norm", align="right"),
            Column(header="area", unit="pixels", align="right"),
            Column(header="smoothness", align="right"),
        ),
        rows=tuple(rows),
        caption=f"Features of {_model(evidence)}{_size(by_kind.values())}. {_which(evidence, list(by_kind.values()))} of each kind are shown.",
        notes=(*MEASURES, *notes, *_trained(evidence), *_other_data(evidence)),
        label=label,
    )


def _size(found: Iterable[Features]) -> str:
    """How large a feature is, in words; nothing without a run."""
    sides = {each.pictures.shape[1] for each in found}
    return "".join(f", of {side} x {side} pixels" for side in sides)


def _trained(evidence: Evidence) -> tuple[str, ...]:
    """How far the model came: what its features are worth looking at for."""
    losses = [
        f"{str(row['metric']).replace('_', ' ')} {number(float(str(row['value'])))} {row['unit']}"
        for row in evidence.rows
    ]
    return (f"The model on its held-out sequences: {', '.join(losses)}.",) if losses else ()


def _other_data(evidence: Evidence) -> tuple[str, ...]:
    """A reader who compares with the paper's figure should know what differs."""
    cell = evidence.expected[0]
    if cell["dataset"] == "mnist":
        return ()
    return (
        f"The paper's figure is of Moving MNIST, in frames of 64 x 64 pixels; this is of {cell['dataset']}. The paper prints no "
        "numbers of it.",
    )
