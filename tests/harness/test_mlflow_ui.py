"""MLflow's own pages on a finished Fig. 12, looked at and clicked through as a person does."""

from pathlib import Path

import pytest

from tests.browser import browser, need_browser
from tests.harness.mlflow_pages import (
    CHARTS,
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

METHODS = ("single frame", "LSTM classifier", "LSTM classifier + Composite pretraining")


def test_the_figure_is_reached_in_four_clicks_and_parent_children_and_artifact_are_found(
    copy_of_finished: Harness, tmp_path: Path
) -> None:
    need_browser()
    with browser(tmp_path / "profile") as page, served(copy_of_finished, page) as start:
        page.open(start)
        page.click(TRAINING)
        page.click(link("fig12"))
        page.click(CHARTS)
        for bound in ("lower", "mean", "upper"):
            drawn = page.see(chart(f"digits/{bound} video_accuracy"))
            # One line for each method, each in the colour that the figure has.
            colours = page.until(
                lambda drawn=drawn: [  # type: ignore[misc]
                    each.value_of_css_property("stroke")
                    for each in drawn.find_elements("css selector", "g.trace path.js-line")
                    if each.get_attribute("d")
                ],
                f"no line of {bound} is drawn",
            )
            assert len(set(colours)) == len(METHODS), bound
        assert page.clicks <= 4

        for method in METHODS:
            page.see(run_of(f"{method} · digits"))
        page.click(box_before("fig12"))
        page.see("//a[contains(@href, '/runs/') and starts-with(normalize-space(), '2/class #1')]")

        page.click(run_of("fig12"))
        page.see("//*[starts-with(normalize-space(), '13 of 13 cells have a result')]")
        page.click(tab("Artifacts"))
        page.see("//*[normalize-space()='fig12.csv']")
        page.click("//*[normalize-space(text())='fig12.png']")
        picture = page.see("//img[contains(@src, 'blob:') or contains(@src, 'fig12')]")
        page.until(lambda: int(picture.get_property("naturalWidth") or 0) > 300, "no picture")

        page.open(f"{start}/#/experiments/1/runs?workflowType=machine_learning")
        page.click(GROUP_BY)
        page.click("//*[normalize-space(text())='method']")
        page.see("//*[contains(normalize-space(text()), 'Group: LSTM classifier')]")


def test_without_a_browser_there_is_a_reason_to_skip_and_none_in_the_gate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CI", "")
    with pytest.raises(pytest.skip.Exception, match="chromium"):
        need_browser()
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="chromium"):
        need_browser()
