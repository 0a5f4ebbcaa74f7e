"""Features in the authors' layout, and `harness data import-features` on them, for tests."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from click.testing import Result

from tests.harness.faked import invoke
from tests.harness.running import sets

FIG12 = {
    "shots": 1, "resamples": 1, "units": 4, "layers": 1, "pretrain_steps": 2, "pretrain_batch": 3,
    "finetune_steps_few": 2, "finetune_batch": 2, "single_frame_steps": 2,
}  # fmt: skip
NAMES = tuple(f"{'ab'[number % 2]}/{'ab'[number % 2]}_g{number // 2:02d}" for number in range(8))
LABELS = tuple(number % 2 for number in range(8))
FRAMES = (20, 17, 9, 31, 24, 18, 40, 16)


@dataclass(frozen=True)
class Files:
    """Files in the authors' layout, and the words that name them."""

    folder: Path
    rows_RD: np.ndarray

    def words(self, *, named: bool = True) -> list[str]:
        kinds = [("hdf5", "f.h5"), ("labels", "labels.txt"), ("num-frames", "num_frames.txt")]
        kinds += [("names", "names.txt")] if named else []
        return [word for kind, file in kinds for word in (f"--{kind}", str(self.folder / file))]

    def lines(self, name: str, lines: Sequence[object]) -> Path:
        path = self.folder / name
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        return path


def write_files(folder: Path, rows_RD: np.ndarray | None = None, size: int = 5) -> Files:
    folder.mkdir(exist_ok=True)
    draw = np.random.default_rng(size)
    if rows_RD is None:
        rows_RD = draw.standard_normal((sum(FRAMES), size)).astype(np.float32)
    with h5py.File(folder / "f.h5", "w") as file:
        file["hidden6"] = rows_RD
    files = Files(folder, rows_RD)
    files.lines("names.txt", [f"{name}.avi" for name in NAMES])
    files.lines("labels.txt", LABELS)
    files.lines("num_frames.txt", FRAMES)
    return files


def take(
    files: Files, *more: object, name: str = "mine", code: int = 0, named: bool = True
) -> Result:
    done = invoke("data", "import-features", name, *files.words(named=named), *map(str, more))
    assert done.exit_code == code, (done.exit_code, done.output, done.exception)
    return done


def refusal(files: Files, *more: object, **how: Any) -> str:
    said = take(files, *more, code=2, **how).stderr
    sentence = next(line for line in said.splitlines() if line.startswith("harness: "))
    assert "Traceback" not in said
    return sentence


def stores(root: Path, name: str = "mine") -> list[Path]:
    return sorted((root / name / "percepts").glob("*"))


def run_fig12(folder: Path, *more: str, code: int = 0, **changes: object) -> Result:
    words = sets({"dataset": "mine", **FIG12, **changes})
    done = invoke(
        "run", "fig12", *words, "--cluster", "inline", "--workdir", str(folder / "work"), *more
    )
    assert done.exit_code == code, done.output
    return done
