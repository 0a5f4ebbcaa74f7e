"""A run of Table 2 after another one that asked for fewer test sequences: everything is tested again, nothing trained."""

from pathlib import Path
from typing import Any

import pandas as pd

from tests.harness.running import Harness, rows, sets

SMALL = {"units": 4, "steps": 2, "batch": 2, "columns": "digits"}


def test_more_test_sequences_train_nothing(tmp_path: Path) -> None:
    harness = Harness(tmp_path)

    def run(count: int) -> dict[str, dict[str, Any]]:
        settings = sets({**SMALL, "test_sequences": count})
        harness("run", "table2", *settings, "--cluster", "inline")
        assert {row["test_sequences"] for row in rows(harness.csv("table2"))} == {str(count)}
        return {body["cell"]: body for body in harness.results().values()}

    def predictions(body: dict[str, Any]) -> pd.DataFrame:
        folder = tmp_path / "runs" / body["cell"][:16] / body["attempt"]
        return pd.read_parquet(folder / "predictions.parquet")

    before, after = run(3), run(5)
    added = [body for cell, body in after.items() if cell not in before]
    assert (len(before), len(added)) == (8, 4)
    assert {cell: after[cell]["attempt"] for cell in before} == {
        cell: body["attempt"] for cell, body in before.items()
    }
    assert (
        "Tested on drawn sequences, the first 5."
        in (tmp_path / "reports" / "table2" / "table2.md").read_text()
    )
    for body in added:
        assert body["values"]["test_sequences"] == 5
        trained = before[body["values"]["trained_cell"]]  # a training of the first run
        first = predictions(trained).head(5)  # its own score is over these and more
        pd.testing.assert_frame_equal(predictions(body), first, rtol=1e-5)
