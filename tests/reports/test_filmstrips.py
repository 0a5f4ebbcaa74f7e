"""Film strips from hand-made runs: every pixel in its place, every number in the table, holes that stay holes."""

import io
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from safetensors.numpy import save_file

from reports.animation import PANEL
from reports.evidence import Evidence, Value
from reports.film import film, zoom
from reports.filmstrips import draw_models, draw_out_of_domain
from reports.strips import Group, Strip, strips_figure
from reports.style import paper_style
from reports.tables import MISSING
from tests.latex import assert_typesets_both_ways

FORMS = ("png", "pdf", "svg", "gif", "md", "tex", "html", "csv", "json")
SIDE, READ, AHEAD, SHOWN = 16, 4, 3, 2

Make = Callable[..., Evidence]


def frames(seed: int, count: int, channels: int = 1) -> np.ndarray:
    """Random grey levels in [0, 1], float16 (count, SHOWN, D)."""
    size = (count, SHOWN, SIDE * SIDE * channels)
    return (np.random.default_rng(seed).integers(0, 256, size=size) / 255).astype(np.float16)


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Evidence of cells with pictures; those of `holes` have no run."""

    def build(
        names: Sequence[str] = ("A Model", "B Model"),
        *,
        datasets: Sequence[str] = (),
        holes: Sequence[str] = (),
        channels: int = 1,
        conditional: bool = False,
        output: str = "logistic",
        without: str = "",
        value_range: tuple[float, float] = (0, 1),
    ) -> Evidence:
        expected: list[dict[str, Value]] = []
        rows: list[dict[str, Value]] = []
        kept: dict[str, Path] = {}
        for place, name in enumerate(names):
            dataset = datasets[place] if datasets else "digits"
            cell: dict[str, Value] = {
                "cell": f"{place:016d}", "method": name, "dataset": dataset, "trained_on": "digits",
                "layers": place + 1, "units": 1024, "predict_future": "conditional" if conditional else "unconditioned",
                "output": output, "side": SIDE, "channels": channels, "input_frames": READ, "future_frames": AHEAD, "test_sequences": 1234,
            }  # fmt: skip
            expected.append(cell)
            if name in holes:
                continue
            unit = "nats/frame" if output == "logistic" else "squared loss/frame"
            losses = {"reconstruction_loss": 10.0 + place, "future_loss": 20.0 + place}
            losses["future_loss_teacher_forced"] = 15.0 + place
            if output == "logistic":
                losses["target_entropy"] = 5.0
            rows += [
                {**cell, "run": f"r{place}", "metric": metric, "value": value, "unit": unit, "higher_is_better": False}
                for metric, value in losses.items()
            ]  # fmt: skip
            folder = tmp_path / f"run{place}"
            folder.mkdir(exist_ok=True)
            low, high = value_range
            truth = 0 if not datasets else 100 * place
            tensors = {
                "input_TBD": frames(truth, READ, channels),
                "future_FBD": frames(truth + 1, AHEAD, channels),
                "reconstruction_TBD": frames(10 + 2 * place, READ, channels),
                "prediction_FBD": frames(11 + 2 * place, AHEAD, channels),
            }
            scaled = {
                key: (low + (high - low) * each.astype(np.float32)).astype(np.float16)
                for key, each in tensors.items()
                if key != without
            }
            scaled["display_range"] = np.array(value_range, dtype=np.float32)
            save_file(scaled, folder / "pictures.safetensors")
            kept[str(cell["cell"])] = folder
        return Evidence(
            experiment="strips", title="Strips", expected=tuple(expected), rows=tuple(rows),
            failed={f"{names.index(hole):016d}": "out of memory" for hole in holes},
            provenance={"notes": ["A note."], "commit": "0123abc"}, kept=kept,
        )  # fmt: skip

    return build


def picture(frames_TBD: np.ndarray, frame: int, sequence: int, times: int) -> np.ndarray:
    """A frame as it should be seen: grey levels as squares of `times` pixels, (Y, X, 3)."""
    levels_D = np.round(255 * frames_TBD[frame, sequence].astype(float)).astype(np.uint8)
    levels_YXC = levels_D.reshape(SIDE, SIDE, -1)
    return np.broadcast_to(
        np.kron(levels_YXC, np.ones((times, times, 1), dtype=np.uint8)),
        (SIDE * times, SIDE * times, 3),
    )


def seen(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def found(image: np.ndarray, patch: np.ndarray) -> list[tuple[int, int]]:
    """Where in an image a patch is, pixel by pixel: (row, column) of its upper left corner."""
    rows, columns = image.shape[0] - len(patch) + 1, image.shape[1] - patch.shape[1] + 1
    corner = (image[:rows, :columns] == patch[0, 0]).all(axis=2)
    corner &= (image[len(patch) - 1 :, patch.shape[1] - 1 :] == patch[-1, -1]).all(axis=2)
    return [
        (int(y), int(x))
        for y, x in np.argwhere(corner)
        if np.array_equal(image[y : y + len(patch), x : x + patch.shape[1]], patch)
    ]


def test_every_frame_is_in_the_picture_once_crisp_and_in_the_order_of_time(make: Make) -> None:
    image, times = seen(draw_models(make(), ["png"])["strips.png"]), zoom(SIDE, 64)
    tops = []
    for halves in ((0, 1), (10, 11), (12, 13)):  # truth, first model, second model
        for sequence in range(SHOWN):
            places = [
                found(image, picture(frames(seed, count), frame, sequence, times))
                for seed, count in zip(halves, (READ, AHEAD), strict=True)
                for frame in range(count)
            ]
            assert all(len(place) == 1 for place in places)
            rows, columns = zip(*(place[0] for place in places), strict=True)
            assert len(set(rows)) == 1
            assert list(columns) == sorted(columns)
            gaps = np.diff(columns)
            assert gaps[READ - 1] > gaps[0]  # between what was read and what came next
            assert len(set(np.delete(gaps, READ - 1))) == 1
            tops.append(rows[0])
    assert tops == sorted(tops)


def test_only_the_last_frames_read_can_be_drawn_and_they_keep_their_numbers(make: Make) -> None:
    image = seen(draw_models(make(), ["png"], last_input=2)["strips.png"])
    for seed in (0, 10):
        drawn = [bool(found(image, picture(frames(seed, READ), f, 0, 4))) for f in range(READ)]
        assert drawn == [False, False, True, True]
    svg = draw_models(make(), ["gif"], last_input=2)["strips.gif"]
    assert Image.open(io.BytesIO(svg)).n_frames == READ + AHEAD  # the moving picture has all


def test_frames_are_numbered_from_the_first_that_was_read() -> None:
    blank = np.zeros((2, SIDE, SIDE, 1), dtype=np.uint8)
    strip = Strip(label="", past_TYXC=blank, future_TYXC=blank)
    group = Group(heading="Truth", told="", halves=None, strips=(strip,))
    with paper_style():
        figure = strips_figure([group], side=SIDE, times=((7, 8), (9, 10)))
    texts = [each.get_text() for each in figure.texts]
    assert texts[-4:] == ["7", "8", "9", "10"]


def test_a_long_heading_and_its_losses_do_not_meet_on_narrow_frames() -> None:
    blank = np.zeros((3, SIDE, SIDE, 1), dtype=np.uint8)
    strip = Strip(label="", past_TYXC=blank, future_TYXC=blank)
    long = Group(heading="Composite Model " * 4, told="loss: 123.4 nats/frame" * 2, halves=None, strips=(strip,))  # fmt: skip
    with paper_style():
        figure = strips_figure([long], side=SIDE, times=((1, 2, 3), (4, 5, 6)))
        heading, told = (figure.texts[place].get_window_extent() for place in (0, 1))
    assert heading.x1 < told.x0
    assert told.x1 <= figure.bbox.x1


def test_values_are_shown_on_the_scale_that_the_run_kept(make: Make) -> None:
    plain = draw_models(make(), ["png"])["strips.png"]
    wide = draw_models(make(value_range=(-8.0, 8.0)), ["png"])["strips.png"]
    difference = np.abs(seen(plain).astype(int) - seen(wide))
    assert difference.max() <= 1  # float16 between


def test_values_beyond_the_scale_are_black_and_white(make: Make) -> None:
    evidence = make(["A Model"])
    (folder,) = evidence.kept.values()
    pixels = {
        name: np.full((2, 1, SIDE**2), value, dtype=np.float16)
        for name, value in (("input_TBD", -5), ("future_FBD", 5))
    }
    pixels["display_range"] = np.array([-1, 1], dtype=np.float32)
    save_file(pixels, folder / "pictures.safetensors")
    made = film(evidence, evidence.expected[0])
    assert made is not None
    assert (np.unique(made.input_TBYXC), np.unique(made.future_FBYXC)) == (0, 255)


def test_colours_lie_beside_each_other(make: Make) -> None:
    image = seen(draw_models(make(channels=3), ["png"])["strips.png"])
    assert len(found(image, picture(frames(0, READ, 3), 1, 1, 4))) == 1


def test_a_decoder_that_is_not_there_leaves_its_half_empty(make: Make) -> None:
    image = seen(draw_models(make(without="reconstruction_TBD"), ["png", "gif"])["strips.png"])
    assert len(found(image, picture(frames(11, AHEAD), 0, 0, 4))) == 1
    assert not found(image, picture(frames(10, READ), 0, 0, 4))


def test_the_moving_picture_shows_every_moment_once_and_repeats(make: Make) -> None:
    moving = Image.open(io.BytesIO(draw_models(make(), ["gif"])["strips.gif"]))
    assert moving.n_frames == READ + AHEAD
    assert moving.info["loop"] == 0
    times = zoom(SIDE, PANEL)
    side, durations, places = SIDE * times, [], []
    for frame in range(READ + AHEAD):
        moving.seek(frame)
        durations.append(moving.info["duration"])
        image = np.asarray(moving.convert("RGB")).astype(int)
        past = frame < READ
        wanted = [
            picture(frames(seed + (not past), READ if past else AHEAD), frame - READ * (not past), s, times)
            for s in range(SHOWN)
            for seed in (0, 10, 12)
        ]  # fmt: skip
        # Panels are found by where they fit best; 256 colours show a level to within a few.
        corners = []
        for patch in wanted:
            thin = patch[::times, ::times]
            errors = {
                (y, x): np.abs(image[y : y + side : times, x : x + side : times] - thin).mean()
                for y, x in _corners(image, side)
            }
            best = min(errors, key=errors.__getitem__)
            assert errors[best] < 4
            corners.append(best)
        places.append(tuple(corners))
    assert len(set(places)) == 1  # nothing jumps
    assert len(set(places[0])) == 3 * SHOWN
    assert durations[:-1] == [durations[0]] * (len(durations) - 1)
    assert durations[-1] > durations[0]


def _corners(image: np.ndarray, side: int) -> list[tuple[int, int]]:
    """Where panels may begin: inside of a coloured border, after a stretch of one colour above and left of it."""
    accent = (image.max(axis=2) - image.min(axis=2)) > 60
    wide = np.lib.stride_tricks.sliding_window_view(accent, side, axis=1).all(axis=2)
    tall = np.lib.stride_tricks.sliding_window_view(accent, side, axis=0).all(axis=2)
    return [
        (int(y) + 1, int(x))
        for y, x in np.argwhere(wide[:-side])
        if x and tall[y + 1, x - 1] and not accent[y + 1 : y + 1 + side, x : x + side].any()
    ]


def test_all_forms_are_the_same_every_time_and_agree(make: Make) -> None:
    evidence = make()
    files = draw_models(evidence, FORMS)
    assert files == draw_models(evidence, FORMS)
    assert set(files) == {f"strips.{form}" for form in FORMS}
    turned = replace(evidence, rows=evidence.rows[::-1])
    assert draw_models(turned, ["md", "png", "gif"]) == {
        name: files[name] for name in ("strips.md", "strips.png", "strips.gif")
    }
    lines = pd.read_csv(io.BytesIO(files["strips.csv"]))
    assert lines["future_loss"].tolist() == [20, 21]
    assert [line["reconstruction_loss"] for line in json.loads(files["strips.json"])["lines"]] == [10, 11]  # fmt: skip
    for form in ("md", "tex", "html"):
        text = files[f"strips.{form}"].decode()
        assert "A note." in text
        assert "1,234 held-out sequences" in text
        assert all(number in text for number in ("10.0", "11.0", "20.0", "21.0"))
        assert ("1024" if form == "tex" else "1,024") in text  # siunitx sets the comma
    assert draw_models(evidence, []) == {}
    assert files["strips.pdf"].startswith(b"%PDF")


def test_the_page_is_whole_html_with_the_figure_in_it(make: Make) -> None:
    class Tags(HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.open: list[str] = []
            self.images = 0

        def handle_starttag(self, tag: str, attrs: object) -> None:
            self.images += tag == "image"
            if tag not in ("meta", "path", "use", "image"):
                self.open.append(tag)

        def handle_startendtag(self, tag: str, attrs: object) -> None:
            self.images += tag == "image"

        def handle_endtag(self, tag: str) -> None:
            if tag not in ("path", "use", "image"):
                assert self.open.pop() == tag

    page = Tags()
    page.feed(draw_models(make(), ["html"])["strips.html"].decode())
    assert not page.open
    assert page.images == 3 * SHOWN * 2  # a picture for each half of each strip


def test_teacher_forced_losses_stand_apart_and_only_where_they_differ(make: Make) -> None:
    assert "teacher-forced" not in draw_models(make(), ["md"])["strips.md"].decode()
    text = draw_models(make(conditional=True), ["md"])["strips.md"].decode()
    assert "| A Model | 1 | 1,024 | 10.0 | 20.0 | 15.0 | 5.0 |" in text
    assert "is shown the true frame before" in text


def test_linear_outputs_have_their_unit_and_no_least_loss(make: Make) -> None:
    text = draw_models(make(output="linear"), ["md"])["strips.md"].decode()
    assert "Losses (in squared loss/frame) are means" in text
    assert "nats" not in text
    assert "least possible" not in text.lower()


@pytest.mark.parametrize("draw", [draw_models, draw_out_of_domain])
def test_losses_in_different_units_are_refused(
    make: Make, draw: Callable[..., dict[str, bytes]]
) -> None:
    evidence = make()
    first, *others = evidence.rows
    wrong = replace(evidence, rows=({**first, "unit": "bits/frame"}, *others))
    with pytest.raises(
        ValueError, match="is in bits/frame, and logistic outputs are scored in nats/frame"
    ):
        draw(wrong, ["md"])

    def linear(line: dict[str, Value]) -> dict[str, Value]:
        mine = {**line, "output": "linear"} if line["method"] == "B Model" else line
        return {**mine, "unit": "squared loss/frame"} if mine != line and "unit" in line else mine

    mixed = replace(
        evidence,
        expected=tuple(map(linear, evidence.expected)),
        rows=tuple(map(linear, evidence.rows)),
    )
    with pytest.raises(ValueError, match=r"linear and logistic outputs .* different units"):
        draw(mixed, ["md"])


def test_a_missing_model_is_shown_as_missing(make: Make) -> None:
    evidence = make(holes=["A Model"])
    files = draw_models(evidence, FORMS)
    text = files["strips.md"].decode()
    assert "1 of 2 expected results are in." in text
    assert f"| A Model | 1 | 1,024 | {' | '.join([MISSING] * 3)} |" in text
    assert "out of memory" in text
    image = seen(files["strips.png"])
    assert found(image, picture(frames(0, READ), 0, 0, 4))  # the truth is there all the same
    assert found(image, picture(frames(12, READ), 0, 0, 4))


def test_nothing_finished_is_no_picture(make: Make) -> None:
    files = draw_models(make(holes=["A Model", "B Model"]), FORMS)
    assert set(files) == {f"strips.{form}" for form in ("md", "tex", "html", "csv", "json")}
    assert "0 of 2 expected results are in." in files["strips.md"].decode()


KINDS = ("One moving digit", "Two moving digits", "Three moving digits")
DATA = ("digits_1", "digits", "digits_3")


def test_out_of_domain_strips_are_truth_and_model_by_turns(make: Make) -> None:
    files = draw_out_of_domain(make(KINDS, datasets=DATA), FORMS)
    assert set(files) == {f"strips.{form}" for form in FORMS}
    image = seen(files["strips.png"])
    tops = [
        found(image, picture(frames(seed, READ), 0, sequence, 4))[0][0]
        for true, made in ((0, 10), (200, 14))
        for sequence in range(SHOWN)
        for seed in (true, made)
    ]
    assert tops == sorted(tops)
    assert len(set(tops)) == len(tops)
    assert not found(
        image, picture(frames(12, READ), 0, 0, 4)
    )  # two digits are what it was trained on
    text = files["strips.md"].decode()
    assert all(f"| {name} | {data} |" in text for name, data in zip(KINDS, DATA, strict=True))
    assert Image.open(io.BytesIO(files["strips.gif"])).n_frames == READ + AHEAD


def test_out_of_domain_holes_stay_holes(make: Make) -> None:
    files = draw_out_of_domain(make(KINDS, datasets=DATA, holes=[KINDS[2]]), ["md", "png"])
    assert "2 of 3 expected results are in." in files["strips.md"].decode()
    assert found(seen(files["strips.png"]), picture(frames(10, READ), 0, 0, 4))
    only_two = make(KINDS, datasets=DATA, holes=[KINDS[0], KINDS[2]])
    assert set(draw_out_of_domain(only_two, ["md", "png", "gif"])) == {"strips.md"}


def test_pictures_that_are_not_what_the_cell_says_are_refused(make: Make) -> None:
    evidence = make()
    wrong = replace(evidence, expected=tuple({**cell, "side": 5} for cell in evidence.expected))
    with pytest.raises(
        ValueError, match=r"cell 0000000000000000 are not what it says.*run it again"
    ):
        draw_models(wrong, ["md"])
    (folder, *_) = evidence.kept.values()
    save_file({"input_TBD": frames(0, READ)}, folder / "pictures.safetensors")
    with pytest.raises(ValueError, match="display_range"):
        draw_models(evidence, ["md"])
    (folder / "pictures.safetensors").unlink()
    with pytest.raises(ValueError, match="does not hold what a report needs"):
        draw_models(evidence, ["md"])


def test_the_latex_typesets_both_ways(make: Make, tmp_path: Path) -> None:
    content = draw_models(make(), ["tex"])["strips.tex"]
    assert_typesets_both_ways(tmp_path, "strips", content)
