"""A finished work folder of a tiny fig12, made once; mirrors to fetch from."""

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tasks.data import download
from tasks.data.fetchable import FETCHABLE
from tests.harness.faked import write_command
from tests.harness.mirror import Mirror, small_mnist
from tests.harness.official import Official, index_official
from tests.harness.on_slurm import OnSlurm
from tests.harness.running import Harness
from tests.real_data import real_data
from tests.slurm.cluster import ThrowAwaySlurm


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A work folder; and SLURM's commands, which count jobs and forget them at once."""
    commands = tmp_path / "bin"
    commands.mkdir()
    write_command(
        commands / "sbatch",
        f'n=$(cat {tmp_path}/n 2>/dev/null || echo 10); echo $((n + 1)) > {tmp_path}/n; echo "Submitted batch job $n"',
    )
    write_command(commands / "squeue", f"cat {tmp_path}/squeue 2>/dev/null; true")
    write_command(commands / "scancel", f'echo "$*" >> {tmp_path}/scancelled')
    monkeypatch.setenv("PATH", f"{commands}:/usr/bin:/bin")
    return tmp_path / "work"


@pytest.fixture
def harness(tmp_path: Path) -> Harness:
    return Harness(tmp_path / "work")


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Harness:
    """A tiny fig12, run undisturbed. Tests read it and change nothing."""
    made = Harness(tmp_path_factory.mktemp("finished") / "work")
    made.run_tiny()
    return made


@pytest.fixture
def copy_of_finished(finished: Harness, tmp_path: Path) -> Harness:
    """The same in a folder of the test's own."""
    subprocess.run(["cp", "-a", str(finished.work), str(tmp_path / "copied")], check=True)
    return Harness(tmp_path / "copied")


@pytest.fixture
def on_slurm(real_slurm: ThrowAwaySlurm, tmp_path: Path) -> OnSlurm:
    """A work folder, and a cluster of four idle nodes."""
    return OnSlurm(tmp_path / "a work folder")


@pytest.fixture(scope="session")
def _official_sets() -> dict[str, Official]:
    """Those that were made so far."""
    return {}


@pytest.fixture(params=["ucf101", "hmdb51"])
def official(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    _official_sets: dict[str, Official],
) -> Official:
    """UCF-101 or HMDB-51 by name, indexed once. Tests read it and change nothing."""
    name: str = request.param
    if name not in _official_sets:
        lists = real_data("splits", name)
        _official_sets[name] = index_official(name, tmp_path_factory.mktemp(name), lists)
    return _official_sets[name]


@pytest.fixture
def mnist_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where `harness data fetch mnist` puts a small MNIST; no waiting between tries, no proxy, no mirror from outside."""
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path / "data"))
    monkeypatch.delenv("HARNESS_MIRROR", raising=False)
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(download, "WAIT_S", 0.0)
    monkeypatch.setitem(FETCHABLE, "mnist", small_mnist())
    return tmp_path / "data/mnist"


@pytest.fixture
def mirrors(mnist_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Mirror, Mirror]]:
    """Two, which the table names in this order."""
    with ExitStack() as stack:
        two = (stack.enter_context(Mirror()), stack.enter_context(Mirror()))
        monkeypatch.setitem(FETCHABLE, "mnist", small_mnist(*(each.url for each in two)))
        yield two


@pytest.fixture
def mirror(mirrors: tuple[Mirror, Mirror]) -> Mirror:
    return mirrors[0]
