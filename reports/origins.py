"""Where the numbers of a report come from, for its files: facts for the page and the record, lines for Markdown and LaTeX."""

import json
import re
from collections.abc import Mapping

from reports.cells import RUNS
from reports.evidence import Evidence

_ELSEWHERE = ("notes", RUNS)
"""What has a place of its own, or only serves links."""
_LONG = ("chance", "cells", "done", "missing", "needed_runs")
"""What a line would not hold, or the tables say."""


def facts_of(evidence: Evidence) -> dict[str, object]:
    """The provenance without what stands elsewhere in a report."""
    return {name: value for name, value in evidence.provenance.items() if name not in _ELSEWHERE}


def told(evidence: Evidence) -> list[str]:
    """A line a fact: what the report is of, its code, knobs, packages, machines and data."""
    lines = [f"{evidence.experiment}: {' '.join(evidence.title.split())}"]
    for name, value in sorted(facts_of(evidence).items()):
        if name not in _LONG and value not in (None, [], {}, ()):
            lines.append(f"{name}: {_words(value)}")
    return [" ".join(line.split()) for line in lines]


def _words(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_words(value[name])}" for name in sorted(value))
    if isinstance(value, (list, tuple)):
        return "; ".join(_words(each) for each in value)
    return value if isinstance(value, str) else json.dumps(value)


def markdown_comment(evidence: Evidence) -> str:
    """The lines as a comment that no reader of the rendered page sees."""
    # Two hyphens would end a comment.
    lines = [re.sub(r"-(?=-)", "- ", line).rstrip("-") for line in told(evidence)]
    return "\n".join(["<!--", *(line.replace(">", "&gt;") for line in lines), "-->"]) + "\n"
