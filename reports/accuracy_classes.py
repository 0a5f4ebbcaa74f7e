"""Tables 1, 3 and 4 class by class: accuracies and confusions of single runs as csv, and a picture of the last method.

From stored predictions. Runs on resampled subsets are left out: hundreds of runs would have to be read for a mean that no table
shows.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from reports.accuracy_layouts import Layout, dataset_words, stream_words
from reports.accuracy_lines import Line
from reports.evidence import Evidence
from reports.style import FAINT, PAGE_WIDTH, look, new_figure, paper_style, render

ROW = {True: 0.165, False: 0.085}
"""Inches of a class, by whether there are few."""
FEW = 30
"""Up to so many classes have names in the size of other labels."""


def by_class(evidence: Evidence, lines: Sequence[Line]) -> pd.DataFrame:
    """One line per run and class.

    Returns:
        Columns dataset, stream, shots, split, resample, method, class, accuracy (percent; empty without videos), videos.
    """
    records = []
    for place, dataset, confusion_CC in _runs(lines):
        names = class_names(evidence, dataset, len(confusion_CC))
        videos_C = confusion_CC.sum(axis=1)
        for name, right, videos in zip(names, np.diag(confusion_CC), videos_C, strict=True):
            accuracy = 100 * right / videos if videos else float("nan")
            records.append({**place, "class": name, "accuracy": accuracy, "videos": int(videos)})
    return pd.DataFrame.from_records(records, columns=[*_PLACE, "class", "accuracy", "videos"])


def confusions(evidence: Evidence, lines: Sequence[Line]) -> pd.DataFrame:
    """One line per run, true class and class that some of its videos were given: how many.

    Returns:
        Columns dataset, stream, shots, split, resample, method, class, given, videos.
    """
    records = []
    for place, dataset, confusion_CC in _runs(lines):
        names = class_names(evidence, dataset, len(confusion_CC))
        for true, given in zip(*np.nonzero(confusion_CC), strict=True):
            count = int(confusion_CC[true, given])
            records.append({**place, "class": names[true], "given": names[given], "videos": count})
    return pd.DataFrame.from_records(records, columns=[*_PLACE, "class", "given", "videos"])


_PLACE = ("dataset", "stream", "shots", "split", "resample", "method")


def class_names(evidence: Evidence, dataset: str, count: int) -> tuple[str, ...]:
    """Names of the classes by label; their numbers where the evidence does not know them."""
    names = evidence.classes.get(dataset, ())
    return names if len(names) == count else tuple(map(str, range(count)))


def _runs(lines: Sequence[Line]) -> Iterator[tuple[dict[str, object], str, np.ndarray]]:
    """Of every run whose answers are at hand its place, its dataset and its confusion."""
    for line in lines:
        for split, resample, each in line.read:
            where = (line.dataset, line.stream, line.shots, split, resample, line.method)
            yield dict(zip(_PLACE, where, strict=True)), line.dataset, each.confusion_CC


def shown_pairs(lines: Sequence[Line]) -> list[tuple[Line, Line]]:
    """For each dataset the two lines that are shown class by class: the last method of its first column, and its baseline.

    Where streams are compared, that is the last stream. A dataset with no such pair of answered lines has none.
    """
    by_place = {(line.dataset, line.stream, line.shots, line.method): line for line in lines}
    pairs: dict[str, tuple[Line, Line]] = {}
    for line in lines:
        against = line.against
        if against is None or against.comparison is None or line.answers is None:
            continue
        other = by_place[line.dataset, against.stream, line.shots, against.method]
        if other.answers is None:
            continue
        before = pairs.get(line.dataset)
        across = against.stream != line.stream
        if (
            before is None
            or across
            or (before[0].stream, before[0].shots) == (line.stream, line.shots)
        ):
            pairs[line.dataset] = line, other
    return list(pairs.values())


def pictures(
    evidence: Evidence, lines: Sequence[Line], layout: Layout
) -> dict[str, Callable[[], bytes]]:
    """The picture of classes by the end of its file's name; empty where no pair of lines has answers."""
    pairs = shown_pairs(lines)
    if not pairs:
        return {}
    return {f"_classes.{form}": _picture(evidence, pairs, layout, form) for form in ("png", "pdf", "svg")}  # fmt: skip


