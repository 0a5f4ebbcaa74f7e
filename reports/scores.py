"""Scores beside the cells that should have them, for cells that are no few-shot accuracies: one line a cell.

A missing score stays visible as an empty value; a score that cannot be believed is refused in a sentence.
"""

import math

import pandas as pd

from reports.evidence import Evidence


def scores(evidence: Evidence) -> pd.DataFrame:
    """One line per expected cell, in the order of `expected`: its values, and a column for each metric that any cell has.

    Returns:
        The keys of all cells as columns; then `run`, and every metric by name, float, empty where a cell lacks it, with its
        unit in a column `NAME_unit` beside it.

    Raises:
        ValueError: If a score's cell is not expected, it is there twice, or it is no finite number.
    """
    lines = {str(cell["cell"]): dict(cell) for cell in evidence.expected}
    names = dict.fromkeys(str(row["metric"]) for row in evidence.rows)
    found: dict[str, dict[str, object]] = {key: {} for key in lines}
    for row in evidence.rows:
        key, name, value = str(row["cell"]), str(row["metric"]), row["value"]
        if key not in lines:
            raise ValueError(f"a score of {name} is of cell {key[:16]}, which is not expected here")
        if name in found[key]:
            raise ValueError(f"cell {key[:16]} has two scores of {name}: a cell is scored once")
        if isinstance(value, str | bool) or value is None or not math.isfinite(value):
            raise ValueError(f"{name} of cell {key[:16]} is {value}: a score is a finite number")
        found[key] |= {name: float(value), f"{name}_unit": row["unit"], "run": row.get("run")}
    records = [{**cell, "run": None, **found[key]} for key, cell in lines.items()]
    frame = pd.DataFrame.from_records(records)
    for name in names:
        frame[name] = frame[name].astype(float)
    return frame
