"""The fused LSTM's steps on a CPU: matrix products by torch, all that is pointwise by one loop of lstm_step.c.

The C file is compiled when it is first needed, with the machine's own compiler (`CC`, else cc) for the machine's own
instructions, and kept under the user's cache folder. `why_not` says why there is none; in_place_lstm.py then does the same
with torch's operations. Letters as in fused_lstm.py.
"""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import platform
import shlex
import shutil
import stat
import subprocess
import tempfile
import time
from contextlib import suppress
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from models import kept_memory
from models.recurrent_product import Recurrent, RecurrentBack

LOG = logging.getLogger(__name__)
SOURCE = Path(__file__).with_name("lstm_step.c")
FLAGS = (
    "-O3",
    "-std=c99",
    "-ffp-contract=fast",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fPIC",
    "-shared",
)
NAMES = {torch.float32: "float", torch.float64: "double"}
COMPILE_TIMEOUT_S = 120
CACHE, COMPILING = "video-lstm-harness", "compiling-"
OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
DIGEST = hashlib.sha256().digest_size
GATES_OF_PRODUCTS = False  # the C code knows one dtype


class NoCompilerError(Exception):
    """The C file could not be compiled or loaded."""


def why_not() -> str:
    """Why the compiled steps cannot be had here, in a clause; empty if they can."""
    try:
        _library(torch.float32)
    except NoCompilerError as error:
        return str(error)
    return ""


def supports(dtype: torch.dtype) -> bool:
    """Whether the steps are compiled for this dtype of the state."""
    return dtype in NAMES


def forward(
    gates_RTBG: Tensor,
    weight_h_RGH: Tensor,
    bias_RG: Tensor,
    peephole_R3H: Tensor,
    h_RTBH: Tensor,
    c_RTBH: Tensor,
    *,
    fresh: bool,
    from_zero: bool,
) -> None:
    """Run all steps; arguments as in fused_lstm.Backend."""
    replicas, steps, batch, units = _shape(gates_RTBG)
    run = _library(gates_RTBG.dtype).forward
    bias, peephole = bias_RG.contiguous(), peephole_R3H.contiguous()
    size = gates_RTBG.element_size()
    gates_step, state_step = batch * 4 * units * size, batch * units * size
    gates, h, c = gates_RTBG.data_ptr(), h_RTBH.data_ptr(), c_RTBH.data_ptr()
    gates_stride, state_stride = gates_RTBG.stride(0), h_RTBH.stride(0)
    threads = torch.get_num_threads()
    bias_at, peephole_at = bias.data_ptr(), peephole.data_ptr()
    multiply = Recurrent(gates_RTBG, weight_h_RGH, h_RTBH, fresh=fresh)
    for step in range(steps):
        if step or not from_zero:
            multiply(step)
        run(
            replicas, batch, units, bias_at, peephole_at, gates + step * gates_step, gates_stride,
            c + step * state_step, c + (step + 1) * state_step, h + (step + 1) * state_step, state_stride, threads,
        )  # fmt: skip


