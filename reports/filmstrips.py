"""Figs. 5, 6 and 8: what trained models reconstruct and predict, as strips of frames, as a moving picture, and in numbers."""

import math
from collections.abc import Collection, Hashable, Mapping
from functools import partial

import pandas as pd
from matplotlib.figure import Figure

from reports.animation import Panel, Row, gif
from reports.cells import own_cells
from reports.compose import Report, compose, missing_cells
from reports.evidence import Evidence
from reports.film import Film, film
from reports.prediction_losses import BACKWARDS, FLOOR, FORCED, FREE, check_units
from reports.scores import scores
from reports.strips import Group, Strip, strips_figure
from reports.tables import Column, Table, number

TRUTH = "Ground truth"
TRUE_HALVES = ("Input sequence", "Ground truth future")
MADE_HALVES = ("Input reconstruction", "Future prediction")
BOTH_HALVES = ("Input sequence, and its reconstruction", "Future, and its prediction")
PHASES = ("Input, reconstructed", "Future, predicted")
"""What the moving picture shows one after the other."""


def draw_models(
    evidence: Evidence, formats: Collection[str], *, last_input: int | None = None
) -> dict[str, bytes]:
    """The report of several models that are shown the same sequences: the truth first, then each model's rows.

    Args:
        evidence: cells of `tasks.pictures`, a model each.
        formats: png, pdf, svg, gif, md, tex, html, csv, json; those that do not apply are left out.
        last_input: how many of the frames read are drawn, the last ones; None for all. The gif has all.

    Raises:
        ValueError: for scores or pictures that cannot be believed.
    """
    lines, films = _lines(evidence), _films(evidence)
    some = next(iter(films.values()), None)
    return _compose(
        evidence,
        formats,
        lines=lines,
        table=_table(evidence, lines, first="model", sizes=True),
        what="what each model makes of the same held-out sequences",
        strips=partial(_models_figure, lines, films, some, last_input or 0) if some else None,
        animation=partial(_models_gif, evidence, films, some) if some else None,
    )


def draw_out_of_domain(evidence: Evidence, formats: Collection[str]) -> dict[str, bytes]:
    """The report of one model that is shown sequences unlike those it was trained on; the table has the latter, too.

    Args:
        evidence: cells of `tasks.pictures`, a kind of sequences each.
        formats: as for `draw_models`.

    Raises:
        ValueError: for scores or pictures that cannot be believed.
    """
    lines = _lines(evidence)
    foreign = [
        str(cell["cell"]) for cell in evidence.expected if cell["dataset"] != cell["trained_on"]
    ]
    films = {key: each for key, each in _films(evidence).items() if key in foreign}
    return _compose(
        evidence,
        formats,
        lines=lines,
        table=_table(evidence, lines, first="sequences", sizes=False),
        what="what the model makes of sequences unlike those it was trained on",
        strips=partial(_foreign_figure, lines, films) if films else None,
        animation=partial(_foreign_gif, lines, films) if films else None,
    )


def _compose(
    evidence: Evidence,
    formats: Collection[str],
    *,
    lines: pd.DataFrame,
    table: Table,
    what: str,
    strips: "partial[Figure] | None",
    animation: "partial[bytes] | None",
) -> dict[str, bytes]:
    done = lines["run"].notna()
    report = Report(
        lead=f"{int(done.sum())} of {len(lines)} expected results are in.",
        sections=(("Losses", table),),
        lines=lines,
        missing=missing_cells(evidence, set(lines.loc[done, "cell"])),
        figure=strips,
        figure_alt=f"Strips of frames in the order of time: {what}, the input on the left and the future on the right.",
        more={} if animation is None else {".gif": animation},
    )
    return compose(evidence, report, formats)


def _lines(evidence: Evidence) -> pd.DataFrame:
    """The scores, a line a cell, all in one unit, as the table states it once.

    Raises:
        ValueError: for scores that `reports.scores` or `check_units` refuses, or cells whose output units differ.
    """
    lines = scores(evidence)
    check_units(lines)
    outputs = sorted(set(lines["output"]))
    if len(outputs) > 1:
        raise ValueError(
            f"cells with {' and '.join(outputs)} outputs have losses in different units: draw them apart"
        )
    return lines


def _films(evidence: Evidence) -> dict[str, Film]:
    """Pictures by cell, of those that have a result."""
    found = {str(cell["cell"]): film(evidence, cell) for cell in evidence.expected}
    return {key: each for key, each in found.items() if each is not None}


def _true_strips(some: Film, label: str = "", last: int = 0) -> list[Strip]:
    """A strip a sequence; of the input the `last` frames, all for 0."""
    return [
        Strip(
            label=label,
            past_TYXC=some.input_TBYXC[-last:, each],
            future_TYXC=some.future_FBYXC[:, each],
        )
        for each in range(some.num_sequences)
    ]


def _made_strips(some: Film, label: str = "", last: int = 0) -> list[Strip]:
    past, future = some.reconstruction_TBYXC, some.prediction_FBYXC
    return [
        Strip(
            label=label,
            past_TYXC=None if past is None else past[-last:, each],
            future_TYXC=None if future is None else future[:, each],
        )
        for each in range(some.num_sequences)
    ]


def _times(some: Film, last: int = 0) -> tuple[range, range]:
    """Numbers of the frames on the left and on the right, from 1."""
    read, ahead = len(some.input_TBYXC), len(some.future_FBYXC)
    first = read - last + 1 if 0 < last < read else 1
    return range(first, read + 1), range(read + 1, read + ahead + 1)


