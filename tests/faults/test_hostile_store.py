"""Reports drawn from a tracking store that anybody can write to: what it tells is checked before it is a path, a page or a number."""

import json
import logging.handlers
import random
import shutil
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import Result

from harness import carried, carried_form, files, publish, tracked
from harness.carried import Whole
from harness.publish import Drawing
from harness.workdir import Workdir
from tests.faults.alterations import altered
from tests.faults.bait import BAIT, Page, baited
from tests.faults.hostile_store import ATTEMPT, KEYS, NAME, HostileStore, evidence, of_parts, sealed
from tests.harness.faked import invoke

INPUTS = 160
"""Altered evidence that is tried."""


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("no_proxy", "*")
    for name in ("URI", "USERNAME", "PASSWORD", "TOKEN"):
        monkeypatch.delenv(f"MLFLOW_TRACKING_{name}", raising=False)
    # What is fetched lies in a folder of this test, so that what leaves it would be seen.
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "outer/inner/brought"))
    (tmp_path / "outer/inner/brought").mkdir(parents=True)


@pytest.fixture
def store() -> Iterator[HostileStore]:
    with HostileStore() as made:
        yield made


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An experiment of one's own by the name of fig12, whose drawing function opens all that runs kept."""
    file = tmp_path_factory.mktemp("reader") / "reads_what_was_kept.py"
    file.write_text(
        "def draw(evidence, formats):\n"
        "    tables = [evidence.predictions(key) for key in sorted(evidence.kept)\n"
        "              if (evidence.kept[key] / 'predictions.parquet').is_file()]\n"
        "    return {'fig12.csv': f'{len(tables)} of {len(evidence.kept)}'.encode()}\n\n\n"
        "def fig12():\n    raise AssertionError('drawn without its cells')\n"
    )
    return f"{file}:fig12"


DRAWN_BY_READER = "reads_what_was_kept:draw"


def report(
    store: HostileStore, tmp_path: Path, formats: str = "md,json", name: str = NAME
) -> Result:
    """Draw fig12, and see that it ended in words and that no file came to be, changed or went outside its folder."""
    work = tmp_path / "outer/inner/work"
    before = around(tmp_path)
    log = logging.getLogger("mlflow")
    handler = logging.handlers.BufferingHandler(1000)
    log.addHandler(handler)
    try:
        done = invoke(
            "report", name, "--from", store.url, "--format", formats, "--workdir", str(work)
        )
    finally:
        log.removeHandler(handler)
    assert [each.getMessage() for each in handler.buffer] == []
    assert isinstance(done.exception, SystemExit | None), repr(done.exception)
    assert done.exit_code in (0, 1, 2), done.output
    assert around(tmp_path) == before
    assert all(line.isprintable() for line in done.output.splitlines()), ascii(done.output)
    assert "Traceback" not in done.output
    if done.exit_code == 2:
        assert done.output.startswith("harness: ")
        assert done.output.count("\n") == 1
        assert len(done.output) < 1000
    return done


def around(tmp_path: Path) -> dict[str, bytes | None]:
    """Every file and folder but those of the report."""
    place = tmp_path / "outer/inner/work/reports"
    own = {place, place.parent, place / NAME}
    return {
        str(path.relative_to(tmp_path)): path.read_bytes() if path.is_file() else None
        for path in tmp_path.rglob("*")
        if path not in own and path.parent != place / NAME
    }


def test_the_usual_answers_are_drawn(store: HostileStore, tmp_path: Path) -> None:
    done = report(store, tmp_path, "md,json,html")
    assert done.exit_code == 0
    assert "treated as missing" not in done.stderr
    assert "50.0" in (tmp_path / "outer/inner/work/reports/fig12/fig12.md").read_text()


def test_altered_evidence_is_refused_or_drawn_and_writes_nothing_elsewhere(
    store: HostileStore, tmp_path: Path
) -> None:
    codes = []
    for number in range(INPUTS):
        store.evidence = altered(number, evidence())
        done = report(store, tmp_path)
        codes.append(done.exit_code)
        if done.exit_code == 2:
            assert any(word in done.output for word in ("evidence.json", "write FILE.py"))
    assert codes.count(2) > INPUTS / 3
    assert codes.count(0) > 0  # texts may be any


