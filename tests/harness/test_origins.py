"""From a report back to its runs: links that hold, data that are told apart, bytes that do not depend on the place."""

import json
import os
import pty
import re
import subprocess
from html import unescape
from pathlib import Path
from urllib.parse import unquote

import pytest

from harness.collect import data_of
from harness.plan import Plan
from harness.result import Result
from tests.harness.faked import invoke
from tests.harness.running import NUM_CELLS, Harness, environment

HREF = re.compile(r'<a href="([^"#][^"]*/)"')
SHA = "0123456789abcdef" * 4


def folders(page: Path) -> list[Path]:
    """What the links to folders of a page lead to."""
    found = HREF.findall(page.read_text(encoding="utf-8"))
    return [page.parent / unquote(unescape(each)) for each in found]


def test_every_cell_of_a_page_leads_to_the_folder_of_its_run(finished: Harness) -> None:
    report = finished.work / "reports" / "fig12"
    linked = {each.resolve() for each in folders(report / "fig12.html")}
    runs = finished.work.resolve() / "runs"
    cells = {each for each in linked if each.parent == runs}
    attempts = {each for each in linked if each.parent.parent == runs}
    assert cells == {each.parent for each in runs.glob("*/result.json")}  # pretraining as well
    assert len(cells) == len(attempts) == NUM_CELLS
    assert cells | attempts == linked
    assert all((each / "result.json").is_file() for each in linked)


def test_a_record_says_what_was_computed_where_by_what_and_on_what(finished: Harness) -> None:
    report = finished.work / "reports" / "fig12"
    record = json.loads((report / "fig12.json").read_bytes())
    origin = record["provenance"]
    assert origin["data"] == [{"class": "Digits", "version": 1}]
    assert origin["hosts"]
    assert origin["devices"] == ["cpu"]
    (packages,) = origin["packages"]
    assert {"torch", "numpy", "python"} <= set(packages)
    for form, sign in (("tex", "% "), ("md", "")):
        lines = (report / f"fig12.{form}").read_text(encoding="utf-8").splitlines()
        for start in ("commit: ", "data: class Digits, version 1", "hosts: ", "packages: "):
            assert any(line.startswith(f"{sign}{start}") for line in lines), (form, start)
    for csv in report.glob("*.csv"):
        assert not re.search(r"^[%#<]", csv.read_text(encoding="utf-8"), flags=re.MULTILINE)


def test_a_report_is_the_same_bytes_wherever_its_work_folder_lies(
    finished: Harness, copy_of_finished: Harness
) -> None:
    forms = ("html", "tex", "md", "csv", "json")
    there = copy_of_finished.work / "reports" / "fig12"
    before = {path.name: path.read_bytes() for path in there.glob("fig12*")}
    assert len(before) >= len(forms)
    for path in there.iterdir():
        path.unlink()
    done = invoke(
        "report", "fig12", "--workdir", str(copy_of_finished.work), "--format", ",".join(forms)
    )
    assert done.exit_code == 0, done.output
    drawn = {path.name: path.read_bytes() for path in there.glob("fig12*")}
    assert {path.partition(".")[2] for path in drawn} == set(forms)
    assert drawn == {name: before[name] for name in drawn}
    assert str(finished.work).encode() not in b"".join(drawn.values())


def test_the_main_table_is_printed_when_asked_for(copy_of_finished: Harness) -> None:
    words = ("fig12", "--workdir", str(copy_of_finished.work), "--format", "csv")
    shown = invoke("report", *words, "--show").output
    assert "digits, LSTM classifier\n" in shown
    assert "mean ± sd" in shown
    assert "±" not in invoke("report", *words).output
    asked = invoke("report", *words, "--show", "--json")
    assert set(json.loads(asked.stdout)) >= {"fig12.csv"}


def test_a_run_on_a_terminal_ends_with_the_main_table(copy_of_finished: Harness) -> None:
    remembered = json.loads((copy_of_finished.work / "experiments" / "fig12.json").read_bytes())
    sets = [word for each in remembered["settings"] for word in ("--set", each)]
    command = copy_of_finished.command("run", "fig12", *sets)
    here, there = pty.openpty()
    with subprocess.Popen(
        command, stdout=there, stderr=subprocess.DEVNULL, env=environment()
    ) as running:
        os.close(there)
        told = b"".join(iter(lambda: _read(here), b""))
    os.close(here)
    assert running.returncode == 0
    assert b"digits, LSTM classifier" in told
    assert "mean ± sd".encode() in told


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # the other end was closed
        return b""


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        ({"dataset": {"class": "Digits", "version": 1}}, [{"class": "Digits", "version": 1}]),
        (
            {"dataset": {"glyphs": {"class": "Glyphs", "train_sha256": SHA}, "class": "M"}},
            [{"class": "Glyphs", "train_sha256": SHA}, {"class": "M"}],
        ),
        ({"stores": [{"class": "Store", "identity": SHA}, {"class": "Plain"}]}, [{"class": "Store", "identity": SHA}]),
        ({"trained": {"cell": SHA}, "encoder": {"units": 8}}, []),
    ],
)  # fmt: skip
def test_data_are_what_is_called_so_and_what_is_named_by_its_content(task, expected) -> None:
    results = {
        str(n): Result({"attempt": "a", "description": {"task": task}}, Path()) for n in range(2)
    }
    assert data_of(Plan(cells=(), done=results, damaged={})) == expected