def _picture(
    evidence: Evidence, pairs: Sequence[tuple[Line, Line]], layout: Layout, form: str
) -> Callable[[], bytes]:
    def make() -> bytes:
        with paper_style():
            return render(class_dots(evidence, pairs, layout), form)

    return make


def class_dots(evidence: Evidence, pairs: Sequence[tuple[Line, Line]], layout: Layout) -> Figure:
    """Accuracy of every class, one panel a pair; call it inside `reports.style.paper_style`.

    Args:
        evidence: knows the names of classes.
        pairs: line and baseline, both answered.
        layout: of the table, for the names of methods.
    """
    counts = [len(line.answers.confusion_CC) for line, _ in pairs if line.answers is not None]
    few = max(counts) <= FEW
    width = PAGE_WIDTH if len(pairs) > 1 else PAGE_WIDTH * 0.62
    figure = new_figure(width, 1.2 + ROW[few] * max(counts))
    panels = figure.subplots(1, len(pairs), squeeze=False).ravel()
    for panel, (line, other) in zip(panels, pairs, strict=True):
        assert line.answers is not None
        assert other.answers is not None
        names = class_names(evidence, line.dataset, len(line.answers.confusion_CC))
        _panel(panel, names, line.answers.per_class(), other.answers.per_class())
        place = f"{dataset_words(line.dataset)}, {stream_words(line.stream)}"
        if layout.by_stream:
            place = dataset_words(line.dataset)
        panel.set_title(place, loc="left", fontweight="bold")
    line, other = pairs[0]
    labels = [_called(each, layout) for each in (other, line)]
    handles = [
        Line2D([], [], linestyle="none", marker="o", color=FAINT, markerfacecolor="white", label=labels[0]),
        Line2D([], [], linestyle="none", marker="o", color=look(0).colour, label=labels[1]),
    ]  # fmt: skip
    figure.legend(handles=handles, loc="outside lower center", ncols=2 if len(pairs) > 1 else 1)
    return figure


def _called(line: Line, layout: Layout) -> str:
    """A line in the legend: what makes it differ from the other."""
    return stream_words(line.stream) if layout.by_stream else line.method


def _panel(panel: Axes, names: Sequence[str], new_C: np.ndarray, old_C: np.ndarray) -> None:
    """One line a class, most gained first; a class without test videos is left out."""
    tested = np.flatnonzero(np.isfinite(new_C)).tolist()
    # Equal gains: the more accurate class first, then by name, so that the order is the same every time.
    order = sorted(tested, key=lambda at: (old_C[at] - new_C[at], -new_C[at], names[at]))
    y = np.arange(len(order))
    few = len(names) <= FEW
    size = 4.2 if few else 2.6
    gain = new_C[order] >= old_C[order]
    colours = [look(0).colour if each else look(1).colour for each in gain]
    panel.hlines(y, old_C[order], new_C[order], colors=colours, linewidth=1.2 if few else 0.8)
    panel.plot(old_C[order], y, "o", color=FAINT, markerfacecolor="white", markersize=size, zorder=3)  # fmt: skip
    panel.plot(new_C[order], y, "o", color=look(0).colour, markersize=size, zorder=4)
    panel.set_yticks(y, [names[at] for at in order], fontsize=7 if few else 5.2)
    panel.tick_params(axis="y", length=0)
    panel.set_ylim(len(order) - 0.4, -0.6)
    panel.set_xlim(-3, 103)
    panel.grid(visible=True, axis="both")
    panel.set_xlabel("test videos answered right (%)")
