"""Pictures of weights: each weight where it belongs, at its own grey, and whole dots of it in a png."""

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from reports.style import PAGE_WIDTH, PNG_DPI, paper_style, render
from reports.tiles import PAPER, ZERO, Panel, mosaic, tiles_figure


def weights(count: int, side: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, side, side))


def find(big: np.ndarray, small: np.ndarray) -> list[tuple[int, int]]:
    """Where a picture occurs in another, dot by dot."""
    height, width = small.shape
    places = []
    for top, row in enumerate(big):
        left = row.tobytes().find(small[0].tobytes())
        if left >= 0 and np.array_equal(big[top : top + height, left : left + width], small):
            places.append((top, left))
    return places


def drawn(panels: list[Panel], form: str) -> bytes:
    with paper_style():
        return render(tiles_figure(panels, "A note."), form)


def grey(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("L"))


def test_tiles_stand_row_by_row_with_white_between_and_after_them() -> None:
    tiles_KYX = np.stack([np.full((2, 2), value) for value in (-1.0, 0.0, 1.0)])
    picture = mosaic(tiles_KYX, columns=2)
    expected = np.full((5, 5), PAPER)
    expected[:2, :2], expected[:2, 3:], expected[3:, :2] = 1, ZERO, 255
    np.testing.assert_array_equal(picture, expected)
    assert picture.dtype == np.uint8


def test_each_tile_is_scaled_by_its_own_largest_weight_with_grey_at_zero() -> None:
    tile_YX = np.array([[-4.0, 0.0], [2.0, 1.0]])
    picture = mosaic(np.stack([tile_YX, tile_YX / 1000]), columns=1)
    np.testing.assert_array_equal(picture[:2], picture[3:])
    np.testing.assert_array_equal(picture[:2], [[1, 128], [192, 160]])  # 128 + 127 w / 4, rounded


@pytest.mark.parametrize(("side", "dots"), [(16, 2), (32, 1), (64, 1)])
def test_a_weight_is_a_whole_number_of_dots_of_a_png(side: int, dots: int) -> None:
    panels = [Panel(title=f"panel {n}", tiles_KYX=weights(40, side, n)) for n in range(3)]
    page = grey(drawn(panels, "png"))
    lefts = []
    for panel in panels:
        picture = mosaic(panel.tiles_KYX, 20).repeat(dots, axis=0).repeat(dots, axis=1)
        ((_, left),) = find(page, picture)
        lefts.append(left)
    assert lefts[0] == lefts[2] == 0
    assert lefts[1] > page.shape[1] // 2
    assert page.shape[1] / PNG_DPI >= PAGE_WIDTH


def test_pdf_and_svg_hold_the_weights_themselves() -> None:
    panel = Panel(title="panel", tiles_KYX=weights(5, 8))
    (image,) = re.findall(rb'data:image/png;base64,([^"]+)"', drawn([panel], "svg"))
    np.testing.assert_array_equal(grey(base64.b64decode(image)), mosaic(panel.tiles_KYX, 5))
    assert drawn([panel], "pdf").startswith(b"%PDF")


def test_letters_keep_their_size_on_a_page_where_the_figure_is_wider() -> None:
    sizes = {}
    for side in (32, 64):
        with paper_style():
            panels = [Panel(title=name, tiles_KYX=weights(200, side)) for name in "ab"]
            figure = tiles_figure(panels, "A note.")
        assert figure.get_figwidth() >= PAGE_WIDTH
        sizes[side] = [text.get_fontsize() / figure.get_figwidth() for text in figure.texts]
    assert sizes[64] == pytest.approx(sizes[32])


def test_nothing_overlaps_and_nothing_is_cut_off() -> None:
    with paper_style():
        panels = [Panel(title=f"({name}) Inputs", tiles_KYX=weights(200, 32)) for name in "abcd"]
        figure = tiles_figure(panels, "Features in corresponding places belong to one unit. " * 6)
        render(figure, "png")
        renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
        boxes = [axes.get_window_extent(renderer) for axes in figure.axes]
        boxes += [text.get_window_extent(renderer) for text in figure.texts]
    for place, box in enumerate(boxes):
        assert box.x0 >= -1
        assert box.y0 >= 0
        assert box.x1 <= figure.bbox.x1
        assert box.y1 <= figure.bbox.y1
        assert not any(box.overlaps(other) for other in boxes[place + 1 :])