@pytest.mark.parametrize("key", ["../../../outside", "/outside", "..", "a/../../b", "A1" * 32])
def test_a_cell_key_that_leads_elsewhere_is_no_cell(
    key: str, store: HostileStore, tmp_path: Path, reader: str
) -> None:
    store.altered("drawn_by", to=DRAWN_BY_READER)
    told = json.dumps(store.evidence).replace(KEYS[0], key)
    for_key = carried.digest(key, ATTEMPT, store.metrics[KEYS[0]])
    whole = json.loads(told)
    whole["runs"][key]["digest"] = for_key
    whole["names"][key] = key[:16]
    store.evidence = whole
    store.metrics = {key: store.metrics[KEYS[0]], KEYS[1]: store.metrics[KEYS[1]]}
    content = b"taken over"
    store.files = {
        f"{key}/result.json": sealed(key, {"predictions.parquet": _listed(content)}),
        f"{key}/predictions.parquet": content,
    }
    done = report(store, tmp_path, "csv", reader)
    assert done.exit_code == 2
    assert "should be a cell's key, 64 hexadecimal digits" in done.output


@pytest.mark.parametrize(
    "name",
    ["../../outside", "/outside", "..", "", "a/b", "a\\b", "result.json", "x" * 300, "a\x1bb"],
)
def test_a_file_name_that_leads_elsewhere_is_not_fetched(
    name: str, store: HostileStore, tmp_path: Path, reader: str
) -> None:
    store.altered("drawn_by", to=DRAWN_BY_READER)
    for key in KEYS:
        store.files[f"{key}/{name}"] = b"taken over"
        store.files[f"{key}/result.json"] = sealed(key, {name: _listed(b"taken over")})
    done = report(store, tmp_path, "csv", reader)
    assert done.exit_code == 0
    assert done.stderr.count("should be the name of a file): treated as missing") == 2
    assert not [each for each in store.asked if each.endswith("outside")]


BODIES: tuple[bytes, ...] = (
    b"",
    b"\xff\xfe\x00",
    b"[" * 100_000,
    b'{"a": 1}',
    sealed(KEYS[0], [])[:-20],
    *(sealed(KEYS[0], listed) for listed in (None, [], 5, "x", {"a": None}, {"a": {}}, {"a": {"sha256": 5}})),
    sealed("../..", {}),
    sealed(KEYS[0], {}, attempt="../.."),
    sealed(KEYS[0], {"a": {"sha256": "0" * 64}}),
)  # fmt: skip


@pytest.mark.parametrize("body", BODIES)
def test_a_result_that_is_none_costs_its_cell_and_no_more(
    body: bytes, store: HostileStore, tmp_path: Path, reader: str
) -> None:
    store.altered("drawn_by", to=DRAWN_BY_READER)
    store.files = {f"{KEYS[0]}/result.json": body, f"{KEYS[1]}/result.json": sealed(KEYS[1], {})}
    done = report(store, tmp_path, "csv", reader)
    assert done.exit_code == 0
    assert f"cell {KEYS[0][:16]}: its files in the tracking store: " in done.stderr
    assert "1 of 2 cells have no result" in done.stderr


def test_an_altered_result_names_files_that_stay_where_they_are_put_or_is_none() -> None:
    usual = {
        "format": 1,
        "cell": KEYS[0],
        "attempt": ATTEMPT,
        "files": {"predictions.parquet": _listed(b"a"), "encoder.safetensors": _listed(b"b")},
        "provenance": {"code": {"commit": "0" * 40}, "packages": {"python": "3.11"}},
    }
    refused: list[str] = []
    for number in range(INPUTS):
        told = altered(number, usual)
        text = told if isinstance(told, str) else json.dumps(told, indent=1)
        sha256 = files.sha256(text.encode())  # anybody can make the checksum fit
        content = f'{text[:1]}\n "sha256": "{sha256}",{text[1:]}'.encode()
        try:
            found = carried_form.files_of(content, KEYS[0], ATTEMPT)
        except ValueError as error:
            refused.append(str(error))
        else:
            assert all(Path(name).name == name and len(told) == 64 for name, told in found.items())
    assert INPUTS / 2 < len(refused) < INPUTS
    assert all(told.isprintable() and len(told) < 300 for told in refused)


