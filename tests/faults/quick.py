"""An experiment of three cells and a report of two small files: a whole run in a process that has imported all takes a moment."""

import sys
from collections.abc import Collection
from dataclasses import replace

from configs.experiment import Experiment
from configs.fig12 import fig12
from reports.evidence import Evidence

for module in ("harness.loop", "harness.together"):
    if module in sys.modules:  # a checkpoint after every step, where cells are computed
        sys.modules[module].train.__kwdefaults__["checkpoint_every_s"] = 0.0


def draw(evidence: Evidence, formats: Collection[str]) -> dict[str, bytes]:
    """What was measured, a line a number; and what failed."""
    lines = [f"{row['cell']} {row['metric']} {row['value']!r}" for row in evidence.rows]
    lines += [f"{cell} failed" for cell in evidence.failed]
    content = "\n".join(sorted(lines)).encode()
    return {f"{evidence.experiment}.{form}": content for form in ("csv", "md") if form in formats}


def quick() -> Experiment:
    """A pretraining, the classifier that needs it, and one of single frames."""
    made = fig12(
        methods=("single_frame", "pretrained"),
        shots=(1,),
        resamples=1,
        units=4,
        layers=1,
        pretrain_steps=2,
        pretrain_batch=4,
        finetune_steps_few=2,
        single_frame_steps=1,
    )
    return replace(made, draw=draw)
