"""The throw-away SLURM itself: without it, the tests that rest on it say nothing."""

import subprocess

from tests.slurm.cluster import ThrowAwaySlurm


def test_a_step_runs_on_two_nodes_that_have_names_of_their_own(real_slurm: ThrowAwaySlurm) -> None:
    told = subprocess.run(
        ["srun", "-N2", "-n2", "hostname"], capture_output=True, text=True, check=True, timeout=60
    ).stdout
    assert len(set(told.split())) == 2
    assert set(told.split()) <= set(real_slurm.names)


def test_a_node_that_was_set_down_is_healed(real_slurm: ThrowAwaySlurm) -> None:
    real_slurm.ask("scontrol", "update", "NodeName=tn4", "State=DOWN", "Reason=test")
    assert real_slurm.ask("sinfo", "-h", "-n", "tn4", "-p", "main", "-o", "%T").strip() == "down"
    real_slurm.heal()
    assert real_slurm.ask("sinfo", "-h", "-n", "tn4", "-p", "main", "-o", "%T").strip() == "idle"
