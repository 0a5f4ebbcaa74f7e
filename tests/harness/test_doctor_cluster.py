"""`harness doctor --cluster` without a cluster: SLURM's commands are small scripts on PATH that say what the test says."""

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from configs.clusters import Cluster
from harness import node_findings, probe, provenance, send_probe, site_findings
from harness.cli import cli
from harness.doctor import Finding
from harness.node_findings import Probed
from harness.probe import Answer, Gpu
from slurm.site import Nodes, Partition, Site, minutes, num_gpus, read_config, read_partitions
from tests.harness.running import environment

LISTING = """\
cpu*|up|2-00:00:00|REQUEUE|8|idle|16|64000|(null)
cpu*|up|2-00:00:00|REQUEUE|2|drained|16|64000|(null)
gpu|up|4:00:00|CANCEL|3|mixed|32|256000|gpu:a100:4(S:0-1)
old|down|infinite|OFF|1|idle|4|8000|(null)
dead|up|infinite|OFF|2|down|4|8000|(null)
"""
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
ANSWER = Answer(
    host="n1", python=sys.executable, packages=provenance.packages(), torch_problem="", gpus=(), gpus_allotted=0, cores=4,
    token="@token@", free_gb=100.0, silent={}, store_problem="", code=provenance.code(),
)  # fmt: skip
PROBED = Probed(job="10", token="t", answer=replace(ANSWER, token="t"), waited_s=3.0, requeue="1")


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
        self("scontrol", f'case "$2" in config) cat {self.folder}/config;; job) echo "{facts}";; esac')  # fmt: skip

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


def compared(listing: str = LISTING, site: Site | None = None, **cluster: Any) -> dict[str, Finding]:  # fmt: skip
    there = site or Site(version="23.11.4", max_array_size=2001, max_job_count=10_000)
    there = replace(there, partitions=read_partitions(listing))
    return {each.what: each for each in site_findings.compare(Cluster(**cluster), there)}


def of_node(probed: Probed, **cluster: Any) -> dict[str, Finding]:
    found = node_findings.findings(
        Cluster(**cluster), probed, provenance.packages(), provenance.code()
    )
    return {each.what: each for each in found}


def with_answer(**changes: Any) -> Probed:
    assert PROBED.answer
    return replace(PROBED, answer=replace(PROBED.answer, **changes))


def bad(finding: Finding, found: str, advice: str) -> None:
    assert not finding.ok
    assert found in finding.found
    assert advice in finding.advice


# The whole verb.


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


# The cluster's description against the site.


def test_a_partition_that_is_not_there_is_corrected() -> None:
    bad(compared(partition="gpus")["partition"], "there is no partition 'gpus'; did you mean 'gpu'", "cpu, gpu, old, dead")  # fmt: skip


def test_of_several_partitions_each_is_looked_at() -> None:
    found = compared(partition="cpu,gpu,none", time_min=300)
    assert found["partition cpu"].ok
    assert found["partition gpu"].ok
    bad(found["partition"], "'none'", "")
    bad(found["time_min"], "the limit of partition gpu is 240 minutes", "write time_min = 240")


def test_a_site_without_a_default_partition_wants_one_named() -> None:
    bad(compared(LISTING.replace("*", ""))["partition"], "no default partition", "one of cpu, gpu")


def test_a_partition_that_is_down_or_has_no_node_in_service_is_said() -> None:
    bad(compared(partition="old")["partition old"], "it is down", "another partition (cpu, gpu)")
    bad(compared(partition="dead")["partition dead"], "none of its 2 nodes is in service (down)", "wait")  # fmt: skip


def test_nothing_is_sent_to_a_partition_that_starts_no_job(slurm: FakeSlurm) -> None:
    found = told(doctor(slurm, "--json", cluster='partition = "old"'), 1)
    assert found["probe job"]["found"] == "not sent, because of: partition old"
    assert not (slurm.folder / "script").exists()


def test_a_time_above_the_limit_is_corrected() -> None:
    bad(compared(time_min=2881)["time_min"], "is 2880 minutes", "write time_min = 2880")
    assert compared(time_min=2880)["time_min"].ok
    assert compared(partition="dead", time_min=10**6)["time_min"].ok


