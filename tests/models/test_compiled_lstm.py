"""Which LSTM runs, how the compiled one comes about, and the memory that it keeps: each asked of a process of its own.

tests/models/test_fused_lstm.py has the numbers.
"""

from __future__ import annotations

import os
import platform
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
