"""squeue, sacct, sbatch and scancel in their bad moments: small scripts on PATH that say what these say then."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from slurm import ask, queue, sbatch, torchrun
from slurm.queue import NoAnswer, Told
from slurm.sbatch import Request, SubmissionRefused


class Fakes:
    """Commands that the test writes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, name: str, script: str) -> None:
        path = self.folder / name
        path.write_text(f'#!/bin/sh\necho "$0 $*" >> {self.folder}/called\n{script}\n')
        path.chmod(0o755)

    @property
    def called(self) -> list[str]:
        file = self.folder / "called"
        lines = file.read_text().splitlines() if file.exists() else []
        return [line.removeprefix(f"{self.folder}/") for line in lines]


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fakes:
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    for name in ("squeue", "sacct", "sbatch", "scancel", "scontrol"):
        Fakes(folder)(name, f'echo "{name}: error: not today" >&2; exit 1')
    return Fakes(folder)


def request(folder: Path, **changes: object) -> Request:
    base = {"name": "n", "folder": folder, "module": "harness.array_task", "words": ("a b", "a0")}
    return Request(**{**base, **changes})  # type: ignore[arg-type]


def test_squeue_tells_states_of_jobs_of_our_name_only(fake: Fakes) -> None:
    fake("squeue", "echo '7_0|RUNNING|n1|None|ours'; echo '7_1|PENDING||Dependency|ours'; echo '7_2|RUNNING|n2|None|x|ours'")  # fmt: skip
    told = queue.queued({"ours"})
    assert told == {
        "7_0": Told(state="RUNNING", node="n1", name="ours"),
        "7_1": Told(state="PENDING", reason="Dependency", name="ours"),
    }
    assert told["7_1"].waiting


@pytest.mark.parametrize(
    "garbage",
    ["", "hello", "7_0|RUNNING", "7_0||n1|None|ours", "|RUNNING|n1|None|ours", "7_[0-9]|PENDING||x|ours", "\\377\\376|"],
)  # fmt: skip
def test_a_garbled_answer_is_no_answer_about_its_job(fake: Fakes, garbage: str) -> None:
    fake("squeue", f"printf '{garbage}\\n'; echo '7_1|RUNNING|n1|None|ours'")
    assert set(queue.queued({"ours"})) == {"7_1"}


def test_a_controller_that_is_down_is_said_and_not_taken_for_an_empty_queue(fake: Fakes) -> None:
    with pytest.raises(NoAnswer, match="squeue failed: squeue: error: not today"):
        queue.queued({"ours"})


