"""The style leaves no trace, depends on no matplotlibrc, and pictures are the same bytes every time."""

import subprocess
import sys

import matplotlib as mpl
import pytest

from reports.style import look, new_figure, paper_style, render


def draw_line():
    with paper_style():
        figure = new_figure(2.0, 1.5)
        figure.subplots().plot([1, 2, 4], [3, 5, 4], label="a")
        return figure


def test_the_style_ends_with_its_context():
    before = dict(mpl.rcParams)
    with paper_style():
        assert mpl.rcParams["font.size"] == 8
    assert dict(mpl.rcParams) == before


@pytest.mark.parametrize("form", ["png", "pdf", "svg"])
def test_settings_of_the_machine_do_not_show_in_a_picture(form):
    plain = render(draw_line(), form)
    with mpl.rc_context(
        {"font.size": 20, "savefig.dpi": 50, "svg.hashsalt": None, "lines.linewidth": 9}
    ):
        assert render(draw_line(), form) == plain


@pytest.mark.parametrize("form", ["png", "pdf", "svg"])
def test_a_picture_carries_neither_date_nor_program_version(form):
    content = render(draw_line(), form)
    for trace in (
        b"Matplotlib v",
        mpl.__version__.encode(),
        b"CreationDate",
        b"<dc:date>",
        b"Software",
    ):
        assert trace not in content


def test_an_unknown_picture_format_is_refused():
    with pytest.raises(ValueError, match="png, pdf, svg, not as 'gif'"):
        render(draw_line(), "gif")


def test_many_methods_all_look_different():
    looks = [look(place) for place in range(50)]
    assert len(set(looks)) == 50
    assert len({one.colour for one in looks[:7]}) == 7
    assert len({one.marker for one in looks[:8]}) == 8


def test_drawing_needs_neither_pyplot_nor_torch_nor_mlflow():
    check = (
        "import sys, reports.fig12; "
        "print([m for m in ('matplotlib.pyplot', 'torch', 'mlflow', 'harness', 'tasks') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
