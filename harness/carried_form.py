"""What an evidence.json has to be before anything in it is used: anybody who can write to a tracking server can have made it.

Of its texts some become paths, and one the beginning of links: cell keys, names and attempts are held against patterns that
nothing fits which leads out of a folder. Numbers are finite. Signs that steer a terminal, hide text or are no characters are
replaced wherever they stand. Whether its parts and its cells fit together is checked too, so that drawing finds what it looks up.
"""

import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from harness import result
from harness.collect import RUNS
from tasks.cell import SHORT

MOST_BYTES = 2**28
"""Of an evidence.json; the largest experiments have some thousandths of that for a thousand cells."""
DEEPEST = 24
"""How far values may be nested."""
PLACES_OF_RUNS = (RUNS, f"../{RUNS}")
"""Where a report may say that the folders of runs are: links begin with it."""

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}")
"""Of experiments, parts and attempts: names of files and folders are made of them."""
SHA256 = re.compile(r"[0-9a-f]{64}")

_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
_LONGEST_FILE_NAME = 255
"""Bytes; no file system of ours takes more."""
_MOST_DIGITS = 18
"""Of a whole number: with these it fits 64 bits, as those do that are written here."""
_SCALARS = (str, int, float, bool, type(None))

Check = Callable[[Any, str], None]


class _Wrong(ValueError):
    """What is wrong, in words that follow the name of the file."""


def plain(text: str) -> str:
    """A text of others in which the signs are replaced that steer a terminal, hide text or are no characters."""
    return _UNSEEN.sub("\N{REPLACEMENT CHARACTER}", text)


def parsed(text: str) -> Any:
    """JSON of others as plain values.

    Raises:
        ValueError: in words, when it is none, nested too deeply, or has numbers that are not finite or have no end.
    """
    try:
        return _clean(
            json.loads(text, parse_constant=_refused, parse_int=_whole, parse_float=_real), 0
        )
    except RecursionError:
        raise ValueError(f"it is nested more than {DEEPEST} deep") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"it is no JSON ({error.msg} in line {error.lineno})") from None


def _refused(constant: str) -> None:
    raise ValueError(f"it has the number {constant}, which is not finite")


def _whole(digits: str) -> int:
    if len(digits) > _MOST_DIGITS:
        raise ValueError(f"it has a whole number of {len(digits):,} digits")
    return int(digits)


def _real(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"it has the number {digits[:_MOST_DIGITS]}, which is not finite")
    return value


def _clean(value: Any, depth: int) -> Any:
    if depth > DEEPEST:
        raise ValueError(f"it is nested more than {DEEPEST} deep")
    if isinstance(value, dict):
        return {plain(name): _clean(each, depth + 1) for name, each in value.items()}
    if isinstance(value, list):
        return [_clean(each, depth + 1) for each in value]
    if isinstance(value, str):
        return plain(value)
    return value


def check(content: Any, name: str) -> None:
    """See that parsed content is the evidence of one report, or of an experiment of parts.

    Args:
        content: as `parsed` gives it.
        name: of the report or the experiment: what it has to call itself.

    Raises:
        ValueError: in words that name the first value that cannot be, when it is not.
    """
    _mapping(content, "it")
    of_parts = "parts" in content
    for key, rule in (_WHOLE if of_parts else _REPORT).items():
        if key not in content:
            raise _Wrong(f"it has no '{key}'")
        rule(content[key], key)
    if content["experiment"] != name:
        raise _Wrong(f"it is of {_said(content['experiment'])} and not of '{name}'")
    names, runs = content["names"], content["runs"]
    for key, short in names.items():
        if short != key[:SHORT]:
            raise _Wrong(f"it calls cell {key[:SHORT]} {_said(short)}")
    _among(runs, names, "runs")
    _among(content["provenance"]["needed_runs"], set(names.values()), "provenance.needed_runs")
    if not of_parts:
        _among([cell["cell"] for cell in content["expected"]], names, "expected")


def check_parts(whole: Mapping[str, Any], parts: Mapping[str, Mapping[str, Any]]) -> None:
    """See that parts, each checked by itself, have the cells and runs of the whole.

    Raises:
        ValueError: in words, when one has another cell or run than the whole.
    """
    for part, content in parts.items():
        runs = {key: told for key, told in whole["runs"].items() if key in content["names"]}
        if not content["names"].keys() <= whole["names"].keys() or content["runs"] != runs:
            raise _Wrong(f"its part {part} has other cells or runs than the whole")


