"""`harness doctor --cluster` without a cluster: SLURM's commands are small scripts on PATH that say what the test says."""

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from harness import probe, provenance, send_probe
from harness.cli import cli
from harness.probe import Answer
from tests.harness.doctoring import ANSWER, LISTING
from tests.harness.running import environment

CONFIG = """\
Configuration data as of 2026-01-01T00:00:00
AccountingStorageType   = accounting_storage/slurmdbd
JobRequeue              = 1
MaxArraySize            = 2001
MaxJobCount             = 10000
PreemptMode             = REQUEUE
PreemptType             = preempt/qos
SLURM_VERSION           = 23.11.4
"""


@dataclass(frozen=True)
class FakeSlurm:
    """A SLURM of shell scripts in a folder."""

    folder: Path

    def __call__(self, name: str, script: str) -> None:
        path = self.folder / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def says(self, name: str, text: str) -> str:
        (self.folder / name).write_text(text)
        return f"cat {self.folder / name}"

    def answers(self, answer: Answer = ANSWER) -> None:
        """A job that has ended, with this answer, when sbatch returns."""
        self.says("answer", json.dumps(asdict(answer)))
        self(
            "sbatch",
            'case "$1" in --version) echo slurm 23.11.4; exit;; esac\n'
            "folder=$(sed -n 's/.*-m harness.probe \\([^ ]*\\) .*/\\1/p' \"$1\")\n"
            f'cp "$1" {self.folder}/script\n'
            f'sed "s/@token@/$(cat $folder/token)/" {self.folder}/answer > $folder/found.json\n'
            "echo Submitted batch job 10",
        )

    def job(self, state: str, reason: str = "None", facts: str = "") -> None:
        """A job that stays in this state until it is cancelled, and never answers."""
        script = f'case "$1" in --version) exit;; esac; cp "$1" {self.folder}/script; echo Submitted batch job 10'
        self("sbatch", script)
        name = f"$(sed -n 's/^#SBATCH --job-name=//p' {self.folder}/script)"
        gone = f"[ -e {self.folder}/cancelled ] || [ ! -e {self.folder}/script ]"
        self("squeue", f'{gone} || echo "10|{state}|n1|{reason}|{name}"')
        self("scancel", f'[ "$1" = --version ] || echo "$*" >> {self.folder}/cancelled')
        record = f"JobId=10 JobName={name} JobState={state} Reason={reason} NodeList=n1 {facts}"
        self("scontrol", f'[ "$2" = config ] && exec cat {self.folder}/config; [ "$4" = 10 ] && echo "{record}"')  # fmt: skip

    @property
    def cancelled(self) -> str:
        file = self.folder / "cancelled"
        return file.read_text() if file.exists() else ""


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    made = FakeSlurm(tmp_path)
    listing = made.says("listing", LISTING)
    made("sinfo", f'case "$1" in --version) echo slurm 23.11.4;; *) {listing};; esac')
    made("scontrol", f'{made.says("config", CONFIG)}; [ "$2" = config ]')
    for name in ("squeue", "scancel", "sacct"):
        made(name, "")
    made.answers()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.setattr(send_probe, "LOOK_S", 0.02)
    monkeypatch.setattr(send_probe, "FIRST_ASK_S", 0.05)
    monkeypatch.setattr(send_probe, "AFTER_FAILURE_S", 0.1)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return made


def doctor(slurm: FakeSlurm, *words: str, cluster: str = "") -> Result:
    file = slurm.folder / "mine.toml"
    file.write_text(cluster)
    command = ["doctor", "--cluster", str(file), "--workdir", str(slurm.folder / "work"), *words]
    return CliRunner().invoke(cli, command, prog_name="harness")


def told(result: Result, code: int) -> dict[str, dict[str, Any]]:
    assert result.exit_code == code, result.output
    return {each["what"]: each for each in json.loads(result.stdout)}


def test_a_site_where_all_is_well_is_told_in_order_and_exit_code_0(slurm: FakeSlurm) -> None:
    found = told(doctor(slurm, "--json"), 0)
    order = list(found)
    assert order.index("Python") < order.index("SLURM") < order.index("probe job")
    assert found["partition cpu"]["found"] == "the site's default, up, 10 nodes (8 idle, 2 out of service)"  # fmt: skip
    assert found["probe job"]["found"].startswith("job 10 ran on n1")
    assert found["code there"]["found"].endswith(("as here", "the same"))
    assert "up to array_limit = 2000 would do" in found["array_limit"]["found"]


def test_people_get_lines_and_what_is_waited_for_on_stderr(slurm: FakeSlurm) -> None:
    slurm.job("PENDING", "Priority")
    done = doctor(slurm, "--wait", "1")
    assert done.exit_code == 1
    assert "ok partition cpu: " in done.stdout
    assert "waiting for the probe job 10: PENDING on n1 (Priority)\n" in done.stderr
    assert "waiting" not in done.stdout


