"""The kinds of questions there are, and the data that comes with the package: literal tables.

Names map to "module:class", so that listing them imports nothing.
"""

import importlib
from collections.abc import Mapping
from typing import Any

TASKS: Mapping[str, str] = {
    "pretrain": "tasks.pretrain:Pretrain",
    "evaluate": "tasks.evaluate:Evaluate",
    "pictures": "tasks.pictures:Pictures",
    "fewshot": "tasks.fewshot:FewShot",
    "single_frame": "tasks.single_frame:SingleFrame",
    "percepts": "tasks.percepts:Percepts",
    "flow_fields": "tasks.flow_fields:FlowFields",
    "patch_tracks": "tasks.patch_tracks:PatchTracks",
    "temporal_stream": "tasks.temporal_stream:TemporalStream",
    "fusion": "tasks.fusion:Fusion",
    "activity": "tasks.activity:Activity",
}

DATASETS: Mapping[str, str] = {
    "digits": "tasks.data.digits:Digits",
}

STREAMS: Mapping[str, Mapping[str, str]] = {
    "digits": {
        "pixels": DATASETS["digits"],
        "flow1": "tasks.data.digits_flow:flow1",
        "flow10": "tasks.data.digits_flow:flow10",
    },
}
"""What built-in data can be seen as, by stream; the first is what is taken where none is named."""

MODELS: Mapping[str, str] = {
    "autoencoder": "models.autoencoder:EncoderDecoder",
    "future_predictor": "models.autoencoder:EncoderDecoder",
    "composite": "models.autoencoder:EncoderDecoder",
    "lstm_classifier": "models.classifier:LSTMClassifier",
    "single_frame_classifier": "models.single_frame:SingleFrameClassifier",
    "vgg16": "models.convnets:VGG16",
    "squeezenet": "models.convnets:SqueezeNet",
    "cnn_m_2048": "models.convnets:CNNM2048",
    "raw_pixels": "models.percepts:RawPixels",
}


def load(place: str) -> Any:
    """Import what "module:name" names."""
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)
