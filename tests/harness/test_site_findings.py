"""A cluster's description held against a site, and how that site is read from what SLURM says."""

from dataclasses import replace
from typing import Any

import pytest

from configs.clusters import Cluster
from harness import site_findings
from harness.doctor import Finding
from slurm.site import Nodes, Partition, Site, minutes, num_gpus, read_config, read_partitions
from tests.harness.doctoring import LISTING, bad


def compared(listing: str = LISTING, site: Site | None = None, **cluster: Any) -> dict[str, Finding]:  # fmt: skip
    there = site or Site(version="23.11.4", max_array_size=2001, max_job_count=10_000)
    there = replace(there, partitions=read_partitions(listing))
    return {each.what: each for each in site_findings.compare(Cluster(**cluster), there)}


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
    assert compared(site=site)["preemption"].advice == "jobs save, are requeued, and continue"
    assert "the next `harness run`" in compared(site=site, requeue=False)["preemption"].advice
    off = Site(preempt_type="preempt/none", preempt_mode="REQUEUE")
    assert "no job is pushed aside" in compared(site=off)["preemption"].found


def test_jobs_ask_for_the_requeue_that_the_site_does_not_give_unasked() -> None:
    found = compared(site=Site(job_requeue=False))["requeue"]
    assert found.ok
    assert "JobRequeue=0" in found.found
    assert compared(requeue=False)["requeue"].ok
    assert "requeue" not in compared()


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
