"""The script of a page, in a real browser: sorting by headings, and from a line to its cells and on to a run's folder."""

from pathlib import Path

import pytest

from reports.cells import cell_list
from reports.page import page
from reports.tables import MISSING, Column, Table
from tests.browser import browser, need_browser

TEXTS = ["9.5 ± 0.1", MISSING, "\N{MINUS SIGN}10.0", "1,234", "9.5 ± 0.05", f"{MISSING} †", "100 (9/10 †)"]  # fmt: skip
UP = ["\N{MINUS SIGN}10.0", "9.5 ± 0.05", "9.5 ± 0.1", "100 (9/10 †)", "1,234", MISSING, f"{MISSING} †"]  # fmt: skip
DOWN = [*UP[4::-1], MISSING, f"{MISSING} †"]
NAMES = ["m10", "m2", "m1", "M2", "a", "b", "c"]


@pytest.fixture
def file(grid, tmp_path) -> Path:
    made = grid(methods=("A", "B"), shots=("1",), resamples=2)
    made.provenance = {"runs": "../../runs"}
    evidence = made.evidence()
    keys = [str(cell["cell"]) for cell in evidence.expected]
    table = Table(
        columns=(
            Column(header="set"),
            Column(header="name"),
            Column(header="score", align="right"),
        ),
        rows=tuple(("x" if n < 3 else "y", NAMES[n], TEXTS[n]) for n in range(len(TEXTS))),
        caption="Scores.",
        group_by=1,
        rests_on=(tuple(keys[:1]), tuple(keys[1:3]), *[()] * (len(TEXTS) - 2)),
    )
    path = tmp_path / "reports" / "fig12" / "fig12.html"
    path.parent.mkdir(parents=True)
    path.write_bytes(
        page(
            title="t", lead="l", sections=[("Scores", table)], missing=None, notes=[], provenance={}, cells=cell_list(evidence)
        )
    )  # fmt: skip
    return path


COLUMN = "return [...document.querySelectorAll('table')[0].tBodies[0].rows].map(r => r.cells[arguments[0]].textContent)"
GROUPS = "return [...document.querySelectorAll('table')[0].tBodies[0].rows].map(r => r.className)"
SHOWN = "return [...document.querySelectorAll('tr[data-cell]')].filter(r => r.checkVisibility()).map(r => r.dataset.cell)"
SORTS = "return [...document.querySelectorAll('table')[0].tHead.rows[0].cells].map(h => h.getAttribute('aria-sort'))"


def test_a_page_from_disk_sorts_its_tables_and_shows_the_cells_behind_a_line(file, tmp_path):
    need_browser()
    with browser(tmp_path / "profile") as window:
        driver = window.driver
        from selenium.webdriver.common.by import By
        from selenium.webdriver.common.keys import Keys

        driver.get(file.as_uri())
        heads = driver.find_elements(By.CSS_SELECTOR, "table:first-of-type th button")[:4]
        assert [head.text for head in heads] == ["set", "name", "score", "cells"]
        own_groups = ["", "", "", "group", "", "", ""]

        heads[2].click()
        assert driver.execute_script(COLUMN, 2) == UP
        assert driver.execute_script(SORTS) == [None, None, "ascending", None]
        assert set(driver.execute_script(GROUPS)) == {""}
        heads[2].send_keys(Keys.ENTER)
        assert driver.execute_script(COLUMN, 2) == DOWN
        assert driver.execute_script(SORTS) == [None, None, "descending", None]
        heads[2].click()
        assert driver.execute_script(COLUMN, 2) == TEXTS
        assert driver.execute_script(SORTS) == [None] * 4
        assert driver.execute_script(GROUPS) == own_groups

        heads[1].click()
        assert driver.execute_script(COLUMN, 1) == ["a", "b", "c", "m1", "m2", "M2", "m10"]
        heads[0].click()
        assert driver.execute_script(COLUMN, 1) == NAMES  # equal ones in their own order
        assert driver.execute_script(SORTS) == ["ascending", None, None, None]
        assert driver.execute_script(GROUPS) == own_groups

        assert driver.execute_script(SHOWN) == []  # folded
        links = driver.find_elements(By.CSS_SELECTOR, "a[data-cells]")
        assert [link.text for link in links] == ["1", "2"]
        links[1].click()
        assert driver.execute_script(SHOWN) == ["1", "2"]
        assert driver.current_url.endswith("#cells")
        told = driver.find_element(By.CSS_SELECTOR, "p.filter").text
        assert told.startswith("Behind one line (x, m2): 2 cells.")
        driver.find_element(By.CSS_SELECTOR, "p.filter button").click()
        assert driver.execute_script(SHOWN) == ["0", "1", "2", "3"]
        place = driver.find_element(By.CSS_SELECTOR, "tr[data-cell] a").get_attribute("href")
        assert place.startswith((tmp_path / "runs").as_uri())
        assert driver.get_log("browser") == []