def test_predictions_that_are_no_table_are_said_and_not_a_crash(
    store: HostileStore, tmp_path: Path, reader: str
) -> None:
    store.altered("drawn_by", to=DRAWN_BY_READER)
    content = b"PAR1" + random.Random(1).randbytes(64) + b"PAR1"
    for key in KEYS:
        store.files[f"{key}/result.json"] = sealed(key, {"predictions.parquet": _listed(content)})
        store.files[f"{key}/predictions.parquet"] = content
    done = report(store, tmp_path, "csv", reader)
    assert done.exit_code == 1
    assert "harness: fig12 could not be drawn: " in done.stderr


def _listed(content: bytes) -> dict[str, object]:
    return {"bytes": len(content), "sha256": files.sha256(content)}


@pytest.mark.parametrize("part", ["../../../outside", "/outside", "..", ".hidden", "a/b", ""])
def test_a_part_that_leads_elsewhere_is_no_part(
    part: str, store: HostileStore, tmp_path: Path
) -> None:
    victim = tmp_path / "outer/inner/outside/outside.txt"
    victim.parent.mkdir(parents=True)
    victim.write_text("mine")
    store.evidence = of_parts(part)
    store.parts = {part: {**evidence(), "experiment": part}}
    done = report(store, tmp_path)
    assert done.exit_code == 2
    assert "parts[0] is" in done.output
    # The name of a part is that of its files, too.
    store.evidence = of_parts("first")
    store.parts = {"first": {**evidence(), "experiment": "../../../outside/outside"}}
    assert "experiment is '../../../outside/outside'" in report(store, tmp_path).output
    store.parts = {"first": {**evidence(), "experiment": "second"}}
    assert "it is of 'second' and not of 'first'" in report(store, tmp_path).output


def test_parts_that_contradict_the_whole_are_refused(store: HostileStore, tmp_path: Path) -> None:
    store.evidence = of_parts("first")
    del store.evidence["runs"][KEYS[1]]
    store.parts = {"first": {**evidence(), "experiment": "first"}}
    assert "its part first has other cells or runs than the whole" in report(store, tmp_path).output


def test_a_store_with_another_name_for_the_folder_of_runs_makes_no_links(
    store: HostileStore, tmp_path: Path
) -> None:
    store.altered("provenance", "runs", to="javascript:alert(1)//")
    done = report(store, tmp_path, "html")
    assert done.exit_code == 2
    assert "should be '../../runs', as links begin with it" in done.output


@pytest.mark.parametrize("place", ["../outside", "/outside", "a/../../outside"])
def test_nothing_is_drawn_outside_the_folder_of_a_report(place: str, tmp_path: Path) -> None:
    told = carried.evidence(carried.read(json.dumps(evidence()), NAME), {}, {}, {})
    drawings = publish.drawings_from(
        {NAME: told}, {NAME: lambda evidence, formats: {place: b"x"}}, ["md"], apart=False
    )
    assert "would lie outside the report's folder" in drawings[NAME].problem
    work = Workdir(tmp_path / "work")
    whole = Whole(title="", done=0, cells=0, shared=0, told={}, provenance={}, chapters={})
    for name, part, file in ((NAME, place, "x"), (NAME, "first", place), (place, "first", "x")):
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(ValueError, match="would lie outside the report's folder"):
            publish.write(name, work, {part: Drawing(files={file: b"x"})}, whole, ["md"])
        assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("apart", [False, True])
def test_no_text_of_a_store_becomes_markup(
    apart: bool, store: HostileStore, tmp_path: Path
) -> None:
    report(store, tmp_path, "html")
    place = tmp_path / "outer/inner/work/reports/fig12"
    usual = Page((place / "fig12.html").read_text()).scripts
    told = baited(evidence())
    told["failed"] = {"d4" * 32: BAIT}
    if apart:
        store.parts = {"fig5": {**told, "experiment": "fig5"}}
        store.evidence = {**of_parts("fig5"), "title": BAIT, "told": {BAIT: BAIT}}
        store.evidence["provenance"] = told["provenance"]
        shutil.rmtree(place)
        (place / "fig5").mkdir(parents=True)  # its files are not compared
    else:
        store.evidence = told
    work = tmp_path / "outer/inner/work"
    done = invoke("report", NAME, "--from", store.url, "--format", "html,svg,md,tex,json", "--workdir", str(work))  # fmt: skip
    assert done.exit_code == 0, done.output
    seen = set()
    for path in place.rglob("*.*"):
        seen.add(path.suffix)
        content = path.read_text()
        if path.suffix == ".html":
            page = Page(content)
            assert (page.scripts, page.doubtful) == (usual, []), path
            assert "&lt;script&gt;" in content
        elif path.suffix == ".svg":
            names = [each.tag.rpartition("}")[2] for each in ET.fromstring(content).iter()]
            assert "script" not in names
            assert "image" not in names
        elif path.suffix == ".md":
            page = Page(content)  # in a comment it is none
            assert (page.scripts, page.doubtful) == (0, [])
        elif path.suffix == ".tex":
            code = "\n".join(line for line in content.splitlines() if not line.startswith("%"))
            assert "\\input{/etc" not in code
            assert "\\write18" not in code
            assert "^^5c" not in code
    assert {".html", ".svg", ".md", ".tex", ".json"} <= seen


