"""Sequences of grey frames side by side, as an animated GIF that repeats for ever.

Shapes: Y rows and X columns of a frame, uint8.
"""

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Frame = NDArray[np.uint8]

SIDE = 160
"""About so many pixels high and wide is a frame shown: a whole multiple of its own."""
MARGIN = 8
HEADING = 22
"""Pixels of the line of text above and below the frames."""
MILLISECONDS = 120
"""That a frame is shown."""
_WHITE, _INK = 255, 34


def film(sequences: Sequence[tuple[str, Sequence[Frame]]], captions: Sequence[str]) -> bytes:
    """Draw it; the same bytes for the same frames and version of Pillow.

    Args:
        sequences: heading and frames (Y, X) of each, all as long as the captions and of one size.
        captions: a line under the frames at each moment.

    Raises:
        ValueError: for sequences of several lengths or sizes, or none.
    """
    from PIL import Image, ImageDraw, ImageFont

    shapes = {frame.shape for _, frames in sequences for frame in frames}
    lengths = {len(frames) for _, frames in sequences} | {len(captions)}
    if len(shapes) != 1 or len(lengths) != 1:
        raise ValueError(
            f"sequences of {sorted(lengths)} frames of sizes {sorted(shapes)} do not make a film: give one length and one size"
        )
    (height, width) = next(iter(shapes))
    scale = max(1, round(SIDE / max(height, width)))
    across, down = width * scale, height * scale
    font = ImageFont.load_default(13)
    size = (MARGIN + len(sequences) * (across + MARGIN), down + 2 * HEADING)
    pictures = []
    for moment, caption in enumerate(captions):
        picture = Image.new("L", size, _WHITE)
        draw = ImageDraw.Draw(picture)
        for place, (heading, frames) in enumerate(sequences):
            left = MARGIN + place * (across + MARGIN)
            enlarged = np.repeat(np.repeat(frames[moment], scale, axis=0), scale, axis=1)
            picture.paste(Image.fromarray(enlarged), (left, HEADING))
            draw.text((left + across / 2, HEADING / 2), heading, _INK, font, anchor="mm")
        below = HEADING + down + HEADING / 2
        draw.text((size[0] / 2, below), caption, _INK, font, anchor="mm")
        pictures.append(picture)
    buffer = io.BytesIO()
    first, *others = pictures
    first.save(
        buffer,
        format="GIF",
        save_all=True,
        append_images=others,
        duration=MILLISECONDS,
        loop=0,
    )
    return buffer.getvalue()
