"""What MLflow's pages show first: the figure's lines as runs, and the tables in words."""

from pathlib import Path

import pytest

from harness.shown import LENGTH, described, lines_of, points_of_parent
from reports.evidence import Evidence, Value
from reports.style import look


def evidence(
    scores: dict[tuple[str, str, str], list[float]],
    *,
    metric: str = "video_accuracy",
    **more: Value,
) -> Evidence:
    """Scores over resamples by (dataset, method, shots); six videos a class are all."""
    expected: list[dict[str, Value]] = []
    rows: list[dict[str, Value]] = []
    for (dataset, method, shots), values in scores.items():
        for resample, value in enumerate(values):
            cell: dict[str, Value] = {
                "cell": f"{dataset}-{method}-{shots}-{resample}",
                "dataset": dataset,
                "method": method,
                "shots": shots,
                "labels_per_class": 6 if shots == "all" else int(shots),
                "split": 1,
                "resample": resample,
                **more,
            }
            expected.append(cell)
            rows.append(
                {**cell, "run": "a", "metric": metric, "value": value, "unit": "%", "higher_is_better": True}
            )  # fmt: skip
    return Evidence(
        experiment="fig12",
        title="T",
        expected=tuple(expected),
        rows=tuple(rows),
        failed={},
        provenance={},
    )


TWO = {
    ("digits", "a", "1"): [10.0, 14.0],
    ("digits", "a", "all"): [50.0, 50.0],
    ("digits", "b + c", "1"): [20.0, 26.0],
    ("digits", "b + c", "all"): [70.0],
}


def test_a_line_has_mean_and_bounds_at_the_number_of_labels_and_the_figures_colour() -> None:
    first, second = lines_of(evidence(TWO))
    assert (first.name, second.name) == ("a · digits", "b + c · digits")
    assert (first.colour, second.colour) == (look(0).colour, look(1).colour)
    sd = 8**0.5  # of 10 and 14, ddof = 1
    assert dict(first.points) == {
        "digits/lower video_accuracy": [(1, pytest.approx(12 - sd)), (6, 50.0)],
        "digits/mean video_accuracy": [(1, 12.0), (6, 50.0)],
        "digits/upper video_accuracy": [(1, pytest.approx(12 + sd)), (6, 50.0)],
        "sd of video_accuracy": [(1, pytest.approx(sd)), (6, 0.0)],
        "resamples": [(1, 2.0), (6, 2.0)],
    }
    # One resample has a mean and no spread.
    assert second.points["digits/mean video_accuracy"] == [(1, 23.0), (6, 70.0)]
    assert [step for step, _ in second.points["digits/upper video_accuracy"]] == [1]


def test_the_parents_metrics_are_the_same_numbers_under_names_that_mlflow_takes() -> None:
    points = points_of_parent(evidence(TWO), "fig12")
    assert points["fig12/video_accuracy/digits/b _ c"] == [(1, 23.0), (6, 70.0)]
    assert points["fig12/video_accuracy/digits/a/upper"] == [
        (1, pytest.approx(12 + 8**0.5)),
        (6, 50.0),
    ]


def test_lines_of_a_part_say_which() -> None:
    line = lines_of(evidence(TWO), "fig12")[0]
    assert line.name == "a · fig12, digits"
    assert "fig12/digits/mean video_accuracy" in line.points


def test_one_number_of_labels_is_no_curve_and_stands_at_step_0() -> None:
    (line,) = lines_of(evidence({("digits", "a", "all"): [50.0, 60.0]}))
    assert line.points["digits/mean video_accuracy"] == [(0, 55.0)]


def test_a_method_on_two_streams_is_two_lines() -> None:
    rgb = evidence({("ucf101", "a", "1"): [10.0], ("ucf101", "a", "all"): [30.0]}, stream="rgb")
    flow = evidence({("ucf101", "a", "1"): [40.0], ("ucf101", "a", "all"): [60.0]}, stream="flow1")

    def named(cells: tuple[dict[str, Value], ...]) -> tuple[dict[str, Value], ...]:
        return tuple({**cell, "cell": f"flow-{cell['cell']}"} for cell in cells)

    both = Evidence(
        experiment="table1",
        title="T",
        expected=(*rgb.expected, *named(tuple(map(dict, flow.expected)))),
        rows=(*rgb.rows, *named(tuple(map(dict, flow.rows)))),
        failed={},
        provenance={},
    )
    found = {line.name: line.points for line in lines_of(both)}
    assert list(found) == ["a · ucf101 rgb", "a · ucf101 flow1"]
    assert found["a · ucf101 flow1"]["ucf101 flow1/mean video_accuracy"] == [(1, 40.0), (6, 60.0)]


def test_an_experiment_of_losses_has_no_lines() -> None:
    losses = evidence({("digits", "a", "all"): [50.0]}, metric="future_loss")
    assert lines_of(losses) == []
    assert points_of_parent(losses) == {}


def test_a_line_is_identified_by_its_numbers() -> None:
    same, other = (
        lines_of(evidence(TWO)),
        lines_of(evidence({**TWO, ("digits", "a", "1"): [10.0, 15.0]})),
    )
    assert [line.digest() for line in same] == [line.digest() for line in lines_of(evidence(TWO))]
    assert same[0].digest() != other[0].digest()
    assert same[1].digest() == other[1].digest()


def test_the_description_has_the_tables_as_far_as_they_fit(tmp_path: Path) -> None:
    table = "| a |\n| --- |\n| 1 |"
    written = {"fig12.md": tmp_path / "fig12.md", "fig12.png": tmp_path / "fig12.png"}
    written["fig12.md"].write_text(f"# T\n\n![alt](fig12.png)\n\n{table}\n\n{'x' * LENGTH}\n\nlast")
    text = described("T", 3, 4, "fig12", written, has_lines=True)
    assert "3 of 4 cells have a result" in text
    assert "`fig12.png`" in text
    assert table in text
    assert "The rest is in `fig12.md`" in text
    assert "![" not in text
    assert "last" not in text
    assert len(text) < LENGTH + 100


def test_the_description_of_what_has_no_report_yet_says_where_to_look() -> None:
    text = described("T", 0, 4, "fig12", {}, has_lines=False)
    assert "0 of 4 cells" in text
    assert "laid over" not in text
