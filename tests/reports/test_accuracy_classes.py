"""Figures of Tables 1, 3 and 4: exactly the numbers of the lines; classes one by one, ten of them and 101."""

import io
import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from reports.accuracy_classes import class_dots, shown_pairs
from reports.accuracy_grid import grid
from reports.accuracy_lines import measured
from reports.accuracy_panels import accuracy_dots
from reports.accuracy_tables import TABLE1, TABLE4, draw
from reports.published import BASELINE, PRETRAINED
from reports.style import paper_style
from tests.reports.answered import METHODS, Answered, table1, table4


@pytest.fixture
def answered(tmp_path: Path) -> Answered:
    return Answered(folder=tmp_path)


@pytest.mark.parametrize("classes", [10, 101])
def test_classes_are_counted_from_the_predictions(classes: int, tmp_path: Path) -> None:
    answered = Answered(folder=tmp_path, classes=classes, videos=4 * classes)
    answered.grid("ucf101", ("rgb",), METHODS, splits=(1, 2))
    evidence = answered.evidence()
    files = draw(evidence, ["csv"], TABLE1)
    table = pd.read_csv(io.BytesIO(files["table1_classes.csv"]))
    assert list(table.columns) == [
        *("dataset", "stream", "shots", "split", "resample", "method", "class", "accuracy", "videos")
    ]  # fmt: skip
    assert len(table) == 3 * 2 * classes
    assert set(table["videos"]) == {4}
    for key, path in evidence.kept.items():
        stored = pd.read_parquet(path / "predictions.parquet").groupby("video_id").mean()
        stored = stored.drop(columns=["block", "start"])
        labels = stored.pop("label").to_numpy()
        right = stored.to_numpy().argmax(axis=1) == labels
        _, _, method, _, split, _ = key.split("/")
        mine = table[(table["method"] == method) & (table["split"] == int(split))]
        for label in (0, classes - 1):
            accuracy = mine.loc[mine["class"] == f"class {label}", "accuracy"].item()
            assert accuracy == pytest.approx(100 * right[labels == label].mean())
    confusion = pd.read_csv(io.BytesIO(files["table1_confusion.csv"]))
    assert confusion["videos"].sum() == 3 * 2 * 4 * classes
    same = confusion[confusion["class"] == confusion["given"]]
    rights = (table["accuracy"] * table["videos"]).sum() / 100
    assert same["videos"].sum() == pytest.approx(rights)
    pairs = shown_pairs(measured(evidence, TABLE1))
    assert [(one.method, other.method) for one, other in pairs] == [(PRETRAINED, BASELINE)]
    with paper_style():
        figure = class_dots(evidence, pairs, TABLE1)
        figure.canvas.draw()  # type: ignore[no-untyped-call]
        (panel,) = figure.axes
        names = panel.get_yticklabels()
        assert len(names) == classes
        boxes = [name.get_window_extent() for name in names]
    tops = sorted((box.y0, box.y1) for box in boxes)
    assert all(below[1] <= above[0] + 1 for below, above in itertools.pairwise(tops))


def test_classes_most_gained_stand_first(answered: Answered) -> None:
    answered.grid("ucf101", ("rgb",), METHODS)
    evidence = answered.evidence()
    ((new, old),) = shown_pairs(measured(evidence, TABLE1))
    assert new.answers is not None
    assert old.answers is not None
    gain = new.answers.per_class() - old.answers.per_class()
    with paper_style():
        (panel,) = class_dots(evidence, [(new, old)], TABLE1).axes
    shown = [int(name.get_text().split()[1]) for name in panel.get_yticklabels()]
    assert [gain[each] for each in shown] == sorted(gain, reverse=True)


def test_of_streams_the_fusion_is_shown_class_by_class(answered: Answered) -> None:
    ((new, old),) = shown_pairs(measured(table4(answered), TABLE4))
    assert (new.stream, old.stream) == ("rgb+flow", "rgb")


def test_the_figure_shows_exactly_the_lines(answered: Answered) -> None:
    answered.chance = {"ucf101": 1.0}
    evidence = table1(answered, hole=lambda key: key == f"ucf101/flow1/{BASELINE}/all/1/0")
    lines = measured(evidence, TABLE1)
    with paper_style():
        figure = accuracy_dots(grid(lines, TABLE1), evidence.chance)
    assert [panel.get_title(loc="left") for panel in figure.axes] == [
        *("UCF-101\nRGB", "UCF-101\nflow, 1 field", "UCF-101\nflow, 10 fields", "HMDB-51\nRGB")
    ]
    drawn = [
        {
            round(float(np.ravel(mark.get_xdata())[0]), 6)
            for mark in panel.lines
            if mark.get_marker() != "None" and len(np.ravel(mark.get_xdata())) == 1
        }
        for panel in figure.axes
    ]
    for panel, (dataset, stream) in zip(
        drawn,
        (("ucf101", "rgb"), ("ucf101", "flow1"), ("ucf101", "flow10"), ("hmdb51", "rgb")),
        strict=True,
    ):
        mine = [line for line in lines if (line.dataset, line.stream) == (dataset, stream)]
        expected = {round(line.mean, 6) for line in mine if line.complete}
        expected |= {line.published.value for line in mine if line.published is not None}
        assert panel == expected
    assert [each.get_text() for each in figure.axes[1].texts] == ["2/3 †"]
    (legend,) = figure.legends
    assert "published" in [each.get_text() for each in legend.get_texts()]