def test_a_controller_that_hangs_is_not_waited_for(
    fake: Fakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake("squeue", "exec sleep 30")
    monkeypatch.setattr(ask, "TIMEOUT_S", 0.3)
    with pytest.raises(NoAnswer, match="did not answer within"):
        queue.queued({"ours"})


def test_a_users_own_squeue_format_changes_nothing(
    fake: Fakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SQUEUE_FORMAT", "%i")
    monkeypatch.setenv("SQUEUE_STATES", "PENDING")
    fake("squeue", 'echo "7_0|RUNNING|n1|$SQUEUE_FORMAT$SQUEUE_STATES|ours"')
    assert queue.queued({"ours"})["7_0"].reason == ""


def test_accounting_that_is_off_explains_nothing_and_stops_nothing(fake: Fakes) -> None:
    assert queue.ended({"7_0"}, "ours") == {}
    (fake.folder / "sacct").unlink()
    assert queue.ended({"7_0"}, "ours") == {}


def test_accounting_tells_how_a_forgotten_task_ended(fake: Fakes) -> None:
    fake("sacct", "echo '7_0|CANCELLED by 0|n1|0:15|ours'; echo '7_1|FAILED|n2|9:0|another'")
    told = queue.ended({"7_0", "7_1"}, "ours")
    assert told == {"7_0": Told(state="CANCELLED", node="n1", exit="ended by SIGTERM", name="ours")}


def test_out_of_memory_shows_on_a_step_only_and_is_told_of_the_task(fake: Fakes) -> None:
    fake("sacct", "echo '7_0|FAILED|n1|1:0|ours'; echo '7_0.batch|FAILED|n1|1:0|batch'; echo '7_0.0|OUT_OF_MEMORY|n1|0:125|python'")  # fmt: skip
    assert queue.ended({"7_0"}, "ours")["7_0"].state == "OUT_OF_MEMORY"


@pytest.mark.parametrize(
    ("listed", "meant"),
    [("7_[0-1,5%2]", {"7_0", "7_1", "7_5"}), ("7_[3]", {"7_3"}), ("7_[0-9]", {"7_0", "7_1", "7_3", "7_5"}), ("8_[0-1]", set()), ("7_[x-]", set()), ("7", set())],
)  # fmt: skip
def test_tasks_that_never_began_share_a_line(fake: Fakes, listed: str, meant: set[str]) -> None:
    fake("sacct", f"echo '{listed}|CANCELLED by 0|None assigned|0:0|ours'")
    assert set(queue.ended({"7_0", "7_1", "7_3", "7_5"}, "ours")) == meant
    fake("sacct", "exit 1")
    index = listed.partition("_")[2].strip("[]")
    fake("scontrol", f"echo 'JobId=99 ArrayJobId={listed[0]} ArrayTaskId={index} JobName=ours JobState=CANCELLED'")  # fmt: skip
    assert set(queue.ended({"7_0", "7_1", "7_3", "7_5"}, "ours")) == meant


def test_without_accounting_the_controller_tells_how_a_task_ended(fake: Fakes) -> None:
    fake(
        "scontrol",
        'test "$4" = 7 || exit 1\n'
        "echo 'JobId=9 ArrayJobId=7 ArrayTaskId=0 JobName=ours UserId=a(0) JobState=FAILED Reason=NonZeroExitCode "
        "ExitCode=3:0 NodeList=n1 Command=/x y/z'\n"
        "echo 'JobId=8 ArrayJobId=7 ArrayTaskId=1 JobName=ours JobState=CANCELLED Reason=DependencyNeverSatisfied "
        "ExitCode=0:0 NodeList=(null)'\n"
        "echo 'JobId=7 JobName=another JobState=FAILED ExitCode=0:9 NodeList=n1'; echo garbage; echo 'JobState='",
    )
    assert queue.ended({"7_0", "7_1", "7", "12_1"}, "ours") == {
        "7_0": Told(
            state="FAILED", node="n1", reason="NonZeroExitCode", exit="exit code 3", name="ours"
        ),
        "7_1": Told(state="CANCELLED", reason="DependencyNeverSatisfied", name="ours"),
    }


@pytest.mark.parametrize(
    ("code", "words"),
    [("0:0", ""), ("3:0", "exit code 3"), ("0:9", "ended by SIGKILL"), ("0:125", "ended by signal 125"), ("x", ""), ("", "")],
)  # fmt: skip
def test_exit_codes_are_told_in_words(fake: Fakes, code: str, words: str) -> None:
    fake("sacct", f"echo '7_0|FAILED|n1|{code}|ours'")
    assert queue.ended({"7_0"}, "ours")["7_0"].exit == words


def test_a_refusal_is_told_in_sbatchs_words(
    fake: Fakes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fake(
        "sbatch",
        'echo "sbatch: error: invalid partition specified: gpu" >&2\n'
        'echo "sbatch: error: Batch job submission failed: Invalid partition" >&2; exit 1',
    )
    with pytest.raises(SubmissionRefused, match=r"^invalid partition specified: gpu; Invalid part"):
        sbatch.submit(request(tmp_path / "logs", tasks=2))
    assert not capsys.readouterr().err  # said once, by whoever catches it


def test_an_array_over_the_sites_limit_is_refused_with_what_to_do(
    fake: Fakes, tmp_path: Path
) -> None:
    fake(
        "sbatch",
        "n=$(sed -n 's/^#SBATCH --array=0-\\([0-9]*\\).*/\\1/p' \"$1\")\n"
        'if [ "$n" -ge 1001 ]; then echo "sbatch: error: Batch job submission failed: Invalid job array specification" '
        '>&2; exit 1; fi; echo "Submitted batch job 7"',
    )
    assert sbatch.submit(request(tmp_path, tasks=1001)) == "7"
    with pytest.raises(
        SubmissionRefused, match=r"^Invalid job array specification \(.*set array_limit"
    ):
        sbatch.submit(request(tmp_path, tasks=1002))


def test_an_answer_without_a_job_id_is_a_refusal(fake: Fakes, tmp_path: Path) -> None:
    fake("sbatch", "echo 'have a nice day'")
    with pytest.raises(SubmissionRefused):
        sbatch.submit(request(tmp_path / "logs", tasks=2))


def test_no_sbatch_here_is_a_sentence(
    fake: Fakes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SubmissionRefused, match="there is no sbatch here"):
        sbatch.submit(request(tmp_path / "logs", tasks=2))


def test_the_script_that_is_shown_is_the_script_that_is_sent(fake: Fakes, tmp_path: Path) -> None:
    fake("sbatch", f'cp "$1" {tmp_path}/got; echo Submitted batch job 12')
    asked = request(
        tmp_path / "my logs", tasks=3, nodes=2, dependency="afterok:4_1", partition="gpu", time_min=30,
        memory_gb=2.5, gpus_per_node=2, setup=("module load cuda",), max_parallel=2,
    )  # fmt: skip
    assert sbatch.submit(asked) == "12"
    sent = (tmp_path / "got").read_text()
    assert sent == sbatch.text(asked)
    for line in (
        "--array=0-2%2", "--dependency=afterok:4_1", "--kill-on-invalid-dep=yes", "--mem=2560M", "--time=30",
        "--partition=gpu", "--gpus-per-node=2", "--requeue", "--nodes=2",
    ):  # fmt: skip
        assert f"#SBATCH {line}\n" in sent
    assert "module load cuda\n" in sent
    assert f"{sys.executable} -u -m harness.array_task 'a b' a0" in sent


def test_the_script_runs_as_shell_with_a_hostile_folder(fake: Fakes, tmp_path: Path) -> None:
    fake("srun", 'for each; do last=$each; done; echo "last word: $last"')
    asked = request(tmp_path / "x; touch pwned", words=("$(touch pwned)", "a; touch pwned #"))
    done = subprocess.run(
        ["bash", "-c", sbatch.text(asked)], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert done.stdout == "last word: a; touch pwned #\n"
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("name", ["100%", "a\\b", "it's"])
def test_a_folder_that_slurm_would_take_for_a_pattern_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="choose another --workdir"):
        sbatch.check_folder(Path("/somewhere") / name)


def test_many_tasks_are_cancelled_in_a_few_calls(fake: Fakes) -> None:
    fake("scancel", "")
    queue.cancel({f"7_{index}" for index in range(450)})
    assert len(fake.called) == 3
    assert sum(len(line.split()) - 1 for line in fake.called) == 450


def test_a_cancelled_job_is_not_brought_back_to_life(
    fake: Fakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    fake("scontrol", "")
    fake("squeue", "echo COMPLETING")
    assert "COMPLETING" in queue.requeue_this_job()
    assert not any(line.startswith("scontrol") for line in fake.called)
    fake("squeue", "echo RUNNING")
    assert queue.requeue_this_job() == ""
    assert fake.called[-1] == "scontrol requeue 12"


def test_an_array_task_asks_for_itself_and_not_for_its_array(
    fake: Fakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One task of an array has the array's own id as its job id."""
    for name, value in (("JOB_ID", "12"), ("ARRAY_JOB_ID", "12"), ("ARRAY_TASK_ID", "3")):
        monkeypatch.setenv(f"SLURM_{name}", value)
    fake("scontrol", "")
    fake("squeue", 'case "$*" in *--jobs=12_3*) echo RUNNING;; *) echo RUNNING; echo RUNNING;; esac')  # fmt: skip
    assert queue.requeue_this_job() == ""
    assert fake.called[-1] == "scontrol requeue 12_3"


def test_sbatchs_own_variables_override_nothing_that_is_asked_for(
    fake: Fakes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake("sbatch", f"env > {tmp_path}/env; echo Submitted batch job 7")
    for name in ("PARTITION", "ACCOUNT", "TIMELIMIT", "NO_REQUEUE", "RESERVATION"):
        monkeypatch.setenv(f"SBATCH_{name}", "theirs")
    sbatch.submit(request(tmp_path / "logs", partition="gpu", time_min=30))
    kept = {line for line in (tmp_path / "env").read_text().splitlines() if line.startswith("SBATCH_")}  # fmt: skip
    assert kept == {
        "SBATCH_ACCOUNT=theirs",
        "SBATCH_RESERVATION=theirs",
    }  # the script says nothing of these
    assert os.environ["SBATCH_PARTITION"] == "theirs"


def test_where_scontrol_is_missing_a_job_is_not_requeued_and_says_so(
    fake: Fakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    monkeypatch.setenv("PATH", str(fake.folder))
    (fake.folder / "scontrol").unlink()
    (fake.folder / "squeue").write_text(f"#!{os.path.realpath('/bin/sh')}\necho RUNNING\n")
    assert queue.requeue_this_job() == "there is no scontrol here"


@pytest.mark.parametrize(
    ("signalled", "words"),
    [("KILL", "rank 1 was killed by SIGKILL"), ("SEGV", "rank 1 was killed by SIGSEGV"), ("", "")],
)
def test_torchrun_says_which_rank_was_killed(tmp_path: Path, signalled: str, words: str) -> None:
    dies = f"os.kill(os.getpid(), signal.SIG{signalled})" if signalled else "sys.exit(3)"
    (tmp_path / "dies.py").write_text(
        f"import os, signal, sys, time\nif os.environ['RANK'] == '1':\n    {dies}\ntime.sleep(20)\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(tmp_path / "dies.py")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert torchrun.killed_rank(done.stderr) == words
