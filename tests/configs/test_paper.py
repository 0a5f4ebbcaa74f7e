"""The paper as one experiment: which artefacts, which knobs go where, which cells they share."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from configs.experiment import Experiment, of_parts
from configs.fig12 import fig12
from configs.knobs import knobs, parse, parts, spell
from configs.paper import artefacts, compose, paper
from configs.registry import EXPERIMENTS
from tests.harness.toys_of_parts import both, fig1, needy, table2


def test_the_paper_is_every_artefact_that_the_registry_marks() -> None:
    marked = [name for name, entry in EXPERIMENTS.items() if entry.in_paper]
    assert "fig12" in marked
    assert list(paper().parts) == marked


def test_what_is_marked_needs_nothing_of_the_users_own() -> None:
    for name, function in artefacts().items():
        function()
        assert "scale" in knobs(function), name


def test_a_part_is_the_artefact_alone_with_the_same_cells() -> None:
    for name, part in paper(scale="demo").parts.items():
        alone = artefacts()[name](scale="demo")
        assert part.all_cells() == alone.all_cells()
        assert part.title == alone.title


def test_the_whole_has_every_cell_once() -> None:
    made = both()
    assert [len(part.cells) for part in made.parts.values()] == [2, 1]
    assert len(made.cells) == 2
    assert {c.key for part in made.parts.values() for c in part.cells} == {
        c.key for c in made.cells
    }


def test_a_cell_that_one_needs_and_another_draws_keeps_its_name() -> None:
    figure = fig12(methods=("pretrained",), shots=(1,), resamples=1)
    (needed,) = figure.cells[0].needs
    drawn = replace(figure, cells=(replace(needed, label="Composite Model"),))
    whole = of_parts(title="whole", parts={"first": figure, "second": drawn})
    assert [cell.label for cell in whole.all_cells() if cell.key == needed.key] == [
        "Composite Model"
    ]
    assert whole.all_cells()[0].key == needed.key


@pytest.mark.parametrize(
    ("texts", "parts_of_call", "spelt"),
    [
        (["fig1.resamples=3"], {"fig1": {"resamples": 3}}, ("fig1.resamples=3",)),
        (
            ["table2.fails=when drawn", "fig1.steps=1", "fig1.resamples=4"],
            {"table2": {"fails": "when drawn"}, "fig1": {"steps": 1, "resamples": 4}},
            ("fig1.resamples=4", "fig1.steps=1", "table2.fails=when drawn"),
        ),
    ],
)
def test_a_knob_of_a_part_is_typed_by_that_part_and_spelt_back(
    texts: list[str], parts_of_call: object, spelt: tuple[str, ...]
) -> None:
    chosen = parse(both, texts)
    assert chosen == {"parts": parts_of_call}
    assert spell(chosen) == spelt
    assert parse(both, spelt) == chosen
    assert "parts" not in knobs(both)
    assert set(parts(both)) == {"fig1", "table2"}
    assert parts(fig1) == {}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("fig2.resamples=2", r"no part 'fig2'; did you mean 'fig1'\? \(parts: fig1, table2\)"),
        ("fig1.resample=2", r"fig1: there is no knob 'resample'; did you mean 'resamples'\?"),
        ("fig1.resamples=x", r"fig1: knob 'resamples' cannot be 'x'"),
        ("fig1=2", r"no knob 'fig1' .*of a part: PART.NAME"),
        ("fig1.=2", r"fig1: there is no knob ''"),
    ],
)
def test_a_wrong_part_or_knob_is_a_sentence(text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        parse(both, [text])


def test_a_knob_of_a_part_that_is_set_twice_is_refused() -> None:
    with pytest.raises(ValueError, match=r"fig1: knob 'steps' is set twice"):
        parse(both, ["fig1.steps=1", "fig1.steps=2"])


def test_a_dot_means_nothing_where_there_are_no_parts() -> None:
    with pytest.raises(ValueError, match=r"no knob 'fig1\.steps'"):
        parse(fig1, ["fig1.steps=1"])


def test_what_is_set_for_all_reaches_every_part_and_a_part_alone_goes_before() -> None:
    def steps(made: Experiment) -> dict[str, set[object]]:
        return {
            name: {cell.task.schedule.steps for cell in part.cells}
            for name, part in made.parts.items()
        }

    assert steps(both(steps=5)) == {"fig1": {5}, "table2": {5}}
    assert steps(both(steps=5, parts={"fig1": {"steps": 7}})) == {"fig1": {7}, "table2": {5}}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"only": ("fig12",)}, r"no part 'fig12'; did you mean 'fig1'"),
        (
            {"only": ("fig1",), "parts": {"table2": {"steps": 1}}},
            r"a knob of table2 is set, which is not among only=fig1",
        ),
        ({"for_all": {"glyphs": "mnist"}}, r"glyphs=mnist: none of fig1, table2 has this knob"),
        ({"parts": {"fig1": {"resamples": 0}}}, r"fig1: resamples=0: a curve needs at least 1"),
    ],
)
def test_what_no_part_could_use_is_refused(arguments: dict[str, object], sentence: str) -> None:
    call = {
        "title": "Both",
        "functions": {"fig1": fig1, "table2": table2},
        "only": (),
        "for_all": {},
        "parts": {},
        **arguments,
    }
    with pytest.raises(ValueError, match=sentence):
        compose(**call)


def test_a_part_that_has_to_be_told_something_says_what() -> None:
    call = {"title": "x", "functions": {"needy": needy}, "only": (), "for_all": {}}
    with pytest.raises(ValueError, match=r"needy needs .* its word: add --set needy\.word="):
        compose(parts={}, **call)
    assert compose(parts={"needy": {"word": "told"}}, **call).parts["needy"].title == "told"


def test_an_experiment_has_a_report_or_parts_that_have_one() -> None:
    made = fig1()
    with pytest.raises(ValueError, match="either draw or parts"):
        Experiment(title="none", cells=made.cells)
    with pytest.raises(ValueError, match="either draw or parts"):
        Experiment(title="two", cells=made.cells, draw=made.draw, parts={"fig1": made})
    with pytest.raises(ValueError, match="no cells"):
        of_parts(title="empty", parts={})
    with pytest.raises(ValueError, match="inner consists of parts itself"):
        of_parts(title="nested", parts={"inner": both()})
    with pytest.raises(ValueError, match="the part 'Table 1' becomes the name of files"):
        of_parts(title="named", parts={"Table 1": fig1()})


def test_knobs_of_the_paper_and_its_parts_import_nothing_heavy_and_its_cells_no_torch() -> None:
    script = (
        "import sys\nfrom configs.knobs import parts, knobs\nfrom configs.paper import paper\n"
        "for each in (paper, *parts(paper).values()):\n    knobs(each)\n"
        "heavy = {'torch', 'matplotlib', 'cv2', 'mlflow'}\n"
        "print(sorted((heavy | {'pandas', 'sklearn'}) & set(sys.modules)))\n"
        "paper()\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.splitlines() == ["[]", "[]"]


def test_the_tables_stand_in_the_papers_order() -> None:
    tables = [name for name in artefacts() if name.startswith("table")]
    assert tables == ["table1", "table2", "table3", "table4"]


@pytest.mark.parametrize("name", ["fig12", "table1", "table3", "table4"])
def test_at_the_papers_scale_what_tests_on_labelled_videos_waits_for_some(name: str) -> None:
    """On the built-in digits it would cost thousands of hours and show nothing of the paper's."""
    built_in = {"scale": "paper", "glyphs": "digits", "patches": "panned_photos"}
    alone = list(paper(**built_in).parts)  # type: ignore[arg-type]
    assert not {"fig12", "table1", "table3", "table4"} & set(alone)
    told = paper(**built_in, parts={name: {"dataset": ("digits",)}})  # type: ignore[arg-type]
    assert set(told.parts) == {*alone, name}
    assert list(paper(scale="paper", only=(name,)).parts) == [name]
    assert name in paper().parts


def test_what_tables_1_3_and_4_and_fig12_share_is_run_once() -> None:
    made = paper(only=("fig12", "table1", "table3", "table4"))
    counts = {name: len(part.all_cells()) for name, part in made.parts.items()}
    # Pixels of Table 1: two classifiers, their pretraining and the single frames are Fig. 12's; of Table 3 the baseline's and
    # the Composite's eleven cells each and one pretraining; Table 4 adds its fusion.
    new = {"fig12": 0, "table1": 4, "table3": 2 * 11 + 1, "table4": 4}
    assert len(made.all_cells()) == sum(counts.values()) - sum(new.values())


def test_a_refusal_says_how_to_do_without_that_artefact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path))
    with pytest.raises(ValueError, match=r"without fig6: --set only=table2,fig5,fig7"):
        paper(scale="paper", glyphs="digits", parts={"table2": {"patches": "panned_photos"}})