def test_the_probe_goes_the_road_of_cells(slurm: FakeSlurm) -> None:
    described = (
        'partition = "gpu"\naccount = "vision"\ngpus_per_node = 4\ncpus_per_task = 3\nmemory_gb = 7.0\ntime_min = 30\n'
        'setup = ["module load cuda"]\n'
    )
    doctor(slurm, "--json", cluster=described)
    script = (slurm.folder / "script").read_text()
    for line in (
        "--partition=gpu", "--account=vision", "--gpus-per-node=1", "--cpus-per-task=3", "--mem=7168M", "--time=30",
        "--requeue",
    ):  # fmt: skip
        assert f"#SBATCH {line}\n" in script
    assert "module load cuda\n" in script
    assert f"{sys.executable} -u -m harness.probe {slurm.folder}/work/doctor/" in script


def test_without_slurm_there_is_one_sentence_about_it(
    slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(slurm.folder))
    done = doctor(slurm)
    assert done.exit_code == 1
    assert "!! SLURM: there is no sinfo here: run this on a login node\n" in done.stdout
    assert "probe" not in done.output


def test_a_controller_that_is_down_is_said_and_nothing_is_sent(slurm: FakeSlurm) -> None:
    slurm("sinfo", "echo 'slurm_load_partitions: Unable to contact slurm controller' >&2; exit 1")
    found = told(doctor(slurm, "--json"), 1)
    assert "Unable to contact slurm controller" in found["SLURM"]["found"]
    assert not (slurm.folder / "script").exists()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--cluster", "local"), "'local' is no cluster"),
        (("--cluster", "none.toml"), "the cluster file none.toml cannot be read"),
        (("--wait", "5"), "--wait is for clusters: leave it out, or add --cluster slurm"),
        (("--cluster", "slurm", "--wait", "0"), "0 is not in the range"),
    ],
)
def test_wrong_words_are_a_sentence_and_exit_code_2(words: tuple[str, ...], sentence: str) -> None:
    refused = CliRunner().invoke(cli, ["doctor", *words], prog_name="harness")
    assert refused.exit_code == 2
    assert sentence in refused.stderr


def test_answers_that_are_garbled_are_unknown_and_no_error(slurm: FakeSlurm) -> None:
    slurm.says("listing", "\377\376|\nhello\n|up|1|2|3|4|5|6|7\ncpu*|up|soon|?|many|idle|16|x|y\n")
    slurm.says("config", "=\nMaxArraySize = a lot\nJobRequeue\nMaxJobCount=-3\n")
    found = told(doctor(slurm, "--json"), 1)
    assert found["partition"]["found"] == "sinfo names none"
    assert found["array_limit"]["ok"]
    assert "limit is not known" in found["array_limit"]["found"]
    assert found["probe job"]["ok"]


def test_accounting_that_is_off_loses_nothing(slurm: FakeSlurm) -> None:
    slurm("sacct", "echo 'Slurm accounting storage is disabled' >&2; exit 1")
    found = told(doctor(slurm, "--json"), 0)
    assert found["accounting"]["ok"]
    assert "Slurm accounting storage is disabled" in found["accounting"]["found"]
    assert "nothing is lost" in found["accounting"]["advice"]


def test_commands_that_are_missing_here_are_named_with_what_is_lost(slurm: FakeSlurm) -> None:
    (slurm.folder / "bin" / "scancel").unlink()
    slurm("scontrol", "exit 1")
    found = told(doctor(slurm, "--json"), 1)
    assert "`harness cancel` cannot end jobs" in found["scancel"]["advice"]
    assert found["scontrol"]["ok"]
    assert "the site's limit is not known" in found["array_limit"]["found"]


def test_nothing_is_sent_to_a_partition_that_starts_no_job(slurm: FakeSlurm) -> None:
    found = told(doctor(slurm, "--json", cluster='partition = "old"'), 1)
    assert found["probe job"]["found"] == "not sent, because of: partition old"
    assert not (slurm.folder / "script").exists()


def test_a_refusal_is_told_in_sbatchs_words(slurm: FakeSlurm) -> None:
    refusal = "echo 'sbatch: error: Invalid account or account/partition combination specified' >&2; exit 1"
    slurm("sbatch", f'[ "$1" = --version ] || {{ {refusal}; }}')
    found = told(doctor(slurm, "--json"), 1)["probe job"]
    assert "SLURM refused it: Invalid account" in found["found"]
    assert "mend" in found["advice"]


def test_a_probe_that_never_starts_is_explained_and_cancelled(slurm: FakeSlurm) -> None:
    slurm.job("PENDING", "Resources")
    found = told(doctor(slurm, "--json", "--wait", "1"), 1)["probe job"]
    assert "PENDING on n1 (Resources) after 1 s, and was cancelled" in found["found"]
    assert "--wait" in found["advice"]
    assert slurm.cancelled == "10\n"


