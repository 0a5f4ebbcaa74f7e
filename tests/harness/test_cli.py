"""What a user types and what it answers: names, knobs, formats, exit codes, and nothing heavy before it is needed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from harness.cli import cli
from tests.harness.running import Harness, environment, rows, sets, tiny

HEAVY = ("torch", "mlflow", "pandas", "matplotlib", "sklearn", "scipy")


def invoke(*words: str) -> Result:
    return CliRunner().invoke(cli, list(words), prog_name="harness")


@pytest.mark.parametrize(
    "words",
    [
        ("--help",),
        ("list",),
        ("list", "tasks"),
        ("describe", "fig12"),
        ("run", "fig12", "--dry-run"),
        ("status", "fig12"),
        ("run", "fig13"),
    ],
)
def test_nothing_heavy_is_imported_before_it_is_needed(
    words: tuple[str, ...], tmp_path: Path
) -> None:
    code = (
        "import sys\nfrom harness.cli import cli\n"
        f"try:\n    cli({list(words)!r})\nexcept SystemExit:\n    pass\n"
        f"sys.exit(','.join(name for name in {HEAVY!r} if name in sys.modules) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=environment(),
        check=False,
    )
    assert done.returncode == 0, done.stderr[-500:]


def test_python_dash_m_harness_is_harness() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "harness", "--help"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("Usage: harness ")


def test_every_verb_has_help() -> None:
    for name in cli.commands:
        shown = invoke(name, "--help")
        assert shown.exit_code == 0
        assert len(shown.output.splitlines()) > 4


def test_examples_in_help_stay_lines_of_their_own() -> None:
    shown = invoke("--help").stdout
    assert "\\b" not in shown
    assert sum(line.startswith("  harness ") for line in shown.splitlines()) == 4


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ("experiments", "fig12"),
        ("tasks", "fewshot"),
        ("models", "composite"),
        ("datasets", "digits"),
    ],
)
def test_list_names_what_there_is(what: str, expected: str) -> None:
    assert expected in invoke("list", what).stdout
    assert expected in json.loads(invoke("list", what, "--json").stdout)


def test_describe_tells_knobs_cells_cost_and_the_papers_numbers() -> None:
    content = json.loads(invoke("describe", "fig12", "--json").stdout)
    assert content["knobs"]["resamples"] == {
        "type": "int",
        "default": 10,
        "meaning": "resampled subsets per number of labels",
    }
    assert "encoder" not in content["knobs"]  # for Python callers only
    assert all(knob["meaning"] for knob in content["knobs"].values())
    assert content["cells"]["Pretrain"]["count"] == 1
    assert content["expected_core_hours"] > 0
    values = {
        (each["dataset"], each["shots"], each["method"]): each["value"]
        for each in content["published"]
    }
    assert values["ucf101", "1", "LSTM classifier"] == 29.6
    shown = invoke("describe", "fig12").stdout
    assert "34.3" in shown
    assert "resampled subsets" in shown


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("run", "fig21"), "there is no experiment 'fig21'; did you mean 'fig12'?"),
        (("rnu", "fig12"), "there is no command 'rnu'; did you mean 'run'?"),
        (("run", "fig12", "--cluster", "locale"), "'locale' is no cluster; did you mean 'local'?"),
        (("run", "fig12", "--set", "resample=3"), "there is no knob 'resample'; did you mean 'resamples'?"),
        (("run", "fig12", "--set", "resamples=three"), "knob 'resamples' cannot be 'three': it must be a whole number"),
        (("run", "fig12", "--set", "resamples"), "--set resamples: write it as name=value"),
        (("run", "fig12", "--set", "shots=1,some"), "knob 'shots' cannot be '1,some'"),
        (("run", "fig12", "--set", "shots=0"), "shots=0: a subset takes at least 1 video per class"),
        (("run", "fig12", "--set", "shots=100"), "has only 60 training videos; ask for fewer shots"),
        (("run", "fig12", "--set", "shots=1,1"), "shots=1,1: name at least one, and each once"),
        (("run", "fig12", "--set", "splits=4"), "split 4 of digits does not exist: choose from 1, 2, 3"),
        (("run", "fig12", "--set", "methods=lstn"), "it must be one of single_frame, lstm, pretrained; did you mean 'lstm'?"),
        (("run", "fig12", "--set", "dropout=nan"), "it must be a finite number"),
        (("run", "fig12", "--set", "dropout=1"), "dropout=1.0: the ratio lies in [0, 1)"),
        (("run", "fig12", "--set", "units=0"), "units=0: an LSTM layer has at least 1 unit"),
        (("run", "fig12", "--set", "units=1", "--set", "units=2"), "knob 'units' is set twice"),
        (("run", "fig12", "--set", "dataset=digit"), "did you mean 'digits'?"),
        (("run", "nowhere.py:mine"), "there is no file nowhere.py"),
        (("run", "nowhere.py"), "does not name a function: write FILE.py:function"),
        (("run", "fig12", "--jobs", "0"), "0 is not in the range x>=1"),
        (("report", "fig12", "--format", "pgn"), "'pgn' is no format; did you mean 'png'?"),
        (("logs", "xyz"), "'xyz' is no cell: give the first 4 or more digits"),
        (("logs", "abcdef"), "begins with abcdef"),
        (("status", "fig21"), "did you mean 'fig12'?"),
        (("list", "datasts"), "did you mean 'datasets'?"),
    ],
)  # fmt: skip
def test_wrong_usage_is_one_sentence_and_exit_code_2(
    words: tuple[str, ...], sentence: str, tmp_path: Path
) -> None:
    takes_folder = words[0] in ("run", "report", "logs", "status")
    done = invoke(*words, *(["--workdir", str(tmp_path / "work")] if takes_folder else []))
    assert done.exit_code == 2, done.output
    assert sentence in done.stderr.replace("\n", " ")
    assert not done.stdout
    assert "Traceback" not in done.output
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "def mine():\n    return 3\n",
            "mine returned a int: an experiment function returns an Experiment",
        ),
        ("import nothing_of_this_name\n", "cannot be imported: ModuleNotFoundError"),
        ("def mime():\n    pass\n", "defines no function 'mine'; did you mean 'mime'?"),
    ],
)
def test_a_wrong_file_of_ones_own_is_refused(text: str, sentence: str, tmp_path: Path) -> None:
    file = tmp_path / "wrong.py"
    file.write_text(text)
    done = invoke("run", f"{file}:mine", "--workdir", str(tmp_path / "work"))
    assert done.exit_code == 2
    assert sentence in done.stderr


def test_a_function_whose_name_could_be_no_files_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("def größe():\n    pass\n", encoding="utf-8")
    done = invoke("run", f"{file}:größe", "--workdir", str(tmp_path / "work"))
    assert done.exit_code == 2
    assert "the function 'größe'" in done.stderr
    assert "use letters without accents" in done.stderr


def test_completion_scripts_are_printed() -> None:
    for shell in ("bash", "zsh", "fish"):
        assert "_HARNESS_COMPLETE" in invoke("completion", shell).stdout


def test_doctor_says_what_it_finds(tmp_path: Path) -> None:
    done = invoke("doctor", "--workdir", str(tmp_path / "work"), "--json")
    found = {each["what"]: each for each in json.loads(done.stdout)}
    assert found["work folder"]["ok"]
    assert found["torch"]["found"].startswith("2.13.0")
    (tmp_path / "file").touch()
    broken = invoke("doctor", "--workdir", str(tmp_path / "file" / "work"))
    assert broken.exit_code == 1
    assert "!! work folder" in broken.stdout


def test_ui_of_a_tracking_server_says_where_it_is_without_its_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@example.org:5000")
    done = invoke("ui", "--workdir", str(tmp_path))
    told = done.stderr + capfd.readouterr().err
    assert done.exit_code == 0
    assert "http://example.org:5000" in told
    assert "secret" not in told


EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "mine.py"


def test_the_example_of_the_docs_runs_through_the_whole_path(harness: Harness) -> None:
    assert len(EXAMPLE.read_text().splitlines()) <= 22
    small = {"units": 6}
    plan = harness.json("run", f"{EXAMPLE}:my_fig12", *sets(small), "--dry-run")
    assert plan["tasks"]["FewShot"]["cells"] == 120
    # The same file at a size for tests: the experiment is a function that others can call.
    tiny_file = harness.work.parent / "tiny.py"
    tiny_file.write_text(
        f"import sys\nsys.path.append({str(EXAMPLE.parent)!r})\n"
        "from configs.fig12 import fig12\nfrom mine import GRU\nfrom tasks.encoders import own\n\n\n"
        "def tiny_fig12():\n"
        "    return fig12(encoder=own(GRU, units=6), units=6, layers=1, shots=(1, 2), resamples=2,\n"
        "                 pretrain_steps=3, pretrain_batch=4, finetune_steps_few=2, single_frame_steps=2)\n"
    )
    harness("run", f"{tiny_file}:tiny_fig12")
    methods = {row["method"] for row in rows(harness.csv("tiny_fig12"))}
    assert methods == {"single frame", "GRU classifier", "GRU classifier + Composite pretraining"}
    assert harness.json("status", "tiny_fig12")["done"] == 13


def test_editing_an_encoder_makes_its_cells_new_and_keeps_the_others(harness: Harness) -> None:
    file = harness.work.parent / "mine.py"
    text = EXAMPLE.read_text().replace(
        "return fig12(",
        "return fig12(shots=(1,), resamples=1, pretrain_steps=2, finetune_steps_few=2, single_frame_steps=2, layers=1, ",
    )
    file.write_text(text)
    words = ("run", f"{file}:my_fig12", "--set", "units=5")
    assert harness.json(*words)["ran"] == 4
    file.write_text(text.replace("num_layers=2", "num_layers=1"))
    assert harness.json(*words)["ran"] == 3  # all but the single-frame classifier


def test_status_and_report_use_the_knobs_of_the_last_run(finished: Harness) -> None:
    told = finished("status", "fig12")
    assert "knobs as in the last run" in told.stderr
    assert "13 of 13 cells done" in told.stdout


def test_report_writes_the_formats_asked_for(finished: Harness, tmp_path: Path) -> None:
    subprocess.run(["cp", "-a", str(finished.work), str(tmp_path / "copy")], check=True)
    copy = Harness(tmp_path / "copy")
    for path in (copy.work / "reports" / "fig12").iterdir():
        path.unlink()
    written = copy.json("report", "fig12", "--format", "md,csv")
    assert "fig12.md" in written
    assert "fig12.csv" in written
    assert not (copy.work / "reports" / "fig12" / "fig12.png").exists()
    assert copy.csv() == finished.csv()


def test_stdout_is_data_and_stderr_is_talk(finished: Harness) -> None:
    done = finished("run", "fig12", *tiny(), "--json")
    assert json.loads(done.stdout)["mlflow"].endswith("mlflow.db")


def test_two_functions_of_one_name_are_told_apart(tmp_path: Path) -> None:
    work = tmp_path / "work"
    for folder, resamples in (("a", 1), ("b", 2)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mine.py").write_text(
            f"from configs.fig12 import fig12\n\ndef mine():\n    return fig12(resamples={resamples})\n"
        )
    first, second = (f"{tmp_path / folder / 'mine.py'}:mine" for folder in ("a", "b"))
    (work / "experiments").mkdir(parents=True)
    (work / "experiments" / "mine.json").write_text(json.dumps({"source": second, "settings": []}))
    counts = json.loads(invoke("status", first, "--workdir", str(work), "--json").stdout)
    assert counts["total"] == 3 * 6 + 1
    by_name = json.loads(invoke("status", "mine", "--workdir", str(work), "--json").stdout)
    assert by_name["total"] == 3 * 6 * 2 + 1
    refused = invoke("run", first, "--workdir", str(work))
    assert refused.exit_code == 2
    assert "the name 'mine' is taken by" in refused.stderr


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("def mine(*, size):\n    pass\n", "mine needs to be told its size: add --set size=..."),
        (
            "def mine():\n    return 1 / 0\n",
            "mine raised ZeroDivisionError: division by zero (wrong.py, line 2)",
        ),
        (
            "def fig12():\n    pass\n",
            "the name 'fig12' is taken by the experiment fig12 that is known by name",
        ),
        (
            "from dataclasses import replace\nfrom configs.fig12 import fig12\n\ndef mine():\n"
            "    made = fig12(shots=(1,), resamples=1, methods=('single_frame',))\n"
            "    twin = replace(made.cells[0], seed=7)\n    return replace(made, cells=(*made.cells, twin))\n",
            "mine could not be drawn: ",
        ),
    ],
)
def test_mistakes_in_a_file_of_ones_own_are_sentences(
    text: str, sentence: str, tmp_path: Path
) -> None:
    file = tmp_path / "wrong.py"
    file.write_text(text)
    function = "fig12" if "def fig12" in text else "mine"
    text_of = text
    if function == "fig12":
        file.write_text(
            text_of.replace("pass", "from configs.fig12 import fig12\n    return fig12()")
        )
    done = invoke("run", f"{file}:{function}", "--workdir", str(tmp_path / "work"))
    assert done.exit_code == 2, done.output
    assert sentence in done.stderr


def test_options_that_a_cluster_has_no_use_for_are_refused(tmp_path: Path) -> None:
    done = invoke(
        "run", "fig12", "--cluster", "inline", "--ranks", "2", "--workdir", str(tmp_path / "work")
    )
    assert done.exit_code == 2
    assert "--cluster inline is one process" in done.stderr


def test_an_unannotated_knob_takes_the_type_of_its_default(tmp_path: Path) -> None:
    file = tmp_path / "plain.py"
    file.write_text(
        "from configs.fig12 import fig12\n\ndef plain(units=32):\n    return fig12(units=units)\n"
    )
    done = invoke("run", f"{file}:plain", "--set", "units=six", "--workdir", str(tmp_path / "work"))
    assert "it must be a whole number" in done.stderr
