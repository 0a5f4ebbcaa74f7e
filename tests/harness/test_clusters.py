"""`--cluster slurm` without a cluster: what is refused, what a dry run shows, and a SLURM that gives no answer."""

import json
import subprocess
import time
from pathlib import Path

import pytest

from harness import array_task, closing, provenance, sent
from harness.order import Order
from harness.submission import Submission, new_folder
from harness.workdir import Workdir
from tests.harness.faked import content, invoke, name_of_jobs, run, write_command
from tests.harness.running import NUM_CELLS, Harness


def test_code_that_was_altered_since_its_commit_is_refused(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    altered = {"commit": "abc" * 13, "dirty": True, "diff_sha256": "0"}
    monkeypatch.setattr(provenance, "code", lambda: altered)
    refused = run(work, "--json")
    assert refused.exit_code == 2
    assert "the code was altered since commit abcabcabcabc: commit it" in refused.stderr
    assert "--allow-dirty" in refused.stderr
    assert not (work / "submissions").exists()


def test_an_installation_without_git_is_said(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unknown = {"commit": "unknown", "dirty": None, "diff_sha256": None}
    monkeypatch.setattr(provenance, "code", lambda: unknown)
    done = run(work, "--json")
    assert done.exit_code == 0
    assert "this installation is no git checkout" in done.stderr


def test_a_dry_run_shows_arrays_hours_and_the_very_scripts(work: Path) -> None:
    told = content(run(work, "--dry-run", "--json"))
    assert (told["total"], told["to_send"]) == (NUM_CELLS, NUM_CELLS)
    assert sum(array["cells"] for array in told["arrays"]) == NUM_CELLS
    assert told["arrays"][-1]["dependency"] == "afterok:<a1>_0"
    assert len(told["sbatch"]) == 4
    assert all(text.startswith("#!/bin/bash") for text in told["sbatch"])
    shown = run(work, "--dry-run").stdout
    assert "13 cells, 0 done, 13 to run" in shown
    assert "#SBATCH --dependency='afterok:<a1>_0'" in shown
    assert "core hours" in shown
    assert not work.exists()


def test_a_dry_run_of_ten_thousand_cells_plans_each_once_in_arrays_that_the_site_takes(
    work: Path,
) -> None:
    words = ("--set", "resamples=556", "--cluster", "slurm", "--workdir", str(work), "--dry-run")
    told = content(invoke("run", "fig12", *words, "--json"))
    assert told["to_send"] == 1 + 3 * 6 * 556 == sum(each["cells"] for each in told["arrays"])
    assert max(each["tasks"] for each in told["arrays"]) <= 1000
    assert len(told["sbatch"]) == len(told["arrays"]) + 1


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--cluster", "slurn"), "'slurn' is no cluster; did you mean 'slurm'?"),
        (("--cluster", "none.toml"), "the cluster file none.toml cannot be read"),
        (("--follow",), "--follow is for clusters: leave it out, or add --cluster slurm"),
        (("--pack", "3"), "--pack is for clusters"),
        (("--cluster", "slurm", "--pack", "0"), "0 is not in the range"),
    ],
)
def test_wrong_words_are_a_sentence_and_exit_code_2(words: tuple[str, ...], sentence: str) -> None:
    refused = invoke("run", "fig12", *words)
    assert refused.exit_code == 2
    assert sentence in refused.stderr


def test_tasks_are_told_which_of_their_cells_may_be_trained_together(work: Path) -> None:
    run(work, "--allow-dirty", "--together", "4")
    arrays = [json.loads(path.read_bytes()) for path in work.glob("submissions/*/a*.json")]
    assert {array["together"] for array in arrays} == {4}
    told = {key: kind for array in arrays for key, kind in array["kinds"].items()}
    assert len(told) == 8  # the classifiers, 2 methods x 2 numbers of shots x 2 resamples
    assert len(set(told.values())) == 1
    sent = {key for array in arrays for task in array["tasks"] for key in task}
    assert set(told) < sent


def test_cells_that_queue_are_not_sent_again_and_lost_ones_are(work: Path, tmp_path: Path) -> None:
    sent_first = content(run(work, "--allow-dirty", "--pack", "1", "--json"))
    assert sent_first["sent"] == NUM_CELLS
    lines = [f"10_{index}|PENDING||Priority|{name_of_jobs(work)}" for index in range(8)]
    (tmp_path / "squeue").write_text("\n".join(lines) + "\n")
    counts = json.loads(invoke("status", "fig12", "--workdir", str(work), "--json").stdout)
    assert (counts["waiting"], counts["missing"]) == (8, 5)
    sent_again = content(run(work, "--allow-dirty", "--json"))
    assert (sent_again["sent"], sent_again["in_hand"]) == (5, 8)


