"""What is made of a probe's answer, and of the end of one that did not answer."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from configs.clusters import Cluster
from harness import node_findings, probe, provenance
from harness.doctor import Finding
from harness.node_findings import Probed
from harness.probe import Gpu
from tests.harness.doctoring import ANSWER, bad

PROBED = Probed(job="10", token="t", answer=replace(ANSWER, token="t"), waited_s=3.0, requeue="1")


def of_node(probed: Probed, **cluster: Any) -> dict[str, Finding]:
    found = node_findings.findings(
        Cluster(**cluster), probed, provenance.packages(), provenance.code()
    )
    return {each.what: each for each in found}


def with_answer(**changes: Any) -> Probed:
    assert PROBED.answer
    return replace(PROBED, answer=replace(PROBED.answer, **changes))


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


@pytest.mark.parametrize(
    ("changes", "advice"),
    [
        ({"state": "FAILED", "reason": "JobLaunchFailure", "exit": "ended by signal 53"}, "not seen there: choose a --workdir"),
        ({"state": "FAILED", "exit": "exit code 4", "log": ("x",)}, "not seen there: choose a --workdir"),
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


def test_a_probe_without_its_folder_says_so_by_its_exit_code(tmp_path: Path) -> None:
    assert probe.main([str(tmp_path / "work" / "doctor" / "none"), "1"]) == probe.NO_FOLDER
    assert not (tmp_path / "work").exists()


def test_answers_are_read_back_as_they_were_written(tmp_path: Path) -> None:
    answer = with_answer(gpus=(Gpu(name="New", memory_gb=79.6),)).answer
    assert answer
    (tmp_path / "a").write_text(json.dumps(asdict(answer)))
    assert probe.read(tmp_path / "a") == answer
