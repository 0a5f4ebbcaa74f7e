"""The stores that lie beside a set's index, of percepts, flow or patches: which there are, and which one is meant."""

from pathlib import Path
from typing import Literal

from tasks.data.feature_plan import StoreError, StorePlan, read_plan
from tasks.data.feature_shards import shards_missing
from tasks.data.index import Index
from tasks.data.root import folder_of

Kind = Literal["percepts", "flow", "patches"]
"""What stores hold: the name of their folder, of the experiment that makes them and of the knob that names one."""


def stores_in(set_name: str, kind: Kind) -> tuple[dict[str, StorePlan], dict[str, str]]:
    """The stores of a set that can be read, and why others cannot, by the names of their folders."""
    found, damaged = {}, {}
    for path in sorted((folder_of(set_name) / kind).glob("*/store.json")):
        try:
            found[path.parent.name] = read_plan(path.parent)
        except StoreError as error:
            damaged[path.parent.name] = str(error)
    return found, damaged


def misplaced(index: Index, place: str, plan: StorePlan, kind: Kind = "percepts") -> str:
    """Why a store is not what its folder's name says, or not of a set's videos, as one sentence; empty if it is.

    Args:
        index: the set's.
        place: the name of the store's folder.
        plan: what the store says of itself.
        kind: what it should hold.
    """
    again = maker(plan, kind)
    other = "another convnet's" if kind == "percepts" else "made otherwise"
    if place.rpartition("-")[2] != plan.identity[:12]:
        return (
            f"{place} of {index.name} holds {kind} of identity {plan.identity[:12]}, and its name should end in that: it "
            f"was renamed, or is {other}; give it back the name that it was made under, or remove it"
        )
    if plan.made_of.get("videos") not in (index.content_identity, None):
        return f"{place} was made of other videos than those that {index.name} holds now: run {again} again"
    return ""


def is_usable(index: Index, place: str, plan: StorePlan, kind: Kind = "percepts") -> bool:
    """Whether a store is of a set's videos as they are now, and whole."""
    folder = folder_of(index.name) / kind / place
    return not misplaced(index, place, plan, kind) and not shards_missing(folder, plan)


def maker(plan: StorePlan, kind: Kind = "percepts") -> str:
    """The command that makes such a store."""
    return "`harness data import-features`" if "imported" in plan.made_of else f"`harness run {kind}`"  # fmt: skip


def the_store(
    index: Index, kind: Literal["flow", "patches"], given: str, knob: str = ""
) -> tuple[str, StorePlan]:
    """The store that is meant.

    Args:
        index: the set's.
        kind: what it holds.
        given: the first letters of its folder's name; empty if there is one only. Among several, those of videos that the
            set does not hold any more, and those without all shards, do not count.
        knob: what the user sets to name it, for messages; the kind, if empty.

    Returns:
        The name of its folder, and its plan.

    Raises:
        ValueError: when there is no such store, or more than one, or it is damaged, of other videos, or lacks shards; the
            sentence names them.
    """
    it, that = ("it", "that") if kind == "flow" else ("them", "those")
    again = f"`harness run {kind} --set dataset={index.name}`"
    known, damaged = stores_in(index.name, kind)
    found = [name for name in known if name.startswith(given)]
    unreadable = [name for name in damaged if name.startswith(given)]
    if unreadable and not found:
        raise ValueError(f"{damaged[unreadable[0]]} ({again})")
    if not known:
        raise ValueError(f"{index.name} has no stored {kind} yet: make {it} with {again}")
    if len(found) > 1:
        found = [name for name in found if is_usable(index, name, known[name], kind)] or found
    if len(found) != 1:
        what = "is not among" if not found else "could be any of"
        knob = knob or kind
        raise ValueError(
            f"{knob}={given!r} {what} {that} of {index.name}: name one with --set {knob}=... ({', '.join(found or known)})"
        )
    (place,) = found
    plan = known[place]
    wrong = misplaced(index, place, plan, kind)
    if wrong:
        raise ValueError(wrong)
    lacking = shards_missing(_folder(index, kind, place), plan)
    if lacking:
        raise ValueError(
            f"{place} of {index.name} lacks {len(lacking)} of {len(plan.shards)} shards: run `harness run {kind}` again, it "
            "makes what is missing"
        )
    return place, plan


def _folder(index: Index, kind: Kind, place: str) -> Path:
    return folder_of(index.name) / kind / place
