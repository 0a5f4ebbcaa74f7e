"""What damage, chance and malice make of bytes: flips, cuts, splices, and numbers where others were."""

import json
from collections.abc import Mapping

import numpy as np

Draw = np.random.Generator
EDGES = (0, 1, 2, 0x7F, 0x80, 0xFF, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1, 2**63, 2**64 - 1)  # fmt: skip


def damaged(draw: Draw, content: bytes, most: int | None = None) -> bytes:
    """Bytes altered in one to three ways.

    Args:
        draw: what decides.
        content: the bytes.
        most: of two alterations in three, the place is below this: where headers are.
    """
    for _ in range(int(draw.integers(1, 4))):
        limit = len(content)
        if most is not None and draw.random() < 2 / 3:
            limit = min(most, limit)
        alter = WAYS[draw.choice(len(WAYS), p=SHARES)]
        content = alter(draw, content, int(draw.integers(max(limit, 1))))
    return content


def flipped(draw: Draw, content: bytes, place: int) -> bytes:
    altered = bytearray(content)
    for _ in range(int(draw.choice([1, 1, 1, 2, 8]))):
        at = min(len(altered) - 1, place + int(draw.integers(8)))
        if at >= 0:
            altered[at] ^= 1 << int(draw.integers(8))
    return bytes(altered)


def overwritten(draw: Draw, content: bytes, place: int) -> bytes:
    """A number of one to eight bytes becomes another, at a multiple of its size more often than not."""
    size = int(draw.choice([1, 2, 4, 8]))
    if draw.random() < 0.7:
        place -= place % size
    value = EDGES[draw.integers(len(EDGES))] if draw.random() < 0.7 else int(draw.integers(2**32))
    number = (value % 256**size).to_bytes(size, "little")
    return (content[:place] + number + content[place + size :])[: max(len(content), place)]


def cut(draw: Draw, content: bytes, place: int) -> bytes:
    return content[: place if draw.random() < 0.3 else int(draw.integers(len(content) + 1))]


def grown(draw: Draw, content: bytes, place: int) -> bytes:
    more = draw.bytes(int(draw.integers(1, 100)))
    return content + more if draw.random() < 0.5 else content[:place] + more + content[place:]


def dropped(draw: Draw, content: bytes, place: int) -> bytes:
    return content[:place] + content[place + int(draw.integers(1, 64)) :]


def zeroed(draw: Draw, content: bytes, place: int) -> bytes:
    size = min(int(draw.integers(1, 600)), len(content) - place)
    return content[:place] + bytes(size) + content[place + size :]


def spliced(draw: Draw, content: bytes, place: int) -> bytes:
    """A piece of it where another was."""
    start, size = int(draw.integers(len(content) + 1)), int(draw.integers(1, 200))
    piece = content[start : start + size]
    return content[:place] + piece + content[place + len(piece) :]


WAYS = (flipped, overwritten, cut, grown, dropped, zeroed, spliced)
SHARES = (0.35, 0.35, 0.06, 0.04, 0.06, 0.06, 0.08)

VALUES: tuple[object, ...] = (
    None, True, -1, 0, 1, 3, 2**31, 2**63, 2**70, 10**400, 0.5, 1e999, float("nan"), "", "F32", "F64", "U8", "BOOL", "F8_E4M3",
    "../../x", "/etc/passwd", "a\nb", "é" * 300, [], [0], [4, 3], [2**40, 2**40], [-1], {}, {"a": {}}, [[["a", 1]]],
)  # fmt: skip


def another(draw: Draw, value: object) -> object:
    """A value of JSON in which one part is another, or has gone, or is there under another name."""
    if isinstance(value, Mapping) and value and draw.random() < 0.9:
        name = sorted(value)[draw.integers(len(value))]
        rest = {each: value[each] for each in value if each != name}
        what = draw.random()
        if what < 0.1:
            return rest
        if what < 0.2:
            return {**rest, str(VALUES[draw.integers(len(VALUES))]): value[name]}
        return {**value, name: another(draw, value[name])}
    if isinstance(value, list) and value and draw.random() < 0.8:
        place = int(draw.integers(len(value)))
        return [*value[:place], another(draw, value[place]), *value[place + 1 :]]
    if isinstance(value, int) and draw.random() < 0.5:
        return value + int(draw.integers(-3, 4))
    return VALUES[draw.integers(len(VALUES))]


def rewritten(draw: Draw, text: bytes) -> bytes:
    """JSON with other values."""
    return json.dumps(another(draw, json.loads(text))).encode()
