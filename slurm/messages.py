"""Values as bytes and back, for ranks to tell each other: data alone, which nobody who sends it can make run as code.

A message is JSON, and beside it the arrays that it names as NumPy writes them (.npy, without pickle).
"""

import io
import json
import struct
from typing import Any

import numpy as np

_LENGTH = struct.Struct("<Q")
"""Of the JSON, which comes first."""


def packed(value: Any) -> bytes:
    """A value as bytes.

    Args:
        value: None, a truth value, a number, text, an array, or lists, tuples and dicts of such.

    Raises:
        TypeError: for anything else; it names the type.
    """
    arrays: list[np.ndarray] = []
    told = json.dumps(_told(value, arrays)).encode()
    sink = io.BytesIO()
    sink.write(_LENGTH.pack(len(told)) + told)
    for each in arrays:
        np.lib.format.write_array(sink, each, allow_pickle=False)
    return sink.getvalue()


def unpacked(message: bytes) -> Any:
    """The value that `packed` made a message of, with the types it had.

    Raises:
        ValueError: when it is no such message.
    """
    try:
        source = io.BytesIO(message)
        (length,) = _LENGTH.unpack(source.read(_LENGTH.size))
        told = json.loads(source.read(length))
        arrays = []
        while source.tell() < len(message):
            arrays.append(np.lib.format.read_array(source, allow_pickle=False))
        return _value(told, arrays)
    except Exception as error:  # noqa: BLE001 - whatever JSON, NumPy or the shape of what they give has to object to
        raise ValueError(f"a message that no rank sent ({type(error).__name__}: {error})") from None


def _told(value: Any, arrays: list[np.ndarray]) -> Any:
    """As JSON; lists stand for what JSON has no words for, each with its kind first."""
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, list | tuple):
        kind = "list" if isinstance(value, list) else "tuple"
        return [kind, *(_told(each, arrays) for each in value)]
    if isinstance(value, dict):
        return ["dict", *([_told(key, arrays), _told(each, arrays)] for key, each in value.items())]
    if isinstance(value, np.ndarray) and value.dtype.hasobject:
        return ["objects", list(value.shape), *(_told(each, arrays) for each in value.flat)]
    if isinstance(value, np.ndarray | np.generic):
        arrays.append(np.asarray(value))
        return ["array" if isinstance(value, np.ndarray) else "scalar", len(arrays) - 1]
    raise TypeError(f"ranks tell each other plain values and arrays, and no {type(value).__name__}")


def _value(told: Any, arrays: list[np.ndarray]) -> Any:
    if not isinstance(told, list):
        return told
    kind, *rest = told
    if kind == "list":
        return [_value(each, arrays) for each in rest]
    if kind == "tuple":
        return tuple(_value(each, arrays) for each in rest)
    if kind == "dict":
        return {_value(key, arrays): _value(each, arrays) for key, each in rest}
    if kind == "objects":
        shape, *items = rest
        flat = np.empty(len(items), dtype=object)
        for index, each in enumerate(items):
            flat[index] = _value(each, arrays)
        return flat.reshape(shape)
    if kind in ("array", "scalar"):
        found = arrays[rest[0]]
        return found if kind == "array" else found[()]
    raise ValueError(f"it tells of a {kind!r}")