@pytest.mark.parametrize(
    ("array_size", "job_count", "limit", "advice"),
    [
        (2001, 10_000, 2000, None),
        (2001, 10_000, 2001, "write array_limit = 2000"),
        (2001, 500, 1000, "write array_limit = 500"),
        (None, None, 10**6, None),
        (1, None, 1, "ask the site"),
    ],
)
def test_arrays_longer_than_the_site_takes_are_corrected_to_the_number(
    array_size: int | None, job_count: int | None, limit: int, advice: str | None
) -> None:
    site = Site(max_array_size=array_size, max_job_count=job_count)
    found = compared(site=site, array_limit=limit)["array_limit"]
    assert (found.ok, found.advice) == (advice is None, advice or "")


def test_gpus_that_nodes_do_not_have_are_corrected() -> None:
    bad(compared(gpus_per_node=2)["gpus_per_node"], "no node of the partition has a GPU", "or a partition with GPUs (gpu)")  # fmt: skip
    bad(compared(partition="gpu", gpus_per_node=8)["gpus_per_node"], "more than 4", "write gpus_per_node = 4")  # fmt: skip
    assert compared(partition="gpu", gpus_per_node=4)["gpus_per_node"].ok


def test_gpus_that_would_stay_unused_are_mentioned_and_no_fault() -> None:
    found = compared(partition="gpu")["gpus_per_node"]
    assert found.ok
    assert found.advice == "write gpus_per_node = 4 to use them"


def test_a_process_larger_than_every_node_is_corrected() -> None:
    bad(compared(cpus_per_task=17)["size"], "17 cores", "write cpus_per_task = 16 at most")
    bad(compared(memory_gb=63.0)["size"], "nodes have 16 cores, 62.5 GiB", "write memory_gb = 62.5 at most")  # fmt: skip
    assert compared(memory_gb=62.5, cpus_per_task=16)["size"].ok
    two_kinds = "p*|up|infinite|OFF|1|idle|64|1000|(null)\np*|up|infinite|OFF|1|idle|1|64000|(null)\n"  # fmt: skip
    bad(compared(two_kinds, cpus_per_task=8, memory_gb=8)["size"], "no node", "ask for less")


def test_pretraining_on_more_or_larger_nodes_than_there_are_is_corrected() -> None:
    bad(compared(pretrain_nodes=11)["pretrain_nodes"], "has 10 nodes", "write pretrain_nodes = 10")
    bad(compared(pretrain_ranks=17)["pretrain_ranks"], "0 nodes of the partition have that", "smaller")  # fmt: skip
    assert compared(pretrain_nodes=10, pretrain_ranks=16)["pretraining"].ok
    assert not {"pretrain_ranks", "pretraining"} & set(compared(cpus_per_task=99, pretrain_ranks=2))


def test_preemption_that_cancels_is_no_fault_and_says_what_continues() -> None:
    site = Site(preempt_type="preempt/qos", preempt_mode="REQUEUE")
    found = compared(site=site, partition="gpu")["preemption"]
    assert found.ok
    assert "the next `harness run` continues" in found.advice
    assert "preemption" not in compared(site=site)
    assert "preemption" in compared(site=site, requeue=False)
    assert "preemption" not in compared(partition="gpu")


def test_jobs_ask_for_the_requeue_that_the_site_does_not_give_unasked() -> None:
    found = compared(site=Site(job_requeue=False))["requeue"]
    assert found.ok
    assert "JobRequeue=0" in found.found
    assert compared(requeue=False)["requeue"].ok
    assert "requeue" not in compared()


# What the commands say, read.


@pytest.mark.parametrize(
    ("gres", "gpus"),
    [
        ("(null)", 0), ("", 0), ("gpu", 1), ("gpu:2", 2), ("gpu:a100:4(S:0-1)", 4), ("gpu:a100:4(S:0,2),gpu:t4:1", 5),
        ("shard:8,gpu:h100:8", 8), ("gpu:a100:no_consume:4", 4), ("gpumem:80G", 0), ("gpu:x", 1),
    ],
)  # fmt: skip
def test_gpus_are_read_from_generic_resources(gres: str, gpus: int) -> None:
    assert num_gpus(gres) == gpus