def test_scores_that_are_no_numbers_are_missing(store: HostileStore, tmp_path: Path) -> None:
    for key, changed in zip(
        KEYS, ({"num_test_videos": 8.5}, {"video_accuracy": None}), strict=True
    ):
        store.metrics[key] = {
            name: value for name, value in {**store.metrics[key], **changed}.items() if value
        }
        told = carried.digest(key, ATTEMPT, store.metrics[key])
        store.evidence["runs"][key]["digest"] = told
    done = report(store, tmp_path)
    assert done.stderr.count("is missing, or is no number that it can be: treated as missing") == 2


GARBAGE = (
    b"\x1b[2J<html>nobody here",
    b"[]",
    b"null",
    b'"x"',
    b'{"experiment": 5, "runs": 5, "run": 5, "files": 5}',
    b'{"experiment": {"experiment_id": []}, "runs": [null], "run": {"info": {"status": "?"}}}',
    b'{"runs": [{"data": {"metrics": [{"key": "a", "value": "b"}]}}]}',
    b"[" * 100_000,
    b"\xff\xfe\x00",
    b'{"files": [{"path": "../../outside", "is_dir": false, "file_size": 1}]}',
    b'{"files": [{"path": "../../outside", "is_dir": true}]}',
)


@pytest.mark.parametrize("content", GARBAGE)
def test_garbage_from_a_server_is_one_sentence(
    content: bytes, store: HostileStore, tmp_path: Path
) -> None:
    for path in ("get-by-name", "runs/search", "runs/get", "mlflow-artifacts/artifacts?", "evidence.json"):  # fmt: skip
        store.says = lambda asked, path=path: content if path in asked.replace("?path", "?") else None  # type: ignore[misc]  # fmt: skip
        done = report(store, tmp_path)
        assert done.exit_code in (0, 2), (path, done.output)


@pytest.mark.parametrize("status", [302, 400, 403, 500])
def test_errors_of_a_server_are_one_sentence(
    status: int, store: HostileStore, tmp_path: Path
) -> None:
    store.status = status
    for content in (
        b'{"error_code": 5, "message": "\\u001b[2J\\n\\u202e' + b"x" * 5000 + b'"}',
        *GARBAGE[:5],
    ):
        store.says = lambda path, content=content: content  # type: ignore[misc]
        assert report(store, tmp_path).exit_code == 2


def test_tags_do_not_steer_a_terminal(store: HostileStore, tmp_path: Path) -> None:
    store.tags = {"work_folder_name": "there\x1b[2J:work\r\x9b"}
    assert "there\ufffd[2J:work\ufffd\ufffd" in report(store, tmp_path).stderr


def test_pages_without_end_are_left(
    store: HostileStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracked, "MOST_PAGES", 5)
    store.says = lambda path: b'{"runs": [], "next_page_token": "more"}' if "search" in path else None  # fmt: skip
    done = report(store, tmp_path)
    assert done.exit_code == 2
    assert "it has more than 5 pages of runs" in done.stderr


def test_an_evidence_file_of_any_size_is_not_read(
    store: HostileStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracked, "MOST_BYTES", 1000)
    assert "evidence.json has " in report(store, tmp_path).output


def test_what_is_written_here_is_what_may_be_read(store: HostileStore) -> None:
    """The rules are not stricter than what a collector writes: whole evidence passes, parts too."""
    carried_form.check(carried_form.parsed(json.dumps(store.evidence)), NAME)
    carried_form.check(of_parts("first", "second"), NAME)
