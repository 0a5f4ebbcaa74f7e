"""Values that JSON can say without loss: copies of them, their text, and where two of them differ."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import TypeAlias, cast

JSON: TypeAlias = "bool | int | float | str | Sequence[JSON] | Mapping[str, JSON] | None"


def plain(value: object, where: str) -> JSON:
    """A copy in which tuples are lists.

    Args:
        value: mappings, lists, tuples, text, numbers, booleans, None.
        where: what to call the value in an error.

    Raises:
        ValueError: naming the first part that JSON would lose, such as a key that is no text, or NaN.
    """
    if isinstance(value, Mapping):
        strange = [key for key in value if not isinstance(key, str)]
        if strange:
            raise ValueError(f"{where} has the key {strange[0]!r}: keys have to be text")
        return {key: plain(each, f"{where}.{key}") for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each, f"{where}[{index}]") for index, each in enumerate(value)]
    # Types as they are: a numpy number or an enum would come back as something else.
    if value is None or type(value) in (bool, int, str):
        return cast("JSON", value)
    if type(value) is float and math.isfinite(value):
        return value
    raise ValueError(
        f"{where} is {value!r}, which JSON cannot say: pass text, finite numbers, true, false, null, "
        "lists and mappings of these"
    )


def first_difference(old: JSON, new: JSON, where: str = "") -> tuple[str, JSON, JSON] | None:
    """The first key, in sorted order, under which two values differ.

    Returns:
        The key's path with dots, the value there in each ("absent" where there is none); None for equal values.
    """
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in sorted(old.keys() | new.keys()):
            if key not in old or key not in new:
                return f"{where}{key}", old.get(key, "absent"), new.get(key, "absent")
            found = first_difference(old[key], new[key], f"{where}{key}.")
            if found:
                return found
        return None
    return (where.rstrip("."), old, new) if dumps(old) != dumps(new) else None


def dumps(value: JSON) -> str:
    """Its text on one line, keys sorted."""
    return json.dumps(value, sort_keys=True, allow_nan=False)