def test_a_job_of_the_same_number_and_another_name_is_not_ours(work: Path, tmp_path: Path) -> None:
    run(work)
    (tmp_path / "squeue").write_text("10_0|RUNNING|n1|None|somebody-elses\n")
    counts = json.loads(invoke("status", "fig12", "--workdir", str(work), "--json").stdout)
    assert counts["missing"] == NUM_CELLS
    cancelled = invoke("cancel", "fig12", "--workdir", str(work))
    assert "no job queues or runs" in cancelled.stderr
    assert not (tmp_path / "scancelled").exists()


def test_a_slurm_that_gives_no_answer_stops_sending_and_shows_what_is_known(
    work: Path, tmp_path: Path
) -> None:
    run(work)
    write_command(tmp_path / "bin" / "squeue", "echo 'slurm_load_jobs error: Unable to contact' >&2; exit 1")  # fmt: skip
    refused = run(work)
    assert refused.exit_code == 1
    assert (
        "nobody can tell which of 13 cells that were sent before still queue or run"
        in refused.stderr
    )
    assert len(list((work / "submissions").iterdir())) == 1
    shown = invoke("status", "fig12", "--workdir", str(work))
    assert shown.exit_code == 75
    assert "SLURM could not be asked (squeue failed: slurm_load_jobs error" in shown.stdout
    assert invoke("cancel", "fig12", "--workdir", str(work)).exit_code == 1


def test_cancel_ends_our_live_jobs_only_and_marks_them_first(work: Path, tmp_path: Path) -> None:
    run(work)
    name = name_of_jobs(work)
    (tmp_path / "squeue").write_text(
        f"10_0|RUNNING|n1|None|{name}\n11_0|COMPLETED|n1|None|{name}\n13|PENDING||Dependency|{name}\n"
    )
    done = invoke("cancel", "fig12", "--workdir", str(work))
    assert "2 jobs cancelled" in done.stderr
    assert (tmp_path / "scancelled").read_text() == "10_0 13\n"
    assert list(work.glob("submissions/*/cancelled"))


def test_a_submission_that_was_refused_half_way_is_known_and_continued(
    work: Path, tmp_path: Path
) -> None:
    write_command(
        tmp_path / "bin" / "sbatch",
        f'if grep -q harness.closing "$1"; then cp "$1" {tmp_path}/closing; echo Submitted batch job 12; exit; fi; '
        f'if [ -e {tmp_path}/once ]; then echo "sbatch: error: QOSMaxSubmitJobPerUserLimit" >&2; exit 1; fi; '
        f"touch {tmp_path}/once; echo Submitted batch job 10",
    )
    done = run(work, "--allow-dirty", "--pack", "4")
    assert done.exit_code == 1
    assert "not everything was sent: QOSMaxSubmitJobPerUserLimit" in done.stderr
    name = name_of_jobs(work)
    lines = [f"10_{index}|PENDING||Priority|{name}" for index in range(2)]
    (tmp_path / "squeue").write_text("\n".join(lines) + "\n")
    counts = json.loads(invoke("status", "fig12", "--workdir", str(work), "--json").stdout)
    assert (counts["waiting"], counts["missing"]) == (8, 5)
    assert (
        "afterany:10\n" in (tmp_path / "closing").read_text()
    )  # what was queued is drawn when it is over
    # sbatch may give up waiting for an answer and have queued the job: its name finds it.
    (tmp_path / "squeue").write_text("\n".join([*lines, f"11_0|PENDING||Priority|{name}"]) + "\n")
    counts = json.loads(invoke("status", "fig12", "--workdir", str(work), "--json").stdout)
    assert (counts["waiting"], counts["missing"]) == (9, 4)


