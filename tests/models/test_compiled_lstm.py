"""Which LSTM runs, how the compiled one comes about, and the memory that it keeps: each asked of a process of its own.

tests/models/test_fused_lstm.py has the numbers.
"""

from __future__ import annotations

import os
import platform
import stat
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from models import compiled_lstm, fused_lstm


@pytest.mark.skipif(
    os.environ.get("CI") != "true", reason="Triton exists for Linux alone; CI is Linux"
)
def test_ci_has_triton_so_that_its_kernels_tests_do_not_skip_there():
    assert find_spec("triton") is not None


def in_a_new_process(code, **environ):
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, **environ},
        cwd=Path(__file__).parents[2],
    )


CHOSEN = "import torch; from models import fused_lstm; print(fused_lstm.chosen(torch.zeros(1)))"


def test_the_compiled_one_is_chosen_and_kept_for_the_next_process(tmp_path):
    done = in_a_new_process(CHOSEN, XDG_CACHE_HOME=str(tmp_path))
    assert done.stdout.strip() == "compiled", done.stderr
    (library,) = (tmp_path / "video-lstm-harness").iterdir()
    made = library.stat().st_mtime_ns
    in_a_new_process(CHOSEN, XDG_CACHE_HOME=str(tmp_path), CC="cc")
    assert library.stat().st_mtime_ns == made


@pytest.mark.parametrize("compiler", ["no-such-compiler", "false"], ids=["not there", "fails"])
def test_without_a_compiler_torchs_operations_are_taken(tmp_path, compiler):
    done = in_a_new_process(CHOSEN, XDG_CACHE_HOME=str(tmp_path), CC=compiler)
    assert done.stdout.strip() == "in_place", done.stderr
    refused = in_a_new_process(
        "import torch; from models import fused_lstm\n"
        "try: fused_lstm.chosen(torch.zeros(1))\nexcept ValueError as error: print(error)",
        XDG_CACHE_HOME=str(tmp_path), CC=compiler, HARNESS_LSTM="compiled",
    )  # fmt: skip
    assert "HARNESS_LSTM=compiled cannot be used" in refused.stdout
    assert compiler in refused.stdout


def test_a_compiler_that_failed_is_not_asked_again(tmp_path):
    """Nor is the source read: a training step asks for the library several times."""
    counted = tmp_path / "cc"
    counted.write_text(f"#!/bin/sh\necho >> {tmp_path}/calls\nexit 1\n")
    counted.chmod(0o755)
    done = in_a_new_process(
        "import torch; from models.lstm import PeepholeLSTM\n"
        "layer = PeepholeLSTM(3, 2)\n"
        "for _ in range(5): layer(torch.zeros(2, 1, 3))",
        XDG_CACHE_HOME=str(tmp_path), CC=str(counted),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "calls").read_text().count("\n") == 1


