"""Evidence whose cells kept predictions: what every video was answered is drawn from a seed, and scored here from the answers."""

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from reports.accuracy_layouts import TABLE3
from reports.evidence import Evidence, Value
from reports.published import BASELINE, PRETRAINED, SINGLE_FRAME

METHODS = (SINGLE_FRAME, BASELINE, PRETRAINED)
COMPOSITE = "Composite LSTM Model"


@dataclass
class Answered:
    """Cells in the order in which they are added."""

    folder: Path
    classes: int = 10
    videos: int = 40
    """On each split's test list."""
    pool: float = 20.0
    cells: list[dict[str, Value]] = field(default_factory=list)
    rows: list[dict[str, Value]] = field(default_factory=list)
    kept: dict[str, Path] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    chance: dict[str, float] = field(default_factory=dict)

    def test_list(self, dataset: str, split: int) -> tuple[list[str], np.ndarray]:
        """Ids and labels: half of a split's videos are on the next split's list as well."""
        first = (split - 1) * self.videos // 2
        places = range(first, first + self.videos)
        return [f"{dataset}-{each:04d}" for each in places], np.array(places) % self.classes

    def add(
        self,
        dataset: str,
        stream: str,
        method: str,
        shots: str = "all",
        *,
        split: int = 1,
        resample: int = 0,
        skill: float | None = 0.5,
        predictions: bool = True,
    ) -> str:
        """A cell; its videos are answered right with probability `skill`. None: it has no result."""
        key = f"{dataset}/{stream}/{method}/{shots}/{split}/{resample}"
        cell: dict[str, Value] = {
            "cell": key,
            "dataset": dataset,
            "stream": stream,
            "split": split,
            "method": method,
            "shots": shots,
            "labels_per_class": self.pool if shots == "all" else float(shots),
            "pool_per_class": self.pool,
            "resample": resample,
        }
        self.cells.append(cell)
        if skill is None:
            return key
        table = self._predictions(key, dataset, split, skill, blocks=stream != "rgb+flow")
        answers = [name for name in table if name[0] == "p" and name[1:].isdigit()]
        by_video = table.groupby("video_id")[answers].mean().to_numpy().argmax(axis=1)
        _, labels = self.test_list(dataset, split)
        scores = {"video_accuracy": 100 * float((by_video == labels).mean())}
        if stream != "rgb+flow":
            name = "frame_accuracy" if method == SINGLE_FRAME else "block_accuracy"
            chosen = table[answers].to_numpy().argmax(axis=1)
            scores[name] = 100 * float((chosen == table["label"]).mean())
        for metric, value in scores.items():
            score = {"run": f"{key}#1", "metric": metric, "value": value, "unit": "%"}
            self.rows.append({**cell, **score, "higher_is_better": True})
        if predictions:
            self.kept[key] = self.folder / key.replace("/", "_").replace(" ", "")
            self.kept[key].mkdir(parents=True)
            table.to_parquet(self.kept[key] / "predictions.parquet")
        return key

    def grid(
        self,
        dataset: str,
        streams: tuple[str, ...],
        methods: tuple[str, ...],
        shots: tuple[str, ...] = ("all",),
        *,
        splits: tuple[int, ...] = (1, 2, 3),
        resamples: int = 10,
        hole: Callable[[str], bool] = lambda key: False,
    ) -> None:
        """Every combination: later methods and streams have more skill, and so have more labels."""
        for place, stream in enumerate(streams):
            for few in shots:
                for rank, method in enumerate(methods):
                    for split in splits:
                        for resample in range(1 if few == "all" else resamples):
                            key = f"{dataset}/{stream}/{method}/{few}/{split}/{resample}"
                            skill = 0.4 + 0.06 * rank + 0.05 * place + 0.1 * (few == "all")
                            self.add(
                                dataset,
                                stream,
                                method,
                                few,
                                split=split,
                                resample=resample,
                                skill=None if hole(key) else skill,
                                predictions=few == "all",
                            )

    def evidence(
        self, name: str = "table1", title: str = "Table 1: action recognition"
    ) -> Evidence:
        return Evidence(
            experiment=name,
            title=title,
            expected=tuple(self.cells),
            rows=tuple(self.rows),
            failed=self.failed,
            provenance={"notes": ["A note."], "commit": "abc", "chance": self.chance},
            kept=self.kept,
            classes={
                str(cell["dataset"]): tuple(f"class {each}" for each in range(self.classes))
                for cell in self.cells
            },
        )

    def _predictions(
        self, key: str, dataset: str, split: int, skill: float, *, blocks: bool
    ) -> pd.DataFrame:
        """Two blocks a video (one where there are none): a bump at the true class, or at another one."""
        random = np.random.default_rng(zlib.crc32(key.encode()))
        ids, labels = self.test_list(dataset, split)
        num_blocks = 2 if blocks else 1
        wrong = (labels + random.integers(1, self.classes, len(ids))) % self.classes
        aimed = np.where(random.random(len(ids)) < skill, labels, wrong)
        logits = random.normal(size=(len(ids), num_blocks, self.classes))
        logits[np.arange(len(ids)), :, aimed] += 2.5
        weights = np.exp(logits).reshape(-1, self.classes)
        table = pd.DataFrame(weights / weights.sum(axis=1, keepdims=True))
        table.columns = [f"p{each}" for each in range(self.classes)]
        table.insert(0, "label", np.repeat(labels, num_blocks))
        table.insert(0, "start", np.tile(np.arange(num_blocks) * 8, len(ids)))
        table.insert(0, "block", np.tile(np.arange(num_blocks), len(ids)))
        table.insert(0, "video_id", np.repeat(ids, num_blocks))
        return table


def table1(answered: Answered, **options: object) -> Evidence:
    answered.grid("ucf101", ("rgb", "flow1", "flow10"), METHODS, **options)  # type: ignore[arg-type]
    answered.grid("hmdb51", ("rgb",), METHODS, **options)  # type: ignore[arg-type]
    return answered.evidence()


def table3(answered: Answered, **options: object) -> Evidence:
    methods = tuple(TABLE3.names)
    answered.grid("ucf101", ("rgb",), methods, ("10", "all"), resamples=3, **options)  # type: ignore[arg-type]
    answered.grid("hmdb51", ("rgb",), methods, ("4", "all"), resamples=3, splits=(1,))
    return answered.evidence("table3", "Table 3: kinds of pretraining")


def table4(answered: Answered, dataset: str = "ucf101", streams: tuple[str, str] = ("rgb", "flow10")) -> Evidence:  # fmt: skip
    answered.grid(dataset, (*streams, "rgb+flow"), (COMPOSITE,))
    return answered.evidence("table4", "Table 4: comparison with other methods")