def _models_figure(lines: pd.DataFrame, films: Mapping[str, Film], some: Film, last: int) -> Figure:
    true = tuple(_true_strips(some, last=last))
    groups = [Group(heading=TRUTH, told="", halves=TRUE_HALVES, strips=true)]
    named = False
    for line in lines.to_dict("records"):
        made = films.get(str(line["cell"]))
        strips = () if made is None else tuple(_made_strips(made, last=last))
        groups.append(
            Group(
                heading=str(line["method"]),
                told=_told(line),
                halves=MADE_HALVES if strips and not named else None,
                strips=strips,
            )
        )
        named = named or bool(strips)
    return strips_figure(groups, side=some.side, times=_times(some, last))


def _foreign_figure(lines: pd.DataFrame, films: Mapping[str, Film]) -> Figure:
    groups: list[Group] = []
    for line in lines.to_dict("records"):
        shown = films.get(str(line["cell"]))
        if shown is None and line["dataset"] == line["trained_on"]:
            continue
        pairs = zip(_true_strips(shown, "truth"), _made_strips(shown, "model"), strict=True) if shown else ()  # fmt: skip
        groups.append(
            Group(
                heading=str(line["method"]),
                told=_told(line),
                halves=None if groups else BOTH_HALVES,
                strips=tuple(strip for pair in pairs for strip in pair),
            )
        )
    some = next(iter(films.values()))
    return strips_figure(groups, side=some.side, times=_times(some))


def _panel(strip: Strip) -> Panel:
    return Panel(past_TYXC=strip.past_TYXC, future_FYXC=strip.future_TYXC)


def _models_gif(evidence: Evidence, films: Mapping[str, Film], some: Film) -> bytes:
    done = [cell for cell in evidence.expected if cell["cell"] in films]
    columns = [_true_strips(some), *(_made_strips(films[str(cell["cell"])]) for cell in done)]
    rows = [Row(label="", panels=tuple(map(_panel, strips))) for strips in zip(*columns, strict=True)]  # fmt: skip
    return gif([TRUTH, *(str(cell["method"]) for cell in done)], rows, names=PHASES)


def _foreign_gif(lines: pd.DataFrame, films: Mapping[str, Film]) -> bytes:
    methods = dict(zip(lines["cell"], lines["method"], strict=True))
    rows = [
        Row(label=str(methods[key]), panels=(_panel(true), _panel(made)))
        for key, shown in films.items()
        for true, made in zip(_true_strips(shown), _made_strips(shown), strict=True)
    ]
    return gif([TRUTH, "Model"], rows, names=PHASES)


def _unit(line: Mapping[Hashable, object]) -> str:
    """Of the losses of one cell, empty where it has none."""
    units = [line.get(f"{name}_unit") for name in (FREE, BACKWARDS)]
    return next((unit for unit in units if isinstance(unit, str)), "")


def _value(line: Mapping[Hashable, object], metric: str) -> float | None:
    """A loss of one cell; None where it has none."""
    value = line.get(metric)
    return value if isinstance(value, float) and not math.isnan(value) else None


def _told(line: Mapping[Hashable, object]) -> str:
    """A model's losses in a few words."""
    told = [
        f"{what} {number(_value(line, metric))}"
        for what, metric in (("reconstruction", BACKWARDS), ("future", FREE))
        if _value(line, metric) is not None
    ]
    return f"loss: {', '.join(told)} {_unit(line)}" if told else "no accepted result yet"


def _table(evidence: Evidence, lines: pd.DataFrame, *, first: str, sizes: bool) -> Table:
    """A row a cell."""
    records = lines.to_dict("records")
    unit = next(filter(None, map(_unit, records)), "")
    conditional = bool((lines["predict_future"] == "conditional").any())
    metrics = {BACKWARDS: "reconstruction", FREE: "future"}
    metrics |= {FORCED: "future, teacher-forced"} if conditional else {}
    bounded = FLOOR in lines and bool(lines[FLOOR].notna().any())
    metrics |= {FLOOR: "least possible"} if bounded else {}
    kept = {"layers": "layers", "units": "units"} if sizes else {"dataset": "data"}
    some = evidence.expected[0]
    said = f" (in {unit})" if unit else ""  # once, or the table is wider than a page
    caption = (
        f"{evidence.title}. Losses{said} are means over {some['test_sequences']:,} held-out sequences and their frames, summed over "
        f"pixels; decoders run freely. {some['input_frames']} frames are read, {some['future_frames']} are predicted."
    )
    notes = []
    if conditional:
        notes.append(
            "Teacher-forced: a conditional decoder is shown the true frame before the one that it predicts."
        )
    if bounded:
        notes.append(
            "Least possible: the entropy of the grey pixels of the true future, below which no prediction can be."
        )
    return Table(
        columns=(
            Column(header=first),
            *(Column(header=each, align="right" if sizes else "left") for each in kept.values()),
            *(Column(header=each, align="right") for each in metrics.values()),
        ),
        rows=tuple(
            (
                str(line["method"]),
                *(f"{line[each]:,}" if sizes else str(line[each]) for each in kept),
                *(number(_value(line, metric)) for metric in metrics),
            )
            for line in records
        ),
        caption=caption,
        notes=tuple(notes),
        label=f"tab:{evidence.experiment.replace('_', '-')}",
        group_by=1 if sizes else 0,  # names of models are long
        rests_on=own_cells(lines),
    )