@pytest.mark.parametrize("left", [0, 1000, 8192])
def test_a_library_that_was_cut_is_compiled_again(tmp_path, left):
    in_a_new_process(CHOSEN, XDG_CACHE_HOME=str(tmp_path))
    (library,) = (tmp_path / "video-lstm-harness").iterdir()
    whole = library.stat().st_size
    os.truncate(library, left)
    run = (
        f"{CHOSEN}; from models.lstm import PeepholeLSTM; PeepholeLSTM(3, 2)(torch.zeros(2, 1, 3))"
    )
    done = in_a_new_process(run, XDG_CACHE_HOME=str(tmp_path))
    assert done.stdout.strip() == "compiled", done.stderr
    assert library.stat().st_size == whole


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """The path of a library's folder and name, and its content, as this machine compiles it."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        compiled_lstm._load(torch.float32)
    (library,) = (folder / "video-lstm-harness").iterdir()
    return library.name, library.read_bytes()


def cached(tmp_path, monkeypatch, compiled, mode=0o700):
    """A cache folder that has the library already, and compilers that fail."""
    name, content = compiled
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = tmp_path / "video-lstm-harness"
    folder.mkdir(mode=0o700)
    (folder / name).write_bytes(content)
    (folder / name).chmod(mode)

    def never(command, path):
        raise compiled_lstm.NoCompilerError(f"{path} was to be compiled")

    monkeypatch.setattr(compiled_lstm, "_compile", never)
    return folder / name


def test_a_library_of_ones_own_is_taken(tmp_path, monkeypatch, compiled):
    library = cached(tmp_path, monkeypatch, compiled)
    compiled_lstm._load(torch.float32)
    assert stat.S_IMODE(library.stat().st_mode) == 0o700


@pytest.mark.parametrize("mode", [0o720, 0o702, 0o777])
def test_a_library_that_others_could_write_is_not_taken(mode, tmp_path, monkeypatch, compiled):
    cached(tmp_path, monkeypatch, compiled, mode)
    with pytest.raises(compiled_lstm.NoCompilerError, match="was to be compiled"):
        compiled_lstm._load(torch.float32)


def test_a_library_by_a_link_is_not_taken(tmp_path, monkeypatch, compiled):
    library = cached(tmp_path, monkeypatch, compiled)
    library.rename(tmp_path / "elsewhere.so")
    library.symlink_to(tmp_path / "elsewhere.so")
    with pytest.raises(compiled_lstm.NoCompilerError, match="was to be compiled"):
        compiled_lstm._load(torch.float32)


def test_a_library_of_another_user_is_not_taken(tmp_path, monkeypatch, compiled):
    """Nor is any in another's folder: a folder of one's own is beside it."""
    library = cached(tmp_path, monkeypatch, compiled)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(
        compiled_lstm.NoCompilerError, match="any code could be there: set XDG_CACHE_HOME"
    ):
        compiled_lstm._load(torch.float32)
    assert not compiled_lstm._is_whole(library)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_beside_another_users_folder_one_of_ones_own_is_made(tmp_path, monkeypatch, compiled):
    library = cached(tmp_path, monkeypatch, compiled)
    os.chown(library.parent, 12345, 12345)
    with pytest.raises(compiled_lstm.NoCompilerError, match="video-lstm-harness-0/lstm_step"):
        compiled_lstm._load(torch.float32)
    library.parent.with_name("video-lstm-harness-0").chmod(0o700)
    library.rename(library.parent.with_name("video-lstm-harness-0") / library.name)
    compiled_lstm._load(torch.float32)
    os.chown(library.parent.with_name("video-lstm-harness-0") / library.name, 12345, 12345)
    with pytest.raises(compiled_lstm.NoCompilerError, match="was to be compiled"):
        compiled_lstm._load(torch.float32)


def test_a_folder_that_others_may_write_to_is_closed(tmp_path, monkeypatch, compiled):
    library = cached(tmp_path, monkeypatch, compiled)
    library.parent.chmod(0o777)
    compiled_lstm._load(torch.float32)
    assert stat.S_IMODE(library.parent.stat().st_mode) == 0o700


def test_what_a_killed_compiler_left_behind_is_removed_when_it_is_old(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = tmp_path / "video-lstm-harness"
    old, new, others = (folder / name for name in ("compiling-old", "compiling-new", "kept"))
    for each in (old, new, others):
        each.mkdir(parents=True)
        (each / "half.so").touch()
    for each in (old, others):
        os.utime(each, (0, 0))
    compiled_lstm._load(torch.float32)
    found = {path.name for path in folder.iterdir() if path.suffix != ".so"}
    assert found == {"compiling-new", "kept"}


def test_no_home_folder_is_no_failure(monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)

    def nobody():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", nobody)
    with pytest.raises(compiled_lstm.NoCompilerError, match="home directory"):
        compiled_lstm._load(torch.float32)


def test_a_folder_that_cannot_be_written_is_no_failure(tmp_path):
    (tmp_path / "file").write_text("in the way")
    done = in_a_new_process(CHOSEN, XDG_CACHE_HOME=str(tmp_path / "file"))
    assert done.stdout.strip() == "in_place", done.stderr


def test_an_unknown_name_is_refused():
    with (
        pytest.raises(ValueError, match=r"'fast' is no implementation.*auto, plain"),
        fused_lstm.use("fast"),
    ):
        pass
    done = in_a_new_process(CHOSEN, HARNESS_LSTM="fast")
    assert "HARNESS_LSTM='fast' is no implementation of the LSTM" in done.stderr


def test_the_compiled_library_is_told_by_source_compiler_and_processor(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = tmp_path / "video-lstm-harness"
    compiled_lstm._load(torch.float32)
    assert len(list(folder.iterdir())) == 1
    monkeypatch.setattr(compiled_lstm, "_processor", lambda: b"another")
    compiled_lstm._load(torch.float32)
    assert len(list(folder.iterdir())) == 2
    changed = tmp_path / "lstm_step.c"
    changed.write_bytes(compiled_lstm.SOURCE.read_bytes() + b"\n")
    monkeypatch.setattr(compiled_lstm, "SOURCE", changed)
    compiled_lstm._load(torch.float32)
    assert len(list(folder.iterdir())) == 3


FAULTS = """
import resource, torch
from models import fused_lstm
from models.lstm import PeepholeLSTM
layer, frames = PeepholeLSTM(2100, 1050), torch.randn(2, 1, 2100)  # weights of more than 32 MiB
def step():
    layer.zero_grad()
    layer(frames)[0].sum().backward()
step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(12): step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="malloc is not glibc's here")
def test_a_step_takes_the_memory_that_the_last_one_freed():
    """Page faults are counted, not seconds: without, each step of these sizes asks the system for 13,000 pages.

    Kept blocks are cut and joined again by whatever is allocated between, so now and then a step needs a new one.
    """
    kept, given_back = (
        int(in_a_new_process(FAULTS, HARNESS_KEEP_MEMORY=value).stdout) for value in ("1", "0")
    )
    assert given_back > 12 * 5000
    assert kept < given_back / 3
