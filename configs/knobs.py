"""An experiment function's parameters as knobs: listed by `harness describe`, set by `--set name=value`.

A knob is a keyword-only parameter annotated `Annotated[type, "what it does, with its unit"]`. The types that a
command line can spell are int, float, str, bool, Literal, `X | None`, and tuples of these (comma-separated).
Parameters of other types are for Python callers and are not listed.

A function that calls others may pass their knobs on: a parameter annotated `Annotated[PartSettings | None, OfParts(...)]` takes
what `--set PART.name=value` says, checked by the part's own knobs.
"""

import difflib
import inspect
import math
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeAlias, Union

PartSettings: TypeAlias = Mapping[str, Mapping[str, Any]]
"""Arguments by the part that they are for, then by name."""


@dataclass(frozen=True, slots=True)
class OfParts:
    """Marks the parameter that takes arguments for parts."""

    functions: Callable[[], Mapping[str, Callable[..., Any]]]
    """Gives the parts' functions by name; called when something has to be known of them, as it imports them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Knob:
    """One typed parameter of an experiment."""

    name: str
    type: Any
    default: Any
    meaning: str

    @property
    def type_name(self) -> str:
        """The type as a person would write it."""
        return _type_name(self.type)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A clause that offers the nearest known word, or nothing."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean '{near[0]}'?" if near else ""


def knobs(function: Callable[..., Any]) -> dict[str, Knob]:
    """The knobs of an experiment function, by name."""
    hints = typing.get_type_hints(function, include_extras=True)
    found = {}
    for name, parameter in inspect.signature(function).parameters.items():
        guess = str if parameter.default is inspect.Parameter.empty else type(parameter.default)
        hint = hints.get(name, guess)
        meaning = ""
        if typing.get_origin(hint) is Annotated:
            hint, meaning = typing.get_args(hint)[:2]
        if _spellable(hint):
            found[name] = Knob(
                name=name, type=hint, default=parameter.default, meaning=str(meaning)
            )
    return found


def parts(function: Callable[..., Any]) -> dict[str, Callable[..., Any]]:
    """The functions whose knobs this one passes on, by the name of the part; empty if it passes on none."""
    found = _of_parts(function)
    return dict(found[1].functions()) if found else {}


def _of_parts(function: Callable[..., Any]) -> tuple[str, OfParts] | None:
    """The parameter that takes arguments for parts, and its mark."""
    for name, hint in typing.get_type_hints(function, include_extras=True).items():
        for mark in typing.get_args(hint)[1:] if typing.get_origin(hint) is Annotated else ():
            if isinstance(mark, OfParts):
                return name, mark
    return None


def parse(function: Callable[..., Any], settings: Iterable[str]) -> dict[str, Any]:
    """Turn `name=value` texts into typed arguments.

    Raises:
        ValueError: for a text without "=", an unknown knob or part, a knob set twice, or a value of the wrong type.
    """
    known = knobs(function)
    of_parts = _of_parts(function)
    chosen: dict[str, Any] = {}
    for_parts: dict[str, list[str]] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        name = name.strip()
        if not equals:
            raise ValueError(f"--set {setting}: write it as name=value")
        part, dot, inside = name.partition(".")
        if dot and of_parts is not None:
            for_parts.setdefault(part, []).append(f"{inside}={text}")
            continue
        if name not in known:
            have = ", ".join(sorted(known)) or "none"
            if of_parts is not None:
                have += "; of a part: PART.NAME"
            raise ValueError(
                f"there is no knob '{name}'{did_you_mean(name, known)} (knobs: {have})"
            )
        if name in chosen:
            raise ValueError(f"knob '{name}' is set twice: set it once")
        try:
            chosen[name] = _parse(known[name].type, text.strip())
        except ValueError as error:
            raise ValueError(f"knob '{name}' cannot be '{text}': {error}") from None
    if of_parts is not None and for_parts:
        chosen[of_parts[0]] = _parse_parts(of_parts[1].functions(), for_parts)
    return chosen


def _parse_parts(
    functions: Mapping[str, Callable[..., Any]], settings: Mapping[str, list[str]]
) -> dict[str, dict[str, Any]]:
    """Typed arguments of every part that something is set for."""
    chosen = {}
    for part, texts in settings.items():
        if part not in functions:
            have = ", ".join(functions)
            raise ValueError(
                f"there is no part '{part}'{did_you_mean(part, functions)} (parts: {have})"
            )
        try:
            chosen[part] = parse(functions[part], texts)
        except ValueError as error:
            raise ValueError(f"{part}: {error}") from None
    return chosen


def spell(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """The inverse of `parse`: texts that give these arguments."""

    def text(value: Any) -> str:
        if isinstance(value, tuple):
            return ",".join(text(each) for each in value)
        return "none" if value is None else str(value)

    spelt: list[str] = []
    for name, value in sorted(settings.items()):
        if isinstance(value, Mapping):  # arguments for parts
            spelt += [
                f"{part}.{each}" for part, inside in sorted(value.items()) for each in spell(inside)
            ]
        else:
            spelt.append(f"{name}={text(value)}")
    return tuple(spelt)


def _members(hint: Any) -> tuple[Any, ...]:
    return typing.get_args(hint) if typing.get_origin(hint) in (Union, types.UnionType) else (hint,)


def _spellable(hint: Any) -> bool:
    if hint in (int, float, str, bool, type(None)) or typing.get_origin(hint) is Literal:
        return True
    if typing.get_origin(hint) is tuple:
        inner = typing.get_args(hint)
        return len(inner) == 2 and inner[1] is Ellipsis and _spellable(inner[0])
    members = _members(hint)
    return len(members) > 1 and all(_spellable(member) for member in members)


def _type_name(hint: Any) -> str:
    if typing.get_origin(hint) is Literal:
        return " | ".join(str(value) for value in typing.get_args(hint))
    if typing.get_origin(hint) is tuple:
        return f"list of {_type_name(typing.get_args(hint)[0])}"
    members = _members(hint)
    if len(members) > 1:
        return " | ".join(
            "none" if member is type(None) else _type_name(member) for member in members
        )
    return str(getattr(hint, "__name__", hint))


def _parse(hint: Any, text: str) -> Any:
    members = _members(hint)
    if len(members) > 1:
        reasons = []
        for member in members:
            try:
                return _parse(member, text)
            except ValueError as error:
                reasons.append(str(error))
        raise ValueError(" or ".join(dict.fromkeys(reasons)))
    if typing.get_origin(hint) is Literal:
        values = typing.get_args(hint)
        for value in values:
            if text == str(value):
                return value
        raise ValueError(
            f"it must be one of {', '.join(map(str, values))}{did_you_mean(text, map(str, values))}"
        )
    if typing.get_origin(hint) is tuple:
        parts = [part.strip() for part in text.split(",") if part.strip()]
        if not parts:
            raise ValueError("it is a list of at least one value, separated by commas")
        return tuple(_parse(typing.get_args(hint)[0], part) for part in parts)
    return _parse_plain(hint, text)


def _parse_plain(hint: Any, text: str) -> Any:
    if hint is type(None):
        if text.lower() == "none":
            return None
        raise ValueError("none")
    if hint is bool:
        if text.lower() in ("true", "false"):
            return text.lower() == "true"
        raise ValueError("it must be true or false")
    if hint is int:
        try:
            return int(text)
        except ValueError:
            raise ValueError("it must be a whole number") from None
    if hint is float:
        try:
            number = float(text)
        except ValueError:
            raise ValueError("it must be a number") from None
        if not math.isfinite(number):
            raise ValueError("it must be a finite number")
        return number
    return text