@pytest.mark.parametrize(
    ("limit", "expected"),
    [("infinite", None), ("n/a", None), ("30:00", 30), ("1:30:00", 90), ("2-00:00:30", 2880), ("", None), ("5:x", None)],
)  # fmt: skip
def test_time_limits_are_read_in_minutes(limit: str, expected: int | None) -> None:
    assert minutes(limit) == expected


def test_partitions_are_read_with_marks_and_ranges_taken_off() -> None:
    (found,) = read_partitions("a b*|UP|infinite|off|2|IDLE*|8+|1000+|(null)\na b*|up|infinite|off|0|n/a|0|0|(null)\n")  # fmt: skip
    assert found == Partition(
        name="a b", state="up", is_default=True, limit_min=None, preempt_mode="OFF",
        nodes=(Nodes(number=2, state="idle", cpus=8, memory_mb=1000),),
    )  # fmt: skip


def test_config_values_that_are_null_are_unknown() -> None:
    assert read_config("A = (null)\nB=\nC = x = y\n") == {"C": "x = y"}


# What a node told.


def test_another_folder_of_the_same_name_is_no_shared_disk() -> None:
    found = of_node(replace(PROBED, token="another"))["work folder there"]
    bad(found, "another folder of that name", "disk that this machine and the compute nodes share")


def test_a_full_disk_there_is_a_fault_and_a_slow_one_is_not() -> None:
    bad(of_node(with_answer(free_gb=0.2))["work folder there"], "0.2 GB free", "free some space")
    slow = of_node(replace(PROBED, late_s=31.0))["work folder there"]
    assert slow.ok
    assert "31 s after its job had ended" in slow.found


def test_other_versions_there_are_named() -> None:
    there = {**provenance.packages(), "torch": "1.0", "extra": "2"}
    del there["pandas"]
    found = of_node(with_answer(packages=there))["Python there"]
    bad(found, "torch 1.0 there and 2.", "use the same installation on both")
    assert "pandas missing there" in found.found
    assert "extra 2 there and missing here" in found.found


def test_other_code_there_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    here = {"commit": "a" * 40, "dirty": False, "diff_sha256": None}
    monkeypatch.setattr(provenance, "code", lambda: here)
    assert of_node(with_answer(code=here))["code there"].ok
    for there, words in (
        ({**here, "commit": "b" * 40}, "commit bbbbbbbbbbbb, and aaaaaaaaaaaa here"),
        ({**here, "dirty": True, "diff_sha256": "0"}, "with other changes than here"),
        ({"commit": "unknown", "dirty": None, "diff_sha256": None}, "cannot be told there"),
    ):
        bad(of_node(with_answer(code=there))["code there"], words, "same installation")


def test_gpus_that_torch_does_not_see_or_that_do_not_work_are_faults() -> None:
    asked = {"partition": "gpu", "gpus_per_node": 4}
    bad(of_node(with_answer(gpus_allotted=1), **asked)["torch there"], "sees none of the 1 GPUs", "CUDA build")  # fmt: skip
    bad(of_node(PROBED, **asked)["torch there"], "SLURM let the job see no GPU", "ask the site")
    broken = with_answer(gpus=(Gpu(name="Old", memory_gb=4, problem="no kernel image"),), gpus_allotted=1)  # fmt: skip
    bad(of_node(broken, **asked)["torch there"], "Old: no kernel image", "these GPUs")
    works = with_answer(gpus=(Gpu(name="New", memory_gb=79.6),), gpus_allotted=1)
    assert "New with 80 GiB" in of_node(works, **asked)["torch there"].found
    bad(of_node(with_answer(torch_problem="OSError: libx.so"))["torch there"], "libx.so", "library")


def test_a_node_without_scontrol_cannot_ask_for_a_requeue_and_that_is_no_fault() -> None:
    silent = with_answer(silent={"scontrol": "there is no scontrol here"})
    found = of_node(silent)["SLURM there"]
    assert found.ok
    assert "cannot ask to be run again: there is no scontrol here" in found.found
    assert "the next `harness run` continues" in found.advice
    assert "squeue" in of_node(silent, requeue=False)["SLURM there"].found
    taken_back = of_node(replace(PROBED, requeue="0"))["SLURM there"]
    assert taken_back.ok
    assert "takes requests to run a job again back" in taken_back.found


