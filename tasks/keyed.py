"""Marks of dataclass fields that say how they enter a cell's key; cell.py reads them.

At the bottom of the tasks, so that schedules and datasets, which a cell is made of, can bear them too.
"""

from collections.abc import Mapping

UNKEYED: Mapping[str, bool] = {"key": False}
"""Metadata of a dataclass field that does not belong to a cell's identity."""

KEYED_UNLESS_DEFAULT: Mapping[str, str] = {"key": "unless default"}
"""Metadata of a field that came later: at its default it is left out, so that identities from before it stay as they were."""
