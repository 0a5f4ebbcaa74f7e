"""Where both sides of a comparison come from, and the comparison as JSON with every number unrounded."""

import json

from reports.comparison import Compared
from reports.evidence import Evidence
from reports.pairing import Side


def about(name: str, first: Side, second: Side) -> Evidence:
    """What a comparison's page says besides its tables: title, notes of both sides, where both come from."""
    notes = [note for side in (first, second) for note in side.evidence.notes]
    return Evidence(
        experiment=name,
        title=f"{second.name} minus {first.name}",
        expected=(),
        rows=(),
        failed={},
        provenance={
            "notes": list(dict.fromkeys(notes)),
            **{
                side: {
                    "name": each.name,
                    "experiment": each.evidence.experiment,
                    "methods": list(each.methods),
                    **{key: value for key, value in each.evidence.provenance.items() if key != "notes"},
                }
                for side, each in (("first", first), ("second", second))
            },
        },
    )  # fmt: skip


def record(found: Compared, first: Side, second: Side) -> bytes:
    """Everything that was found, unrounded, with null where there is no number."""
    evidence = about("comparison", first, second)
    document = {
        "first": first.name,
        "second": second.name,
        "paired_by": list(found.pairing.by),
        "pairs": [list(each.cells) for each in found.pairing.pairs],
        **{
            name: json.loads(frame.to_json(orient="records", double_precision=15))
            for name, frame in (
                ("lines", found.lines),
                ("scores", found.scores),
                ("classes", found.classes),
                ("videos", found.videos),
            )
        },
        "without_partner": [[dict(cell) for cell in cells] for cells in found.pairing.alone],
        "without_result": [[dict(cell) for cell in cells] for cells in found.without],
        "provenance": dict(evidence.provenance),
    }
    text = json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return (text + "\n").encode()
