"""What temporal streams reach, a line a split, beside the paper's numbers; where their weights are, and what to type next."""

from collections.abc import Collection, Mapping

import pandas as pd

from reports.evidence import Evidence
from reports.listing import Listing, draw_listing
from reports.published import SINGLE_FRAME, entry
from reports.tables import INCOMPLETE, Column, Table, number

METRICS = ("video_accuracy", "stack_accuracy", "video_nll")
KEPT = [
    "cell", "dataset", "split", "flow", "flow_fields", "flow_method", "flow_bound", "rows", "columns", "divisor", "steps",
    "batch_size", "learning_rate", "dropout",
]  # fmt: skip
CELL_DIGITS = 16
"""Of a cell's key in the name of its folder."""
WEIGHTS = "cnn_m_2048.safetensors"
DEFAULTS = {"flow_method": "brox", "flow_bound": 20.0, "rows": 240, "columns": 320}
"""Of the knobs of percepts: what the next command need not say."""
NEXT = (
    "A net has seen the labels of its own split's training list: its percepts serve that split and no other, and each split needs "
    "percepts of its own. In the commands work/ stands for the work folder."
)


def draw(evidence: Evidence, formats: Collection[str]) -> dict[str, bytes]:
    """The report's files by name: md, tex, html, csv and json; there is no figure.

    Args:
        evidence: cells with the columns of KEPT, and the metrics of METRICS.
        formats: which forms to make; those that do not apply are left out.
    """
    lines = _lines(evidence)
    listing = Listing(
        lines=lines,
        table=_table(lines),
        what="split",
        measured=METRICS[0],
        advice=NEXT,
        commands=[each for each in lines["next"] if each],
    )
    return draw_listing(evidence, listing, formats)


def _lines(evidence: Evidence) -> pd.DataFrame:
    """One line a split; what was measured, `weights` and `next` are empty for one that is missing."""
    scores = {(row["cell"], row["metric"]): row["value"] for row in evidence.rows}
    runs = {row["cell"]: row["run"] for row in evidence.rows}
    lines = []
    for cell in evidence.expected:
        key = str(cell["cell"])
        line = {name: cell[name] for name in KEPT}
        line |= {metric: scores.get((key, metric)) for metric in METRICS}
        line["published"] = _published(str(cell["dataset"]), cell["flow_fields"])
        place = f"runs/{key[:CELL_DIGITS]}/{runs[key]}/{WEIGHTS}" if key in runs else ""
        line["weights"] = place
        line["next"] = _next(line) if place else ""
        lines.append(line)
    kinds = dict.fromkeys((*METRICS, "published"), "Float64")
    return pd.DataFrame(lines).astype(kinds).sort_values("split")


def _published(dataset: str, fields: object) -> float | None:
    found = entry("table1", dataset, SINGLE_FRAME, "all", modality=f"flow{fields}")
    return None if found is None else found.value


def _next(line: Mapping[str, object]) -> str:
    """The command that makes percepts of a split's weights."""
    settings = {
        "dataset": line["dataset"],
        "stream": "flow",
        "flow_fields": line["flow_fields"],
        **{name: line[name] for name, usual in DEFAULTS.items() if line[name] != usual},
        "convnet": "cnn_m_2048",
        "weights": f"work/{line['weights']}",
    }
    words = " ".join(f"--set {name}={value}" for name, value in settings.items())
    return f"harness run percepts {words}"


def _table(lines: pd.DataFrame) -> Table:
    first = lines.iloc[0]
    measured = [
        [number(None if pd.isna(each) else float(each), digits=digits) for each in lines[name]]
        for name, digits in ((METRICS[0], 1), (METRICS[1], 1), (METRICS[2], 3), ("published", 1))
    ]
    weights = [each or "missing" for each in lines["weights"]]
    rows = list(zip(lines["split"].astype(str), *measured, weights, strict=True))
    done = lines["video_accuracy"].dropna().astype(float)
    if len(lines) > 1:
        whole = len(done) == len(lines)
        what = f"mean of {len(done)}" if whole else f"{len(done)} of {len(lines)} {INCOMPLETE}"
        # The paper's number stands beside a mean, and a mean over some of the splits is another number.
        mean = number(float(done.mean()) if whole else None)
        rows.append((what, mean, "", "", measured[3][0], ""))
    sources = {
        found.source
        for found in [
            entry("table1", str(first["dataset"]), SINGLE_FRAME, "all", modality=f"flow{n}")
            for n in lines["flow_fields"]
        ]
        if found is not None
    }
    printed = (
        f" Published: the paper's net, {', '.join(sorted(sources))}; it does not say of which splits."
        if sources
        else ""
    )
    return Table(
        columns=(
            Column(header="split"),
            Column(header="video accuracy", unit="%", align="right"),
            Column(header="stack accuracy", unit="%", align="right"),
            Column(header="video nll", unit="nats", align="right"),
            Column(header="published", unit="%", align="right"),
            Column(header="weights, in the work folder"),
        ),
        rows=tuple(rows),
        caption=(
            f"CNN-M-2048 on {first['flow_fields']} fields of flow ({first['flow']}), {first['steps']:,} steps of "
            f"{first['batch_size']} stacks. Each net is trained on its split's training list and tested on its test list; a video's "
            f"answer is the mean over stacks, crops and mirror images.{printed}"
        ),
        notes=(
            (f"{INCOMPLETE} Incomplete: no mean is taken over some of the splits.",)
            if 1 < len(lines) != len(done)
            else ()
        ),
        label="tab:temporal",
    )
