"""The encoder of a pretraining run as an MLflow model, which loads without this project: a traced graph, not a pickle.

`mlflow.pytorch.load_model("models:/ID")` gives a module from frames (T, B, D), float32, to the top layer's states (T, B, H).
T is the number of input frames that the encoder was pretrained with (a traced graph has no loop over time), B is free.
MLflow does not load pickled modules unless its reader allows them, which is why the graph is traced.
"""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from mlflow import pytorch, set_tracking_uri
from mlflow.entities import LoggedModelOutput
from mlflow.models import ModelSignature
from mlflow.tracking import MlflowClient
from mlflow.types import Schema, TensorSpec
from safetensors.torch import load_file

from harness import facts, provenance
from harness.result import Result
from harness.uri import first_line
from tasks.cell import Cell
from tasks.pretrain import Pretrain

if TYPE_CHECKING:
    from models.encoder import Encoder

NAME = "encoder"
TRACED_WITH = 2
"""Sequences that the graph is traced with: with one, torch would take the number 1 for a constant."""
LONGEST_REASON = 500


def encoder_of(cell: Cell, folder: Path, frame_size: int) -> "Encoder":
    """The encoder with the weights that a run kept, in eval mode, on the CPU."""
    assert isinstance(cell.task, Pretrain)
    encoder = cell.task.encoder.build(frame_size)
    encoder.load_state_dict(load_file(folder / f"{NAME}.safetensors"))
    return encoder.eval()


def log(client: MlflowClient, experiment: str, run: str, cell: Cell, found: Result) -> str:
    """Keep the encoder of a run; what a collector that was killed left of it is removed first.

    Args:
        client: of the store.
        experiment: the experiment's id.
        run: the run's id.
        cell: a cell of pretraining.
        found: its result.

    Returns:
        The model's id, or why there is none: an encoder of the user's own may do what cannot be traced.
    """
    assert isinstance(cell.task, Pretrain)
    for left in client.search_logged_models([experiment], f"source_run_id = '{run}'"):
        client.delete_logged_model(left.model_id)
    frame_size = int(found.body["values"]["frame_size"])
    frames = cell.task.input_frames
    params = facts.params(cell, found)
    made = client.create_logged_model(
        experiment,
        name=NAME,
        source_run_id=run,
        tags={"cell": cell.key, "attempt": found.attempt},
        params=params,
    )
    try:
        encoder = encoder_of(cell, found.folder, frame_size)
        with _spoken_to(client.tracking_uri), warnings.catch_warnings():
            # torch.nn's own recurrent layers warn of how they keep their weights; the graph gives their states all the same.
            warnings.simplefilter("ignore")
            pytorch.log_model(
                encoder,
                model_id=made.model_id,
                serialization_format="pt2",
                input_example=torch.zeros(frames, TRACED_WITH, frame_size),
                signature=ModelSignature(
                    inputs=Schema([_tensors(frames, frame_size)]),
                    outputs=Schema([_tensors(frames, encoder.hidden_size)]),
                ),
                pip_requirements=_requirements(),
            )
    except Exception as error:  # noqa: BLE001 - a user's module may fail in any way when it is traced
        client.delete_logged_model(made.model_id)
        return f"none: {type(error).__name__}: {first_line(error)}"[:LONGEST_REASON]
    client.log_outputs(run, [LoggedModelOutput(made.model_id, step=0)])
    for twice in client.search_logged_models([experiment], f"source_run_id = '{run}'"):
        if twice.model_id != made.model_id:  # the call that made one was sent again
            client.delete_logged_model(twice.model_id)
    return str(made.model_id)


@contextmanager
def _spoken_to(address: str) -> Iterator[None]:
    """Make a store the one that MLflow speaks to by itself; it notes that in the environment, where it must not stay."""
    before = os.environ.get("MLFLOW_TRACKING_URI")
    set_tracking_uri(address)
    try:
        yield
    finally:
        set_tracking_uri("")
        os.environ.pop("MLFLOW_TRACKING_URI", None)
        if before is not None:
            os.environ["MLFLOW_TRACKING_URI"] = before


def _tensors(frames: int, width: int) -> TensorSpec:
    return TensorSpec(np.dtype("float32"), (frames, -1, width))


def _requirements() -> list[str]:
    """What loading needs, stated: MLflow would find out by loading the model in another process."""
    found = provenance.packages()
    return [f"{name}=={found[name].partition('+')[0]}" for name in ("torch", "numpy", "mlflow")]