def test_what_no_report_can_draw_is_refused_before_anything_is_sent(
    work: Path, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text(
        "from dataclasses import replace\nfrom configs.fig12 import fig12\n\n"
        "def mine():\n    made = fig12(methods=('single_frame',), shots=(1,), resamples=1)\n"
        "    def draw(evidence, formats):\n        raise ValueError('no colours left')\n"
        "    return replace(made, draw=draw)\n"
    )
    words = ("run", f"{tmp_path}/mine.py:mine", "--cluster", "slurm", "--allow-dirty")
    refused = invoke(*words, "--workdir", str(work))
    assert refused.exit_code == 2
    assert "mine could not be drawn: no colours left" in refused.stderr
    assert not list((work / "submissions").glob("*"))


def test_a_closing_job_leaves_the_report_to_a_run_with_other_knobs(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = content(run(work, "--allow-dirty", "--json"))
    Workdir(work).remember("fig12", source="fig12", settings=("shots=1",))
    assert closing.main([told["submission"]]) == 0
    assert "was run with other knobs since" in capsys.readouterr().err
    assert not (work / "reports").exists()


def test_a_node_whose_git_does_not_answer_takes_the_code_as_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ordered = {"commit": "abc", "dirty": False, "diff_sha256": None}
    monkeypatch.setattr(provenance, "_git", lambda *words: None)
    provenance.code.cache_clear()
    assert provenance.change_since(ordered) == ""
    provenance.code.cache_clear()


def test_a_git_that_is_killed_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a result would say for ever that its commit is unknown."""
    count = f"echo x >> {tmp_path}/asked"
    write_command(tmp_path / "git", f"{count}; [ -e {tmp_path}/second ] && echo abc && exit; touch {tmp_path}/second; kill -9 $$")  # fmt: skip
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert provenance._git(tmp_path, "rev-parse", "HEAD") == "abc"
    write_command(tmp_path / "git", f"{count}; kill -9 $$")
    assert provenance._git(tmp_path, "rev-parse", "HEAD") is None
    write_command(tmp_path / "git", f"{count}; exit 128")
    assert provenance._git(tmp_path, "rev-parse", "HEAD") is None
    assert (tmp_path / "asked").read_text().count("x") == 2 + 3 + 1


def test_a_file_that_no_commit_knows_is_an_alteration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "harness" / "provenance.py"))
    (tmp_path / "new.py").write_text("1")
    answers = {"rev-parse": "abc", "diff": "", "ls-files": "new.py"}
    monkeypatch.setattr(provenance, "_git", lambda folder, verb, *words: answers[verb])
    provenance.code.cache_clear()
    before = dict(provenance.code())
    (tmp_path / "new.py").write_text("2")
    provenance.code.cache_clear()
    after = dict(provenance.code())
    provenance.code.cache_clear()
    assert before["dirty"]
    assert after["diff_sha256"] != before["diff_sha256"]


def test_a_torn_record_of_a_submission_hides_nothing_else(tmp_path: Path) -> None:
    workdir = Workdir(tmp_path)
    for cells in ({"a" * 64: "1_0"}, {"b" * 64: "2_0"}):
        Submission(folder=new_folder(workdir), experiment="fig12", cells=cells).write()
        time.sleep(0.001)
    first = sorted(tmp_path.glob("submissions/*/submission.json"))[0]
    first.write_bytes(first.read_bytes()[:30])
    assert set(sent.look(workdir)) == {"b" * 64}


def test_code_that_changed_in_the_queue_fails_its_cells_with_that_sentence(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = content(run(work, "--allow-dirty", "--json"))
    folder = Path(told["submission"])
    order = Order.read(folder / "order.json")
    Order(
        workdir=order.workdir, source=order.source, settings=order.settings, code={**order.code, "commit": "f" * 40}
    ).write(folder / "order.json")  # fmt: skip
    monkeypatch.setenv("SLURM_JOB_ID", "14")
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "11")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "0")
    assert array_task.main([str(folder), "a1"]) == 1
    counts = json.loads(invoke("status", "fig12", "--workdir", str(work), "--json").stdout)
    assert counts["failed"] == 1
    assert "the code changed from commit ffffffffffff" in counts["failures"][0]["detail"]


def test_a_cell_whose_needs_have_no_result_fails_with_that_sentence(
    work: Path, tmp_path: Path
) -> None:
    """Whatever became of the dependency: here the task that needs the pretraining starts without it."""
    told = content(run(work, "--allow-dirty", "--json"))
    harness = Harness(work)
    done = subprocess.run(
        [*harness.command("x")[:1], "-m", "harness.array_task", told["submission"], "a2"],
        env={"PATH": "/usr/bin:/bin", "SLURM_JOB_ID": "14", "SLURM_ARRAY_JOB_ID": "12", "SLURM_ARRAY_TASK_ID": "0"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    counts = json.loads(invoke("status", "fig12", "--workdir", str(work), "--json").stdout)
    assert counts["failed"] == 4
    assert all("which has no accepted result" in each["detail"] for each in counts["failures"])


def test_a_result_that_comes_while_slurm_is_asked_is_not_taken_for_lost(
    copy_of_finished: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = sorted(copy_of_finished.work.glob("runs/*/result.json"))[0]
    late.rename(late.with_name("on-its-way"))

    def answer_meanwhile(workdir: Workdir) -> dict[str, sent.Sent]:
        late.with_name("on-its-way").rename(late)
        return {}

    monkeypatch.setattr(sent, "look", answer_meanwhile)
    told = invoke("status", "fig12", "--workdir", str(copy_of_finished.work), "--json")
    assert (json.loads(told.stdout)["done"], late.exists()) == (NUM_CELLS, True)
