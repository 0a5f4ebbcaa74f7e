"""Clusters as data: what a user's file may say, and the sentence for what it may not."""

from pathlib import Path

import pytest

from configs.clusters import Cluster, find


def test_the_built_in_cluster_leaves_the_site_its_defaults() -> None:
    built_in = find("slurm")
    assert (built_in.partition, built_in.account, built_in.time_min) == ("", "", 0)


def test_a_file_sets_what_it_names_and_keeps_the_rest(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(
        'partition = "gpu"\nmemory_gb = 4\nsetup = ["module load cuda"]\nrequeue = false\n'
    )
    assert find(str(file)) == Cluster(
        partition="gpu", memory_gb=4.0, setup=("module load cuda",), requeue=False
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('partitoin = "gpu"', "there is no setting 'partitoin'; did you mean 'partition'?"),
        ("partition = 3", "partition = 3: it must be text"),
        ("time_min = 2.5", "time_min = 2.5: it must be a whole number"),
        ("time_min = true", "time_min = True: it must be a whole number"),
        ('memory_gb = "4G"', "memory_gb = '4G': it must be a number"),
        ('setup = "module load cuda"', "setup = 'module load cuda': it must be a list of texts"),
        ("requeue = 1", "requeue = 1: it must be true or false"),
        ("array_limit = 0", "array_limit = 0: it must be at least 1"),
        ("memory_gb = nan", "memory_gb = nan: it must be a number"),
        ('account = "a\\nb"', "account = 'a\\nb': it must be one printable line"),
        ("gpus_per_node = 2\npretrain_ranks = 4", "a node has only gpus_per_node = 2"),
        ("partition =", "is not TOML"),
    ],
)
def test_a_wrong_file_is_one_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(text)
    with pytest.raises(ValueError, match=r"the cluster file .*mine\.toml") as told:
        find(str(file))
    assert sentence in str(told.value)
    assert "\n" not in str(told.value)


def test_a_file_that_is_not_there_and_a_name_that_nobody_knows_are_sentences(
    tmp_path: Path,
) -> None:
    with pytest.raises(ValueError, match=r"cannot be read \(No such file or directory\)"):
        find(str(tmp_path / "none.toml"))
    with pytest.raises(ValueError, match=r"there is no cluster 'slurn'; did you mean 'slurm'\?"):
        find("slurn")
