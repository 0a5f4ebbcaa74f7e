"""What a tracking server may tell with a fault in it, another for every number."""

import copy
import json
import random
from collections.abc import Iterator
from typing import Any

from tests.faults.hostile_store import ATTEMPT, KEYS, alter

NESTED: list[Any] = []
for _ in range(400):
    NESTED = [NESTED]
HOSTILE: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 7, 3.5, 1e308, 10**17, "", "x", [], {}, [None], {"": None}, NESTED),
    *("../../outside", "/outside", "..", ".", "a/b", "a\\b", "a\0b", "\x1b[2J\x1b]0;x\x07", "a\nb"),
    *("\u202egnp", "\ud800", "x" * 5000, "javascript:alert(1)", "$x_{", "{}%s{0}", [[["x"]]]),
    *("NaN", KEYS[0], KEYS[1], "c3" * 32, ATTEMPT, {"run": ATTEMPT}, [{"cell": "../.."}]),
)
NUMBERS = ("NaN", "Infinity", "-Infinity", "1e999", "9" * 30, "9" * 5000)
"""Which JSON's grammar or Python's reader lets pass."""


def paths_in(value: Any, before: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Where values stand, mappings and lists among them."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()  # fmt: skip
    for key, each in inside:
        yield (*before, key)
        yield from paths_in(each, (*before, key))


def altered(number: int, usual: Any) -> Any:
    """Something with a fault in it, another for every number: in a value, a key, what is missing, or, as text, in its JSON."""
    draw = random.Random(number)
    whole = copy.deepcopy(usual)
    path = draw.choice(list(paths_in(whole)))
    kind = draw.choice(["value"] * 5 + ["missing", "key", "number", "cut", "twice"])
    parent: Any = whole
    for step in path[:-1]:
        parent = parent[step]
    if kind == "value":
        return alter(whole, path, draw.choice(HOSTILE))
    if kind == "missing":
        del parent[path[-1]]
        return whole
    if kind == "key" and isinstance(parent, dict):
        parent[draw.choice([each for each in HOSTILE if isinstance(each, str)])] = parent.pop(path[-1])  # fmt: skip
        return whole
    if kind == "number":
        text = json.dumps(alter(whole, path, "@@"), indent=1)
        return text.replace('"@@"', draw.choice(NUMBERS))
    if kind == "twice" and isinstance(parent, list):
        parent.append(parent[0])
        return whole
    text = json.dumps(whole, indent=1)
    return text[: draw.randrange(len(text))]