def test_a_store_that_is_not_reached_from_there_is_a_fault() -> None:
    bad(of_node(with_answer(store_problem="refused"))["MLflow there"], "refused", "harness collect")


def test_fewer_cores_than_asked_are_said() -> None:
    found = of_node(with_answer(cores=1), cpus_per_task=2)["cores there"]
    assert found.ok
    assert found.advice


# What keeps a node from telling.


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
    slurm.job("FAILED", "NonZeroExitCode", facts="JobId=10 ExitCode=1:0 Requeue=1")
    log = "first\n\nTraceback\nModuleNotFoundError: No module named 'harness'"
    script = (slurm.folder / "bin" / "sbatch").read_text()
    slurm(
        "sbatch",
        script.partition("\n")[2].strip()
        + '; logs=$(sed -n \'s/^#SBATCH --output=//p\' "$1" | tr -d "\'\\""); '
        + f"printf \"%s\\n\" \"{log}\" > \"$(dirname \"$logs\")/10_0_log.out\"",
    )  # fmt: skip
    found = told(doctor(slurm, "--json", "--wait", "20"), 1)["probe job"]
    assert "FAILED on n1 (NonZeroExitCode), exit code 1:0" in found["found"]
    assert "| ModuleNotFoundError: No module named 'harness'" in found["found"]
    assert "the Python there lacks" in found["advice"]
    assert slurm.cancelled == ""


@pytest.mark.parametrize(
    ("changes", "advice"),
    [
        ({"state": "FAILED", "reason": "JobLaunchFailure", "exit_code": "0:53"}, "not seen there: choose a --workdir"),
        ({"state": "FAILED", "exit_code": "4:0", "log": ("x",)}, "not seen there: choose a --workdir"),
        ({"state": "OUT_OF_MEMORY", "log": ("x",)}, "larger memory_gb"),
        ({"state": "FAILED", "log": ("slurmstepd: error: Detected 1 oom_kill event",)}, "larger memory_gb"),
        ({"state": "TIMEOUT", "log": ("x",)}, "larger time_min"),
        ({"state": "CANCELLED"}, "somebody cancelled it"),
        ({"state": "FAILED", "log": ("bash: module: command not found",)}, "mend `setup` or `python`"),
        ({"state": "FAILED", "log": ("mysterious",)}, "mend what it says"),
    ],
)  # fmt: skip
def test_how_a_probe_ended_leads_to_advice(changes: dict[str, Any], advice: str) -> None:
    probed = Probed(job="10", ended=True, waited_s=2, **changes)
    bad(of_node(probed)["probe job"], "ended without an answer", advice)


@pytest.mark.parametrize(
    ("reason", "advice"),
    [
        ("ReqNodeNotAvail, UnavailableNodes:n1", "sinfo -R"),
        ("QOSMaxGRESPerUser", "a limit of your account or QOS"),
        ("AssocGrpCpuLimit", "a limit of your account or QOS"),
        ("SomethingNew", "ask again with a longer --wait"),
    ],
)
def test_why_a_probe_waits_leads_to_advice(reason: str, advice: str) -> None:
    probed = Probed(job="10", state="PENDING", reason=reason, waited_s=120)
    bad(of_node(probed)["probe job"], "was PENDING", advice)


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


# The probe itself, on this machine.


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


def test_a_probe_without_its_folder_says_so_by_its_exit_code(tmp_path: Path) -> None:
    assert probe.main([str(tmp_path / "work" / "doctor" / "none"), "1"]) == probe.NO_FOLDER
    assert not (tmp_path / "work").exists()


def test_answers_are_read_back_as_they_were_written(tmp_path: Path) -> None:
    answer = with_answer(gpus=(Gpu(name="New", memory_gb=79.6),)).answer
    assert answer
    (tmp_path / "a").write_text(json.dumps(asdict(answer)))
    assert probe.read(tmp_path / "a") == answer
