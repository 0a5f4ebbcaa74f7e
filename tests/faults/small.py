"""A small experiment with all that a fault can meet: a cell that others need, checkpoints at every step, all forms of report."""

import sys

from configs.experiment import Experiment
from configs.fig12 import fig12

for module in ("harness.loop", "harness.together"):
    if module in sys.modules:  # in workers, which import them before they make their cells
        sys.modules[module].train.__kwdefaults__["checkpoint_every_s"] = 0.0


def small(*, resamples: int = 1, steps: int = 3, lstm: bool = False) -> Experiment:
    """Single frames and the pretrained classifier, a few steps of each.

    Args:
        resamples: of either.
        steps: of each.
        lstm: whether the classifier from random weights is there, too.
    """
    methods = ("single_frame", *(("lstm",) if lstm else ()), "pretrained")
    return fig12(
        methods=methods,
        shots=(1,),
        resamples=resamples,
        units=4,
        layers=1,
        pretrain_steps=steps,
        pretrain_batch=4,
        finetune_steps_few=steps,
        single_frame_steps=1,
    )
