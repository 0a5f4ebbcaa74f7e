"""The GPU's kernels through Triton's compiler, which needs no GPU: what the interpreter accepts it may not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="triton is not installed: it exists for Linux alone")

ROOT = Path(__file__).resolve().parents[2]

COMPILE = """
from triton import compile
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from models import triton_kernels as kernels

FLOAT32 = {"bias_RG", "peephole_R3H", "c_RTBH", "h_RTBH", "d_output_RTBH", "d_c_RBH", "sums_RP7H"}

def build(kernel, **constants):
    signature = {}
    for parameter in kernel.params:
        name = parameter.name
        if name in constants:
            signature[name] = "constexpr"
        elif name in ("step", "T", "B", "H"):
            signature[name] = "i32"
        else:
            signature[name] = "*fp32" if name in FLOAT32 else "*bf16"
    places = {(kernel.arg_names.index(name),): value for name, value in constants.items()}
    source = ASTSource(kernel, signature, places)
    made = compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": 8})
    assert len(made.asm["cubin"]) > 0

size = {"BLOCK_B": 8, "BLOCK_H": 128}
build(kernels.forward_step, LOW=True, **size)
build(kernels.backward_step, LAST=False, OUTPUT=True, NEXT=True, **size)
"""


def test_the_kernels_compile_for_an_h100_without_one(tmp_path):
    environment = {**os.environ, "TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", COMPILE], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
