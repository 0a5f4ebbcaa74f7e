"""Builds evidence from a few numbers, so that a test shows only what it is about."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import pytest

from reports.evidence import Evidence, Value

VIDEO = "video_accuracy"

# Where a cell stands: dataset, method, shots, split and resample.
Place = tuple[str, str, str, int, int]


@dataclass
class Plan:
    """Cells in the order in which they are added; a value of None is a cell without a run."""

    cells: list[dict[str, Value]] = field(default_factory=list)
    rows: list[dict[str, Value]] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    provenance: dict[str, object] = field(default_factory=dict)
    kept: dict[str, Path] = field(default_factory=dict)

    def add(
        self,
        place: Place,
        value: float | None,
        *,
        metric: str = VIDEO,
        labels: float | None = None,
        **more: Value,
    ) -> None:
        dataset, method, shots, split, resample = place
        if labels is None:
            labels = 60.0 if shots == "all" else float(shots)
        key = "/".join(str(part) for part in place)
        cell: dict[str, Value] = {
            "cell": key,
            "dataset": dataset,
            "split": split,
            "method": method,
            "shots": shots,
            "labels_per_class": labels,
            "resample": resample,
            **more,
        }
        if cell not in self.cells:
            self.cells.append(cell)
        if value is not None:
            score = {"metric": metric, "value": value, "unit": "%", "higher_is_better": True}
            self.rows.append({**cell, "run": f"{key}#1", **score})

    def answer(self, place: Place, right: Mapping[str, bool], folder: Path, **more: Value) -> None:
        """A cell whose run left predictions of two classes, right or wrong by video, and the score of them."""
        key = "/".join(map(str, place))
        self.add(place, 100 * sum(right.values()) / len(right), **more)
        run = folder / f"run{len(self.kept)}"
        run.mkdir()
        sure = [0.9 if each else 0.1 for each in right.values()]
        table = {
            "video_id": list(right),
            "block": 0,
            "label": 1,
            "p0": [1 - p for p in sure],
            "p1": sure,
        }
        pd.DataFrame(table).to_parquet(run / "predictions.parquet")
        self.kept[key] = run

    def evidence(self, name: str = "fig12", title: str = "Accuracy") -> Evidence:
        return Evidence(
            experiment=name,
            title=title,
            expected=tuple(self.cells),
            rows=tuple(self.rows),
            failed=self.failed,
            provenance=self.provenance,
            kept=self.kept,
        )


@pytest.fixture
def plan() -> Plan:
    return Plan()


@pytest.fixture(scope="session")
def build() -> Callable[[Mapping[Place, float | None]], Evidence]:
    """Evidence from a mapping of place to video accuracy."""

    def make(values: Mapping[Place, float | None]) -> Evidence:
        plan = Plan()
        for place, value in values.items():
            plan.add(place, value)
        return plan.evidence()

    return make


@pytest.fixture(scope="session")
def grid() -> Callable[..., Plan]:
    """A plan with every combination; the values rise with shots and method, and `holes` have no run."""

    def make(
        *,
        datasets: tuple[str, ...] = ("digits",),
        methods: tuple[str, ...] = ("single frame", "LSTM classifier"),
        shots: tuple[str, ...] = ("1", "4", "all"),
        splits: tuple[int, ...] = (1,),
        resamples: int = 10,
        holes: Callable[[Place], bool] = lambda place: False,
    ) -> Plan:
        plan = Plan()
        for dataset in datasets:
            for rank, method in enumerate(methods):
                for step, few in enumerate(shots):
                    for split in splits:
                        for resample in range(1 if few == "all" else resamples):
                            place = (dataset, method, few, split, resample)
                            spread = (resample * 7 % 5 - 2) * 0.5
                            value = 20.0 + 15 * step + 3 * rank + split + spread
                            plan.add(place, None if holes(place) else value)
        return plan

    return make
