"""The pictures of docs/mlflow.md, taken of MLflow's UI on a finished Fig. 12.

harness run fig12 --set shots=1,4,all --set resamples=4
python -m tests.screenshots WORKDIR docs/images
"""

import io
import sys
import tempfile
from pathlib import Path

from PIL import Image

from tests.browser import Browser, browser, lacking
from tests.harness.mlflow_pages import (
    CARD,
    CHARTS,
    CLOSE_ASSISTANT,
    GROUP_BY,
    TRAINING,
    box_before,
    chart,
    link,
    run_of,
    served,
    tab,
)
from tests.harness.running import Harness

LARGEST = 190_000
"""Bytes of a picture, more or less: a larger one makes do with 256 colours."""
STILL = 4
"""Looks in a row that are alike when a page has come to rest."""


def settled(page: Browser) -> bytes:
    """The page as soon as it no longer moves."""
    looks: list[bytes] = []

    def is_still() -> bool:
        looks.append(page.driver.get_screenshot_as_png())
        return len(looks) >= STILL and len(set(looks[-STILL:])) == 1

    page.until(is_still, "the page does not come to rest")
    return looks[-1]


def keep(page: Browser, path: Path, box: tuple[int, int, int, int] | None = None) -> None:
    """Write the page, or a piece of it (left, upper, right, lower in pixels), as a PNG."""
    picture = Image.open(io.BytesIO(settled(page))).convert("RGB").crop(box)
    picture.save(path, optimize=True)
    if path.stat().st_size > LARGEST:
        picture.quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)


def take(harness: Harness, folder: Path) -> None:
    """Click through the pages and write mlflow-*.png."""
    with (
        tempfile.TemporaryDirectory() as profile,
        browser(Path(profile)) as page,
        served(harness, page) as start,
    ):
        page.open(start)
        page.click(CLOSE_ASSISTANT)
        page.see(link("fig12"))
        keep(page, folder / "mlflow-1-start.png", (0, 0, 1600, 660))
        page.click(TRAINING)
        page.click(link("fig12"))
        page.see(run_of("fig12"))
        _, _, behind = page.driver.current_url.partition("/experiments/")
        number = behind.partition("/")[0].partition("?")[0]
        keep(page, folder / "mlflow-2-runs.png", (0, 0, 1600, 460))
        page.click(CHARTS)
        for bound in ("lower", "mean", "upper"):
            page.see(f"{chart(f'digits/{bound} video_accuracy')}//*[name()='path' and @d]")
        keep(page, folder / "mlflow-3-charts.png", (0, 0, 1600, 760))
        page.click(run_of("fig12"))
        page.see("//*[contains(normalize-space(text()), 'cells have a result')]")
        page.click("//button[@aria-label='Expand description']")
        keep(page, folder / "mlflow-4-parent.png")
        page.click(tab("Artifacts"))
        page.click("//*[normalize-space(text())='fig12.png']")
        page.see("//img[contains(@src, 'blob:') or contains(@src, 'fig12')]")
        keep(page, folder / "mlflow-5-artifacts.png")
        page.open(
            f"{start}/#/experiments/{number}/runs?workflowType=machine_learning&compareRunsMode=CHART"
        )
        page.click(box_before("fig12"))
        page.click(GROUP_BY)
        page.click("//*[normalize-space(text())='method']")
        page.see("//*[contains(normalize-space(text()), 'Group: ')]")
        page.see("//input[@placeholder='Search metric charts']").send_keys("^video_accuracy$")
        page.see(f"{CARD}//*[name()='path' and @d]")
        page.driver.execute_script("document.activeElement.blur()")  # its cursor blinks
        keep(page, folder / "mlflow-6-groups.png", (0, 0, 1600, 760))


if __name__ == "__main__":
    if lacking():
        sys.exit(lacking())
    take(Harness(Path(sys.argv[1])), Path(sys.argv[2]))