def backward(
    gates_RTBG: Tensor,
    d_gates_RTBG: Tensor,
    weight_h_RGH: Tensor,
    peephole_R3H: Tensor,
    c_RTBH: Tensor,
    d_output_RTBH: Tensor | None,
    d_h_RBH: Tensor | None,
    d_c_RBH: Tensor,
    *,
    to_start: bool,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Run all steps backwards; arguments as in fused_lstm.Backend."""
    replicas, steps, batch, units = _shape(gates_RTBG)
    run = _library(gates_RTBG.dtype).backward
    peephole = peephole_R3H.contiguous()
    size = gates_RTBG.element_size()
    gates_step, state_step = batch * 4 * units * size, batch * units * size
    gates, d_gates, c = gates_RTBG.data_ptr(), d_gates_RTBG.data_ptr(), c_RTBH.data_ptr()
    gates_stride, state_stride = gates_RTBG.stride(0), c_RTBH.stride(0)
    output, output_step, output_stride = 0, 0, 0
    if d_output_RTBH is not None:
        output, output_step = d_output_RTBH.data_ptr(), state_step
        output_stride = d_output_RTBH.stride(0)
    sums_R7H = gates_RTBG.new_zeros(replicas, 7, units)
    threads = torch.get_num_threads()
    peephole_at, sums_at, d_c_at = peephole.data_ptr(), sums_R7H.data_ptr(), d_c_RBH.data_ptr()
    before_RBH = d_h_RBH
    multiply = RecurrentBack(d_gates_RTBG, weight_h_RGH)
    for step in range(steps - 1, -1, -1):
        run(
            replicas, batch, units, peephole_at, gates + step * gates_step, d_gates + step * gates_step, gates_stride,
            c + step * state_step, c + (step + 1) * state_step, state_stride, output + step * output_step, output_stride,
            0 if before_RBH is None else before_RBH.data_ptr(), d_c_at, sums_at, threads,
        )  # fmt: skip
        before_RBH = multiply(step) if step or to_start else None
    d_bias_RG = sums_R7H[:, :4].reshape(replicas, 4 * units)
    return d_bias_RG, sums_R7H[:, 4:], before_RBH


def _shape(gates_RTBG: Tensor) -> tuple[int, int, int, int]:
    replicas, steps, batch, gates = gates_RTBG.shape
    return replicas, steps, batch, gates // 4


class _Library:
    """The compiled functions for one dtype."""

    def __init__(self, path: Path, real: str) -> None:
        library = ctypes.CDLL(str(path))
        number, address = ctypes.c_int64, ctypes.c_void_p
        self.forward = library[f"forward_{real}"]
        self.forward.argtypes = [
            number, number, number, address, address, address, number, address, address, address, number, ctypes.c_int,
        ]  # fmt: skip
        self.backward = library[f"backward_{real}"]
        self.backward.argtypes = [
            number, number, number, address, address, address, number, address, address, number, address, number,
            address, address, address, ctypes.c_int,
        ]  # fmt: skip
        self.forward.restype = self.backward.restype = None


def _library(dtype: torch.dtype) -> _Library:
    """Compile, if no earlier process did, and load: once in this process, whether it succeeds or not.

    Raises:
        NoCompilerError: There is no compiler, or it or the loader failed.
    """
    found = _once(dtype)
    if isinstance(found, str):
        raise NoCompilerError(found)
    return found


@cache
def _once(dtype: torch.dtype) -> _Library | str:
    """The library, or why there is none."""
    try:
        loaded = _load(dtype)
    except NoCompilerError as error:
        LOG.warning("the LSTM's steps are not compiled, which makes them slower: %s", error)
        return str(error)
    kept_memory.keep()  # what is left once the steps are fast
    return loaded


def _load(dtype: torch.dtype) -> _Library:
    real = NAMES[dtype]
    compiler = shlex.split(os.environ.get("CC") or "cc")
    threaded = _shares_openmp()
    flags = [*FLAGS, f"-DREAL={real}", *(["-DIS_DOUBLE"] if real == "double" else [])]
    flags += ["-fopenmp" if threaded else "-fopenmp-simd"]
    if platform.machine() in ("x86_64", "AMD64"):
        flags += ["-march=native", "-mprefer-vector-width=512"]
    else:
        flags += ["-mcpu=native"]
    told = repr((compiler, flags, platform.libc_ver())).encode()
    identity = hashlib.sha256(b"\0".join([SOURCE.read_bytes(), told, _processor()])).hexdigest()[
        :16
    ]
    try:
        kept = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        path = _own_folder(kept) / f"lstm_step-{identity}.so"
        if not _is_whole(path):
            _compile([*compiler, *flags], path)
        return _Library(path, real)
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:  # RuntimeError: no home
        said = getattr(error, "stderr", "") or error
        raise NoCompilerError(f"{shlex.join(compiler)}: {str(said).strip()[-300:]}") from error


def _own_folder(kept: Path) -> Path:
    """A folder that nobody else can put a library into, which this process would then run; made if it is not there.

    Raises:
        NoCompilerError: It is another user's, or it cannot be made.
    """
    # The second where the first is another's, such as in a container whose root has the home of a user.
    for name in (CACHE, f"{CACHE}-{os.geteuid()}"):
        folder = kept / name
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = folder.lstat()
            if stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid():
                if found.st_mode & OTHERS_WRITE:
                    folder.chmod(0o700)
                return folder
        except PermissionError:
            continue
    raise NoCompilerError(
        f"{kept / CACHE} cannot be a folder that this user alone writes to, so any code could be there: set XDG_CACHE_HOME to one"
    )


def _is_whole(path: Path) -> bool:
    """Whether a library of this user's alone is there and ends with the digest of what is before it.

    One that was cut would kill the process, and one that others could write to may hold their code.
    """
    try:
        found = path.lstat()
    except FileNotFoundError:
        return False
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
        return False
    if found.st_mode & OTHERS_WRITE:
        return False
    content = path.read_bytes()
    return hashlib.sha256(content[:-DIGEST]).digest() == content[-DIGEST:]


def _compile(command: list[str], path: Path) -> None:
    """Compile beside and rename: of several processes that begin together, each leaves a whole file."""
    for left_behind in path.parent.glob(f"{COMPILING}*"):  # by a process that was killed
        with suppress(OSError):
            if time.time() - left_behind.stat().st_mtime > 10 * COMPILE_TIMEOUT_S:
                shutil.rmtree(left_behind)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=COMPILING) as folder:
        made = Path(folder) / path.name
        subprocess.run(
            [*command, str(SOURCE), "-o", str(made), "-lm"],
            check=True,
            capture_output=True,
            text=True,
            timeout=COMPILE_TIMEOUT_S,
        )
        with made.open("r+b") as file:
            digest = hashlib.sha256(file.read()).digest()
            file.write(digest)  # a loader does not look beyond the sections
            file.flush()
            os.fsync(file.fileno())
        made.chmod(0o700)
        made.rename(path)
    LOG.info("compiled the LSTM's steps into %s", path)


def _shares_openmp() -> bool:
    """Whether torch brings an OpenMP runtime that the library will share, by the name that the linker knows it by.

    Two runtimes in one process have two pools of threads, each spinning while the other works.
    """
    return (Path(torch.__file__).parent / "lib" / "libgomp.so.1").exists()


def _processor() -> bytes:
    """What tells processors apart that share a home folder: code for one may not run on another."""
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return platform.processor().encode()
    lines = info.read_bytes().splitlines()
    wanted = (b"flags", b"Features", b"model name", b"CPU part")
    return b"\n".join(
        next((line for line in lines if line.startswith(name)), b"") for name in wanted
    )
