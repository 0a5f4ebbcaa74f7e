"""Moving MNIST the obvious way, a loop over sequences, digits and frames in NumPy: the peer of the generator's benchmark."""

import math

import numpy as np

SIDE, CANVAS, SPEED = 28, 64, 0.1


def obvious(
    glyphs_GSS: np.ndarray, random: np.random.Generator, batch: int, num_frames: int
) -> np.ndarray:
    """Sequences of two digits at fixed speed, uint8 (T, B, Y, X)."""
    room = CANVAS - SIDE
    frames_TBYX = np.zeros((num_frames, batch, CANVAS, CANVAS), dtype=np.uint8)
    for sequence in range(batch):
        for _ in range(2):
            glyph_SS = glyphs_GSS[random.integers(len(glyphs_GSS))]
            y, x, angle = random.random(), random.random(), 2 * math.pi * random.random()
            v_y, v_x = SPEED * math.sin(angle), SPEED * math.cos(angle)
            for frame in range(num_frames):
                y, x = y + v_y, x + v_x
                if not 0 < y < 1:
                    y, v_y = min(max(y, 0.0), 1.0), -v_y
                if not 0 < x < 1:
                    x, v_x = min(max(x, 0.0), 1.0), -v_x
                top, left = int(room * y), int(room * x)
                place_SS = frames_TBYX[frame, sequence, top : top + SIDE, left : left + SIDE]
                np.maximum(place_SS, glyph_SS, out=place_SS)
    return frames_TBYX
