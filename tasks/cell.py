"""A cell: one question with every value fixed, and the key that names it.

The key is the sha256 of the sorted JSON of every value that can alter the answer: class names, task and
data versions, fields, seed, and the keys of the cells it needs. Fields marked with `unkeyed` (labels,
things that only say where or how fast) stay outside. The commit is not in the key: the key is the
question, the run records which code answered it. See docs/keys.md.
"""

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

from tasks.keyed import KEYED_UNLESS_DEFAULT, UNKEYED

if TYPE_CHECKING:
    from tasks.task import Task

__all__ = ["KEYED_UNLESS_DEFAULT", "SEEDS", "SHORT", "UNKEYED", "Cell", "canonical"]

SHORT = 16
"""Hex digits of a key in folder names and messages: 64 bits, no clash among millions of cells."""
SEEDS = range(2**32)
"""What a seed may be: every generator takes these, and none of them drops a bit."""


def canonical(value: Any) -> Any:
    """Turn a value into plain JSON that says everything its identity depends on.

    Args:
        value: a frozen dataclass, tuple, list, mapping with string keys, str, int, bool, float or None.

    Returns:
        The same as dicts, lists and scalars; a dataclass gains its class name and, if it has one, its version.

    Raises:
        ValueError: for a value whose identity JSON cannot state (NaN, a function, a path, ...).
    """
    if type(value) in (str, int, bool):  # most values by far
        return value
    if isinstance(value, Cell):
        return {"cell": value.key}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        always, unless_default, own_version = _keyed_fields(type(value))
        named = {name: canonical(getattr(value, name)) for name in always}
        for name, default in unless_default:
            # Compared as they enter a key: what `==` of a dataclass leaves out may be keyed all the same.
            each = canonical(getattr(value, name))
            if each != default:
                named[name] = each
        named["class"] = type(value).__name__
        version = getattr(type(value), "version", None)
        if version is not None and not own_version:
            named["version"] = version
        return named
    if isinstance(value, Mapping):
        for name in value:
            if not isinstance(name, str):  # 1 and "1" would be one
                raise ValueError(f"{name!r} cannot name a value of a cell: the keys of a mapping must be text")  # noqa: TRY004  # fmt: skip
        return {str(name): canonical(each) for name, each in value.items()}
    if isinstance(value, tuple | list):
        return [canonical(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value} cannot be part of a cell: its values must be finite numbers")
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise ValueError(
        f"{value!r} of type {type(value).__name__} cannot be part of a cell: use numbers, text, tuples or frozen "
        "dataclasses of these, or keep it out of the key with field(metadata=UNKEYED)"
    )


@cache
def _keyed_fields(kind: type[Any]) -> tuple[tuple[str, ...], tuple[tuple[str, Any], ...], bool]:
    """How a dataclass's fields enter a key.

    Returns:
        Names of those that always do; names and defaults of those that do unless at their default; and whether `version` is a
        field, which is then no version of the class.
    """
    always, unless_default = [], []
    for each in dataclasses.fields(kind):
        keyed = each.metadata.get("key", True)
        if keyed == KEYED_UNLESS_DEFAULT["key"]:
            unless_default.append((each.name, canonical(_default(kind, each))))
        elif keyed is True:
            always.append(each.name)
        elif keyed is not False:
            raise TypeError(
                f"{kind.__name__}.{each.name} is marked {keyed!r}: mark it UNKEYED, KEYED_UNLESS_DEFAULT or not at all"
            )
    own_version = any(each.name == "version" for each in dataclasses.fields(kind))
    return tuple(always), tuple(unless_default), own_version


def _default(kind: type[Any], field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    if field.default is dataclasses.MISSING:
        raise TypeError(
            f"{kind.__name__}.{field.name} is marked KEYED_UNLESS_DEFAULT and has no default: give it the one that it had "
            "before it was there"
        )
    return field.default


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Cell:
    """A task with every value fixed, a seed, and the cells it needs (as values, not names).

    Raises:
        ValueError: when the seed is not one of `SEEDS`, the task cannot use what `needs` holds, or a value has no identity.
    """

    task: "Task"
    seed: int = 0
    needs: tuple["Cell", ...] = ()
    label: str = field(default="", metadata=UNKEYED)
    """What reports call the method; empty for a cell that others need and no report draws."""
    key: str = field(init=False, repr=False, metadata=UNKEYED)

    def __post_init__(self) -> None:
        if self.seed not in SEEDS:
            raise ValueError(f"seed={self.seed}: a seed is a whole number from 0 to {SEEDS[-1]:,}")
        self.task.check(self.needs)
        text = json.dumps(
            self.description(), sort_keys=True, separators=(",", ":"), allow_nan=False
        )
        object.__setattr__(self, "key", hashlib.sha256(text.encode()).hexdigest())

    def description(self) -> dict[str, Any]:
        """Everything the key is made of, as plain JSON."""
        return {
            "task": canonical(self.task),
            "seed": self.seed,
            "needs": [need.key for need in self.needs],
        }

    @property
    def short(self) -> str:
        """The first digits of the key: the name of the cell's folder and in messages."""
        return self.key[:SHORT]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Cell) and other.key == self.key

    def __hash__(self) -> int:
        return hash(self.key)
