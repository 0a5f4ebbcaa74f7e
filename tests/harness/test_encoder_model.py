"""The encoder of a pretraining run as an MLflow model: another process loads it and gets the same features, bit for bit."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mlflow.tracking import MlflowClient
from safetensors.torch import save_file
from torch import nn

from configs.cells import pretraining
from configs.scales import scaled
from harness import encoder_model
from harness.result import Result
from models import fused_lstm
from tasks.cell import Cell
from tasks.data.digits import Digits
from tasks.encoders import LSTM, EncoderSpec, own
from tests.harness.running import environment

LOAD = """
import sys, torch
from mlflow import pytorch, set_tracking_uri
from safetensors.torch import load_file, save_file
assert not any(each.split('.')[0] in ('harness', 'models', 'tasks') for each in sys.modules)
torch.set_num_threads(1)
set_tracking_uri(sys.argv[1])
model = pytorch.load_model(f"models:/{sys.argv[2]}")
with torch.no_grad():
    states = {name: model(frames) for name, frames in load_file(sys.argv[3]).items()}
save_file(states, sys.argv[4])
"""


class GRU(nn.Module):
    def __init__(self, frame_size: int, units: int) -> None:
        super().__init__()
        self.rnn = nn.GRU(frame_size, units)

    def forward(self, frames_TBD: torch.Tensor) -> torch.Tensor:
        states: torch.Tensor = self.rnn(frames_TBD)[0]
        return states


class Looks(nn.Module):
    """What it does depends on the numbers it sees: that cannot be traced."""

    def __init__(self, frame_size: int) -> None:
        super().__init__()
        self.layer = nn.Linear(frame_size, 4)

    def forward(self, frames_TBD: torch.Tensor) -> torch.Tensor:
        states: torch.Tensor = self.layer(frames_TBD)
        return states if float(frames_TBD.sum()) > 1 else -states


@pytest.fixture(autouse=True)
def _no_store_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('store')}/mlflow.db"


def kept(encoder: EncoderSpec, folder: Path) -> tuple[Cell, Result]:
    """A cell of pretraining, and a run that kept its weights, which nothing has trained."""
    sizes = scaled("demo", units=4, layers=2)
    cell = pretraining(Digits(), encoder, sizes, future_frames=2)
    attempt = folder / "attempt-1"
    attempt.mkdir()
    torch.manual_seed(0)
    built = encoder.build(Digits().frame_size)
    save_file(built.state_dict(), attempt / "encoder.safetensors")
    body = {
        "attempt": attempt.name,
        "values": cell.task.values(),
        "task": "Pretrain",
        "description": cell.description(),
        "files": {"encoder.safetensors": {}},
    }
    return cell, Result(body, folder)


def logged(encoder: EncoderSpec, folder: Path, store: str) -> tuple[str, Cell, Result]:
    cell, found = kept(encoder, folder)
    client = MlflowClient(store)
    known = client.get_experiment_by_name("x")
    place = (folder / "files").as_uri()
    experiment = known.experiment_id if known else client.create_experiment("x", place)
    run = client.create_run(experiment).info.run_id
    client.create_logged_model(experiment, name="encoder", source_run_id=run)  # of a killed one
    told = encoder_model.log(client, experiment, run, cell, found)
    models = client.search_logged_models([experiment], f"source_run_id = '{run}'")
    assert [each.model_id for each in models] == ([told] if told.startswith("m-") else [])
    assert "MLFLOW_TRACKING_URI" not in os.environ
    return told, cell, found


@pytest.mark.parametrize(
    "encoder", [LSTM(units=4, layers=2), own(GRU, units=4)], ids=["LSTM", "own"]
)
def test_another_process_loads_it_without_the_project_and_gets_equal_bits(
    encoder: EncoderSpec, store: str, tmp_path: Path
) -> None:
    model, cell, found = logged(encoder, tmp_path, store)
    assert model.startswith("m-"), model
    size, generator = Digits().frame_size, torch.Generator().manual_seed(1)
    frames = {str(b): torch.randn(16, b, size, generator=generator) for b in (1, 2, 5)}
    save_file(frames, tmp_path / "frames.safetensors")
    words = [store, model, str(tmp_path / "frames.safetensors"), str(tmp_path / "states")]
    done = subprocess.run(
        [sys.executable, "-c", LOAD, *words],
        cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    from safetensors.torch import load_file

    states = load_file(tmp_path / "states")
    built = encoder_model.encoder_of(cell, found.folder, size)
    with torch.no_grad():
        for name, frames_TBD in frames.items():
            with fused_lstm.use("plain"):  # a traced graph is of torch's own operations
                assert torch.equal(states[name], built(frames_TBD)), name
            torch.testing.assert_close(states[name], built(frames_TBD), rtol=1e-5, atol=1e-6)
    about = MlflowClient(store).get_logged_model(model)
    assert about.name == "encoder"
    assert about.tags["cell"] == cell.key
    assert about.params["input_frames"] == "16"


def test_one_that_cannot_be_traced_is_told_and_leaves_nothing(store: str, tmp_path: Path) -> None:
    told, _, _ = logged(own(Looks), tmp_path, store)
    assert told.startswith("none: ")
    assert len(told) <= encoder_model.LONGEST_REASON
