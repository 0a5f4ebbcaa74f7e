"""What keys are made of, as golden files: the keys of every registered experiment's cells, and all fields that a key may hold.

`python -m tests.golden.shelf` writes both anew. What altered in keys.json is lost to whoever has such results: their cells
would be done again. So a key that goes needs a reason, and a line in the release notes; a field that comes is written into
fields.json with what it is to a key, by hand or by this.
"""

import dataclasses
import importlib
import json
import os
import pkgutil
import re
import tempfile
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

import tasks
from harness.source import find
from tasks.cell import KEYED_UNLESS_DEFAULT, Cell
from tasks.data.feature_shards import write_shard
from tasks.data.root import VARIABLE
from tasks.patch_tracks import PatchRecipe
from tasks.registry import TASKS, load
from tests.configs.percept_sets import set_with
from tests.tasks.flow_sets import SIZE, keep_flow

HERE = Path(__file__).resolve().parent
KEYS, FIELDS = HERE / "keys.json", HERE / "fields.json"
SAMPLE = 20
"""At paper size every so manieth cell, from the first."""

Mark = Literal["keyed", "keyed unless default", "not keyed"]

DEMO = ("fig12", "table1", "table2", "table3", "table4", "fig5", "fig6", "fig7", "fig8", "fig9", "fig10", "paper")  # fmt: skip
ON_A_SET = (
    "fig12 dataset=ours percepts=rgb shots=1,all resamples=1",
    "table1 dataset=ours rgb=rgb flow=flow1- flow10=flow10",
    "table2 patches=ours columns=patches",
    "table3 dataset=ours rgb=rgb resamples=1",
    "table4 dataset=ours rgb=rgb flow=flow1-",
    "two_stream dataset=ours flow=flow1-",
    "flow dataset=ours",
    "temporal dataset=ours",
    "patches dataset=ours",
    "percepts dataset=ours convnet=raw_pixels",
    "percepts dataset=ours convnet=raw_pixels stream=flow flow_method=dis flow_fields=10",
)
"""Of a set that `shelved` makes: 16 videos, two classes, two splits."""
OTHERWISE = (
    "fig5 optimiser=as_in_2015",
    "fig5 precision=bfloat16",
    "percepts dataset=ours convnet=raw_pixels precision=bfloat16",
)
"""Fields that are part of a key only away from their default."""
AT_PAPER_SIZE = ("fig12", "table1", "table3", "table4", *(f"{name} glyphs=digits" for name in ("fig5", "fig7", "fig8", "fig9", "fig10")))  # fmt: skip


def make_set() -> None:
    """The set "ours" under the data root, from fixed numbers: percepts of three streams, flow, patches."""
    index = set_with(Path(os.environ[VARIABLE]), "ours", "rgb", "flow1", "flow10")
    keep_flow(index)
    recipe = PatchRecipe(
        set_name="ours",
        videos=index.content_identity,
        per_video=3,
        size=SIZE,
        side=8,
        shard_frames=40,
    )
    plan = recipe.plan
    for number, clips in enumerate(plan.shards):
        blank = ((video, np.zeros((frames, plan.frame_size), plan.dtype)) for video, frames in clips)  # fmt: skip
        write_shard(recipe.folder, plan, number, blank)


def shelved() -> dict[str, tuple[Cell, ...]]:
    """All cells of every registered experiment at demo size, and some at paper size, by how one asks for them."""
    wanted = [*DEMO, *ON_A_SET, *OTHERWISE, *(f"{words} scale=paper" for words in AT_PAPER_SIZE)]
    made = {}
    for words in wanted:
        name, *settings = words.split()
        cells = find(name).experiment(settings).all_cells()
        made[words] = cells[::SAMPLE] if "scale=paper" in settings else cells
    return made


def keys(shelf: Mapping[str, tuple[Cell, ...]]) -> dict[str, list[str]]:
    """Every cell as its task's class, its seed and the digits that name its folder, in the experiment's order."""
    return {
        words: [f"{type(cell.task).__name__} {cell.seed} {cell.short}" for cell in cells]
        for words, cells in shelf.items()
    }


def mark_of(each: dataclasses.Field[Any]) -> Mark:
    """What a field is to a key."""
    key = each.metadata.get("key", True)
    if key == KEYED_UNLESS_DEFAULT["key"]:
        return "keyed unless default"
    return "keyed" if key else "not keyed"


def fields() -> dict[str, dict[str, Mark]]:
    """Every dataclass that a cell can hold, by module and name, with what each of its fields is to a key."""
    return {
        f"{kind.__module__}:{kind.__name__}": {each.name: mark_of(each) for each in dataclasses.fields(kind)}
        for kind in sorted(reachable(), key=lambda kind: (kind.__module__, kind.__name__))
    }  # fmt: skip


def reachable() -> set[type[Any]]:
    """Every dataclass that a cell can hold: tasks, what their fields are declared as, and what can stand for a protocol."""
    named: dict[str, list[Any]] = {}
    for module in _modules():
        for name, value in vars(module).items():
            if not name.startswith("__"):
                named.setdefault(name, []).append(value)
    kinds = {each for values in named.values() for each in values if _is_ours(each)}
    found: set[type[Any]] = set()
    wanted: list[Any] = [Cell, *map(load, TASKS.values())]
    while wanted:
        kind = wanted.pop()
        if kind in found:
            continue
        found.add(kind)
        for each in dataclasses.fields(kind):
            if mark_of(each) == "not keyed":
                continue
            for word in re.findall(r"\w+", str(each.type)):
                for meant in named.get(word, []):
                    wanted += _meant(meant, kinds, named)
    return found


def _modules() -> Iterator[Any]:
    for told in pkgutil.walk_packages(tasks.__path__, "tasks."):
        yield importlib.import_module(told.name)


def _is_ours(value: object) -> bool:
    return isinstance(value, type) and dataclasses.is_dataclass(value) and value.__module__.startswith("tasks.")  # fmt: skip


def _meant(value: Any, kinds: set[type[Any]], named: Mapping[str, list[Any]]) -> Iterator[Any]:
    """The dataclasses that a name in a declaration stands for: itself, those of a union, all that fit a protocol."""
    if _is_ours(value):
        yield value
    elif getattr(value, "_is_protocol", False):
        asked = {name for base in value.__mro__ if getattr(base, "_is_protocol", False) for name in (*vars(base), *base.__annotations__) if not name.startswith("_")}  # fmt: skip
        if asked:
            yield from (kind for kind in kinds if asked <= set(dir(kind)) | _names(kind))
    else:
        for part in typing.get_args(value):
            word = getattr(part, "__forward_arg__", None)
            for meant in named.get(word, []) if word else [part]:
                yield from _meant(meant, kinds, named)


def _names(kind: type[Any]) -> set[str]:
    return {each.name for each in dataclasses.fields(kind)}


def as_text(content: object) -> str:
    """As the golden files hold it."""
    return json.dumps(content, indent=1) + "\n"


def write() -> None:
    """Write both files anew."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ[VARIABLE] = folder
        make_set()
        KEYS.write_text(as_text(keys(shelved())))
    FIELDS.write_text(as_text(fields()))


if __name__ == "__main__":
    write()
