"""What is drawn, read back from the figure itself."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure

from reports.fig12 import error_bar_note
from reports.frame import curve
from reports.panels import accuracy_panels
from reports.published import BASELINE, PRETRAINED, SINGLE_FRAME
from reports.style import PUBLISHED_MARKER, look, paper_style, render

VIDEO = "video_accuracy"


def draw(plan, *, chance=None) -> tuple[Figure, pd.DataFrame]:
    points = curve(plan.evidence(), VIDEO)
    with paper_style():
        return accuracy_panels(points, chance=chance or {}, note="the note"), points


def shown(figure: Figure) -> list[Axes]:
    return [panel for panel in figure.axes if panel.get_visible()]


def texts(panel: Axes) -> list[str]:
    return [text.get_text() for text in panel.texts]


def bars(panel: Axes) -> list[ErrorbarContainer]:
    return [one for one in panel.containers if isinstance(one, ErrorbarContainer)]


def line_of(panel: Axes, place: int) -> np.ndarray:
    """Heights of the connecting line of the method at this place."""
    colour = look(place).colour
    (line,) = [
        one
        for one in panel.lines
        if one.get_color() == colour
        and one.get_linestyle() == "-"
        and one.get_marker() in ("None", "")
    ]
    return np.asarray(line.get_ydata(), dtype=float)


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_the_drawn_heights_are_the_numbers_of_the_curve(grid):
    figure, points = draw(grid())
    (panel,) = shown(figure)
    for place, method in enumerate(["single frame", "LSTM classifier"]):
        np.testing.assert_array_equal(
            line_of(panel, place), points["mean"][points["method"] == method]
        )


def test_there_is_one_panel_per_dataset_with_the_dataset_s_name(grid):
    figure, _ = draw(grid(datasets=("digits", "hmdb51", "ucf101"), resamples=2))
    assert [panel.get_title(loc="left") for panel in shown(figure)] == [
        "digits",
        "HMDB-51",
        "UCF-101",
    ]


def test_ticks_stand_at_the_numbers_of_videos_that_occur_on_a_log2_axis(grid):
    (panel,) = shown(draw(grid())[0])
    assert panel.get_xscale() == "log"
    assert list(panel.get_xticks()) == [1.0, 4.0, 60.0]
    assert [tick.get_text() for tick in panel.get_xticklabels()] == ["1", "4", "all (60)"]


def test_a_close_last_tick_is_written_in_two_lines(grid):
    (panel,) = shown(draw(grid(shots=("1", "50", "all")))[0])
    assert panel.get_xticklabels()[-1].get_text() == "all\n(60)"


def test_one_resample_has_a_point_and_no_error_bar(grid):
    figure, _ = draw(grid(resamples=1))
    assert bars(shown(figure)[0]) == []


def test_error_bars_are_one_sd_to_both_sides_and_do_not_stand_on_one_another(grid):
    figure, points = draw(grid(methods=("a", "b", "c"), shots=("1", "2")))
    (panel,) = shown(figure)
    first = bars(panel)[0].lines[2][0].get_segments()
    mean, sd = points.loc[0, ["mean", "sd"]].astype(float)
    assert [first[0][0][1], first[0][1][1]] == pytest.approx([mean - sd, mean + sd])
    feet = [bar.lines[2][0].get_segments()[0][0][0] for bar in bars(panel)]
    assert len(set(feet)) == 3


def test_an_incomplete_point_is_hollow_and_says_how_many_resamples_it_has(grid):
    figure, _ = draw(grid(holes=lambda place: place[1:] == ("LSTM classifier", "4", 1, 3)))
    (panel,) = shown(figure)
    assert texts(panel) == ["9/10"]
    assert "incomplete (n of expected)" in legend(figure)
    hollow = [
        line
        for line in panel.lines
        if line.get_markerfacecolor() == "white" and len(line.get_xdata())
    ]
    assert len(hollow) == 1


def test_a_point_without_runs_breaks_the_line_and_is_not_drawn(grid):
    figure, _ = draw(grid(holes=lambda place: place[1:3] == ("LSTM classifier", "4")))
    assert np.isnan(line_of(shown(figure)[0], 1)).tolist() == [False, True, False]


def test_published_points_are_hollow_diamonds_where_the_paper_has_a_number(grid):
    plan = grid(
        datasets=("ucf101",), methods=(SINGLE_FRAME, BASELINE, PRETRAINED), shots=("1", "2", "all")
    )
    figure, _ = draw(plan)
    (panel,) = shown(figure)
    diamonds = [line for line in panel.lines if line.get_marker() == PUBLISHED_MARKER]
    heights = np.concatenate([np.asarray(line.get_ydata(), dtype=float) for line in diamonds])
    assert sorted(heights[~np.isnan(heights)]) == [29.6, 34.3, 72.2, 74.5, 75.8]
    assert {line.get_markerfacecolor() for line in diamonds} == {"none"}
    assert "published" in legend(figure)


def test_digits_have_no_published_points_and_no_such_entry_in_the_legend(grid):
    assert legend(draw(grid())[0]) == ["single frame", "LSTM classifier"]


def test_the_chance_level_is_a_dotted_line_where_it_is_known(grid):
    figure, _ = draw(grid(datasets=("digits", "mine")), chance={"digits": 10.0})
    dotted = [
        [line for line in panel.lines if line.get_linestyle() == ":"] for panel in shown(figure)
    ]
    assert [len(lines) for lines in dotted] == [1, 0]
    assert list(dotted[0][0].get_ydata()) == [10.0, 10.0]
    assert legend(figure)[-1] == "chance"


def test_the_note_on_error_bars_stands_in_the_figure(grid):
    figure, _ = draw(grid())
    assert figure.legends[0].get_title().get_text() == "the note"


def test_nothing_finished_is_said_in_the_figure(grid):
    figure, points = draw(grid(holes=lambda place: True))
    (panel,) = shown(figure)
    assert texts(panel) == ["no finished runs yet"]
    assert error_bar_note(points, [1]) == "no error bars: nothing has finished yet"


def test_many_long_names_do_not_cover_or_squeeze_the_panel(grid):
    names = tuple(
        f"variant {place} of a method with quite a long $name_{place}$ to its description"
        for place in range(9)
    )
    figure, _ = draw(grid(methods=names, resamples=2))
    render(figure, "svg")
    (panel,) = shown(figure)
    box = panel.get_window_extent()
    assert box.height / figure.dpi > 1.8  # inches
    assert not box.overlaps(figure.legends[0].get_window_extent())
    assert [label.replace("\n", " ") for label in legend(figure)] == list(names)


def test_a_single_point_can_be_drawn(grid):
    figure, _ = draw(grid(shots=("4",), resamples=1))
    assert list(shown(figure)[0].get_xticks()) == [4.0]
    assert len(render(figure, "png")) > 1000


def test_the_note_names_the_spread_its_number_of_subsets_and_the_splits(grid):
    def note(**options):
        return error_bar_note(curve(grid(**options).evidence(), VIDEO), options.get("splits", (1,)))

    assert note(shots=("1", "4")) == "error bars: ±1 sd over 10 resampled training subsets"
    assert note() == (
        "error bars: ±1 sd over 10 resampled training subsets; no bar where there is one run"
    )
    assert note(shots=("1",), splits=(1, 2)) == (
        "error bars: ±1 sd over 10 resampled training subsets, each first averaged over splits 1, 2"
    )
    assert note(resamples=1).startswith("no error bars: fewer than two")


def test_at_all_videos_the_note_speaks_of_seeds_because_nothing_is_resampled(plan):
    for resample in range(3):
        plan.add(("digits", "a", "1", 1, resample), 40.0 + resample)
        plan.add(("digits", "a", "all", 1, resample), 80.0 + resample)
    note = error_bar_note(curve(plan.evidence(), VIDEO), [1])
    assert note == 'error bars: ±1 sd over 3 resampled training subsets and 3 seeds at "all"'
