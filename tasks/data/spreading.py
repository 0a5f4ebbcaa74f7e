"""From the one piece in which a window is read to its rows in a batch, widened on the way where that is asked for.

Shapes: T frames of a window, B windows, D numbers of a frame.
"""

from collections.abc import Callable

import numpy as np

from tasks.data.feature_pieces import Features

ALONE = 2**15
"""Numbers that one thread of torch takes by itself, however many it may use."""


def spreading(read_TD: Features, out_TBD: Features) -> Callable[[int, int], None]:
    """A way to copy what was read to the windows of a batch.

    Args:
        read_TD: where every window is read to, rows in one piece.
        out_TBD: the batch, in the same type or in float32.

    Returns:
        A function of a window's number and of how many of its first frames were read: it copies these.
    """
    if read_TD.dtype == out_TBD.dtype or read_TD.dtype != np.float16:

        def copy(index: int, there: int) -> None:
            np.copyto(out_TBD[:there, index], read_TD[:there])

        return copy
    # NumPy widens one half at a time, torch a vector of them, in a sixth of the time. A process that was forked from one in
    # which torch had started threads may not start any: torch starts none for so few numbers as here are at once.
    import torch

    at_once, width = read_TD.shape
    if torch.get_num_threads() > 1:
        at_once, width = max(1, ALONE // width), min(ALONE, width)
    columns = [slice(first, first + width) for first in range(0, read_TD.shape[1], width)]
    parts = [
        (torch.from_numpy(read_TD[:, each]), torch.from_numpy(out_TBD[:, :, each]).unbind(1))
        for each in columns
    ]

    def widen(index: int, there: int) -> None:
        for read, windows in parts:
            if there == len(read) <= at_once:  # all of a window: no views have to be made
                windows[index].copy_(read)
                continue
            for first in range(0, there, at_once):
                rows = slice(first, min(first + at_once, there))
                windows[index][rows].copy_(read[rows])

    return widen