def test_a_probe_that_dies_is_told_with_its_code_and_last_words(
    slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    slurm.job("FAILED", "NonZeroExitCode", facts="ExitCode=1:0 Requeue=1")
    log = "first\n\nTraceback\nModuleNotFoundError: No module named 'harness'"
    script = (slurm.folder / "bin" / "sbatch").read_text()
    slurm(
        "sbatch",
        script.partition("\n")[2].strip()
        + '; logs=$(sed -n \'s/^#SBATCH --output=//p\' "$1" | tr -d "\'\\""); '
        + f"printf \"%s\\n\" \"{log}\" > \"$(dirname \"$logs\")/10_0_log.out\"",
    )  # fmt: skip
    found = told(doctor(slurm, "--json", "--wait", "20"), 1)["probe job"]
    assert "FAILED on n1 (NonZeroExitCode), exit code 1" in found["found"]
    assert "| ModuleNotFoundError: No module named 'harness'" in found["found"]
    assert "the Python there lacks" in found["advice"]
    assert slurm.cancelled == ""


def test_a_slurm_that_falls_silent_while_the_probe_is_waited_for_is_said(slurm: FakeSlurm) -> None:
    slurm.job("PENDING")
    slurm("squeue", f"[ ! -e {slurm.folder}/script ] || {{ echo 'no contact' >&2; exit 1; }}")
    done = doctor(slurm, "--wait", "1")
    assert done.exit_code == 1
    assert "waiting for the probe job 10: squeue failed: no contact" in done.stderr
    assert "the probe job may still queue (squeue failed: no contact): `scancel --name=" in done.stderr  # fmt: skip
    assert "Traceback" not in done.output


def test_an_answer_that_is_seen_after_slurm_forgot_the_job_counts(slurm: FakeSlurm) -> None:
    """A network disk is late, and the controller forgets jobs at once."""
    slurm.answers()
    script = (slurm.folder / "bin" / "sbatch").read_text().partition("\n")[2]
    late = script.replace("sed \"s/@", "(sleep 1; sed \"s/@").replace("found.json\n", "f && mv $folder/f $folder/found.json) >/dev/null 2>&1 &\n")  # fmt: skip
    slurm("sbatch", late)
    name = f"$(sed -n 's/^#SBATCH --job-name=//p' {slurm.folder}/script)"
    once = f'[ -e {slurm.folder}/asked ] || {{ touch {slurm.folder}/asked; echo "10|RUNNING|n1|None|{name}"; }}'
    slurm("squeue", f"[ ! -e {slurm.folder}/script ] || {once}")
    found = told(doctor(slurm, "--json", "--wait", "30"), 0)
    assert found["probe job"]["ok"]


def test_an_answer_of_another_version_of_the_code_is_said(slurm: FakeSlurm) -> None:
    slurm.answers()
    slurm.says("answer", '{"host": "n1", "token": "@token@"}')
    found = told(doctor(slurm, "--json"), 1)["probe job"]
    assert "is not what this version of the code writes" in found["found"]
    assert "same installation" in found["advice"]


def test_ctrl_c_cancels_the_probe_and_is_one_sentence(slurm: FakeSlurm) -> None:
    slurm.job("PENDING", "Priority")
    words = [sys.executable, "-m", "harness", "doctor", "--cluster", "slurm", "--workdir", str(slurm.folder / "work")]  # fmt: skip
    process = subprocess.Popen(
        words, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr
    first = process.stderr.readline()
    assert "waiting for the probe job 10: PENDING" in first
    process.send_signal(signal.SIGINT)
    _, rest = process.communicate(timeout=60)
    assert process.returncode == 130
    assert rest == "harness: interrupted; nothing of the probe job stays in the queue\n"
    assert slurm.cancelled == "10\n"


def test_the_probe_writes_what_it_finds(slurm: FakeSlurm) -> None:
    folder = slurm.folder / "work" / "doctor" / "now"
    folder.mkdir(parents=True)
    (folder / "token").write_text("abc")
    subprocess.run([sys.executable, "-m", "harness.probe", str(folder), "0"], check=True, env=environment())  # fmt: skip
    found = probe.read(folder / "found.json")
    assert found.token == "abc"
    assert (found.torch_problem, found.gpus, found.gpus_allotted) == ("", (), 0)
    assert found.cores == len(os.sched_getaffinity(0))
    assert found.code == provenance.code()
    assert found.packages == provenance.packages()
    assert found.silent == {}
    assert found.store_problem == ""
    assert found.free_gb == pytest.approx(shutil.disk_usage(folder).free / 1e9, abs=2.0)
    assert {path.name for path in folder.iterdir()} == {"token", "found.json"}