def files_of(content: bytes, cell: str, attempt: str) -> dict[str, str]:
    """sha256 by name of the files that a run's sealed result lists: anybody can seal one, and names become paths.

    Args:
        content: of the result.
        cell: key of the cell that it has to be of.
        attempt: and the attempt.

    Raises:
        ValueError: when it is not the result of this attempt, or lists what is no file of a run.
    """
    try:
        body = result.unsealed(content)
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict) or (body.get("cell"), body.get("attempt")) != (cell, attempt):
        raise _Wrong(f"{result.NAME} is cut short or altered")
    try:
        _having(files=_map(_file, _having(sha256=_digest)))(body, "it")
    except _Wrong as error:
        raise _Wrong(f"{result.NAME} is no result of a run ({error})") from None
    return {name: told["sha256"] for name, told in body["files"].items()}


def _said(value: Any) -> str:
    if isinstance(value, dict | list):
        return "a list" if isinstance(value, list) else "a mapping"
    told = repr(value)
    return told if len(told) <= 60 else f"{told[:57]}..."


def _among(keys: Any, known: Any, where: str) -> None:
    for key in keys:
        if key not in known:
            raise _Wrong(f"{where} has {_said(key)}, which is none of its cells")


def _is(kinds: tuple[type, ...], words: str) -> Check:
    def rule(value: Any, where: str) -> None:
        if type(value) not in kinds:  # exactly: true is no number
            raise _Wrong(f"{where} is {_said(value)} and should be {words}")

    return rule


def _fits(pattern: re.Pattern[str], words: str) -> Check:
    def rule(value: Any, where: str) -> None:
        if not isinstance(value, str) or not pattern.fullmatch(value):
            raise _Wrong(f"{where} is {_said(value)} and should be {words}")

    return rule


_text = _is((str,), "a text")
_number = _is((int, float), "a number")
_count = _is((int,), "a whole number")
_flag = _is((bool,), "true or false")
_scalar = _is(_SCALARS, "a text, a number, true, false or null")
_mapping = _is((dict,), "a mapping")
_key = _fits(SHA256, "a cell's key, 64 hexadecimal digits")
_name = _fits(NAME, "a name of letters, digits, '_', '-' and '.'")
_short = _fits(re.compile(rf"[0-9a-f]{{{SHORT}}}"), f"the first {SHORT} digits of a cell's key")
_digest = _fits(SHA256, "a sha256, 64 hexadecimal digits")


def _file(value: Any, where: str) -> None:
    """A name that stays in the folder it is put into, and under which nothing of ours lies there."""
    is_alone = value not in ("", ".", "..", result.NAME) and not re.search(r"[/\\]", value)
    if not is_alone or plain(value) != value or len(value.encode()) > _LONGEST_FILE_NAME:
        raise _Wrong(f"{where} is {_said(value)} and should be the name of a file")


def _list(each: Check) -> Check:
    def rule(value: Any, where: str) -> None:
        if not isinstance(value, list):
            raise _Wrong(f"{where} is {_said(value)} and should be a list")
        for place, one in enumerate(value):
            each(one, f"{where}[{place}]")

    return rule


def _map(key: Check, each: Check) -> Check:
    def rule(value: Any, where: str) -> None:
        _mapping(value, where)
        for name, one in value.items():
            key(name, f"a key of {where}")
            each(one, f"{where}.{name}")

    return rule


def _having(**fields: Check) -> Check:
    """A mapping that has these, and may have others."""

    def rule(value: Any, where: str) -> None:
        _mapping(value, where)
        for name, one in fields.items():
            if name not in value:
                raise _Wrong(f"{where} has no '{name}'")
            one(value[name], f"{where}.{name}")

    return rule


def _cell(value: Any, where: str) -> None:
    _map(_text, _scalar)(value, where)
    _having(cell=_key)(value, where)


def _origin(value: Any, where: str) -> None:
    _having(
        commit=_text,
        knobs=_list(_text),
        needed_runs=_map(_short, _name),
        chance=_map(_text, _number),
        notes=_list(_text),
    )(value, where)
    if value.get("runs") not in (None, *PLACES_OF_RUNS):
        raise _Wrong(
            f"{where}.runs is {_said(value['runs'])} and should be '{PLACES_OF_RUNS[0]}', as links begin with it"
        )


def _parts(value: Any, where: str) -> None:
    _list(_name)(value, where)
    if not value or len(set(value)) < len(value):
        raise _Wrong(f"{where} should be a list of one name or more, each once")


_SCORE = _having(metric=_text, unit=_text, higher_is_better=_is((bool, type(None)), "true or false"), whole=_flag)  # fmt: skip
_ALWAYS: dict[str, Check] = {
    "experiment": _name,
    "title": _text,
    "names": _map(_key, _short),
    "runs": _map(_key, _having(run=_name, digest=_digest, scores=_list(_SCORE))),
    "provenance": _origin,
}
_REPORT: dict[str, Check] = {
    **_ALWAYS,
    "drawn_by": _text,
    "expected": _list(_cell),
    "failed": _map(_key, _text),
    "classes": _map(_text, _list(_text)),
}
_WHOLE: dict[str, Check] = {
    **_ALWAYS,
    "parts": _parts,
    "shared": _count,
    "told": _map(_text, _text),
}
