"""What workers are told at their start: with which words to make the cells again (docs/decisions/0006)."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness import files


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """The words that made an experiment; written as JSON where workers see it."""

    workdir: str
    source: str
    settings: tuple[str, ...]
    code: Mapping[str, Any] = field(default_factory=dict)
    """The code that this was ordered of (`provenance.code`); empty where whoever orders is there while it runs."""

    def write(self, path: Path) -> None:
        """Write the order."""
        content = {
            "workdir": self.workdir,
            "source": self.source,
            "settings": list(self.settings),
            "code": dict(self.code),
        }
        files.write_json(path, content)

    @classmethod
    def read(cls, path: Path) -> "Order":
        """Read an order."""
        content = json.loads(path.read_bytes())
        return cls(
            workdir=content["workdir"],
            source=content["source"],
            settings=tuple(content["settings"]),
            code=content["code"],
        )
