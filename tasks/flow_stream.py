"""The flow stream of a video: from frames, or from stored fields, to stacks of optical flow, one for every frame.

Flow is taken between neighbouring frames, kept in 8 bits as two-stream work keeps it (Simonyan and Zisserman 2014a), and
stacked: what the temporal stream sees at frame t are the L fields from t on. At the end of a video the last field is
repeated, so that the flow stream has as many steps as the RGB stream; a video of one frame stands still.

Shapes: T frames, Y and X pixels, N stacks of a piece, L fields of a stack.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from tasks.data.flow import METHODS, Quantised, flow_of

if TYPE_CHECKING:
    import numpy as np

    from tasks.data.feature_plan import StorePlan
    from tasks.data.features import FeatureStore


@dataclass(frozen=True, kw_only=True, slots=True)
class FlowSpec:
    """How the flow stream is made.

    Raises:
        ValueError: for an unknown method, a bound that is not above 0, or less than one field.
    """

    version: ClassVar[int] = 1
    """Raised whenever the same values would give other flow."""

    method: str = "brox"
    bound: float = 20.0
    """Displacement in pixels that the largest byte stands for; more is clipped to it."""
    length: int = 1
    """L, fields of a stack (paper: 1 and 10)."""
    subtract_mean: bool = False
    """Whether each field's mean over the image is taken from it."""

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(f"flow method {self.method!r}: choose from {', '.join(METHODS)}")
        if self.length < 1:
            raise ValueError(f"{self.length} fields of flow: a stack has at least 1")
        Quantised(bound=self.bound)

    @property
    def channels(self) -> int:
        """Channels of a stack: u and v of every field."""
        return 2 * self.length


def fields(
    pieces_TYX3: Iterable[np.ndarray], method: str, bound: float, *, device: str = "cpu"
) -> Iterator[np.ndarray]:
    """Turn a video's frames into its fields of flow, one for every frame.

    Args:
        pieces_TYX3: the frames in order, uint8 RGB (T, Y, X, 3), in pieces of any length of at least 1.
        method: one of `tasks.data.flow.METHODS`.
        bound: displacement in pixels that the largest byte stands for.
        device: where Brox's method computes.

    Yields:
        uint8 (N, 2, Y, X), u then v, as `Quantised` has it: field t is the motion from frame t to frame t + 1, and the last
        one is there twice, or stands still in a video of one frame.
    """
    import numpy as np

    quantised = Quantised(bound=bound)
    last_frame_1YX3: np.ndarray | None = None
    newest_12YX: np.ndarray | None = None
    for piece_TYX3 in pieces_TYX3:
        known = [] if last_frame_1YX3 is None else [last_frame_1YX3]
        frames_TYX3 = np.concatenate([*known, piece_TYX3])
        last_frame_1YX3 = piece_TYX3[-1:]
        if len(frames_TYX3) < 2:
            continue
        on = device if method == "brox" else "cpu"
        fields_T2YX = quantised.quantise(flow_of(frames_TYX3, method, device=on))
        newest_12YX = fields_T2YX[-1:]
        yield fields_T2YX
    if last_frame_1YX3 is None:
        return
    if newest_12YX is None:
        still = np.zeros((1, 2, *last_frame_1YX3.shape[1:3]), dtype=np.float32)
        newest_12YX = quantised.quantise(still)
    yield newest_12YX


def stacks(
    pieces_TYX3: Iterable[np.ndarray], spec: FlowSpec, *, device: str = "cpu"
) -> Iterator[np.ndarray]:
    """Turn a video's frames into its flow stream.

    Args:
        pieces_TYX3: the frames in order, uint8 RGB (T, Y, X, 3), in pieces of any length of at least 1.
        spec: how.
        device: where Brox's method computes.

    Yields:
        float32 (N, Y, X, 2L) in pixels: u1, v1, u2, v2, ...; over all pieces as many as there are frames.
    """
    return stacked(fields(pieces_TYX3, spec.method, spec.bound, device=device), spec)


def stacked(pieces_T2YX: Iterable[np.ndarray], spec: FlowSpec) -> Iterator[np.ndarray]:
    """Stack a video's fields, whether they were made just now or are read from where they were kept.

    Args:
        pieces_T2YX: what `fields` yields, in pieces of any length: uint8, made with the method and bound of `spec`.
        spec: how many fields a stack has, and whether each loses its mean.

    Yields:
        what `stacks` yields of fields of the same bytes, bit for bit, in pieces that depend on those given.
    """
    quantised = Quantised(bound=spec.bound)
    waiting: list[np.ndarray] = []  # fields (2, Y, X) from the next stack's first on
    for piece_T2YX in pieces_T2YX:
        flow_T2YX = quantised.dequantise(piece_T2YX)
        if spec.subtract_mean:
            flow_T2YX = flow_T2YX - flow_T2YX.mean(axis=(2, 3), keepdims=True)
        waiting += list(flow_T2YX)
        ready = len(waiting) - spec.length + 1
        if ready > 0:
            yield _stacked(waiting, ready, spec.length)
            waiting = waiting[ready:]
    if waiting:
        left = len(waiting)
        yield _stacked([*waiting, *waiting[-1:] * (spec.length - 1)], left, spec.length)


def stored_stacks(
    store: FeatureStore, video: str, spec: FlowSpec, *, at_once: int = 32
) -> Iterator[np.ndarray]:
    """A video's flow stream from stored fields, as `stacks` makes it from frames.

    Bit for bit so where both find flow on one kind of device: Brox's method may round otherwise on a GPU than on a CPU.

    Args:
        store: fields of flow, as `tasks.flow_fields` keeps them.
        video: its id.
        spec: how; its method and bound have to be those of the store.
        at_once: fields that are read together.

    Yields:
        float32 (N, Y, X, 2L) in pixels; over all pieces as many as there are frames.

    Raises:
        LookupError: when the store has no such video.
        ValueError: when the store holds no flow, or flow of another method or bound.
        StoreDamaged: when a file of the store ends too early.
    """
    made_of = store.plan.made_of
    for name, wanted in (("method", spec.method), ("bound", spec.bound)):
        if made_of.get(name) != wanted:
            raise ValueError(
                f"{store.folder.name} holds flow with {name}={made_of.get(name)}, and {wanted} was asked for: name another "
                "store, or make it with `harness run flow`"
            )
    rows, columns = size_of(store.plan)
    num_frames = store.num_frames(video)

    def read() -> Iterator[np.ndarray]:
        for start in range(0, num_frames, at_once):
            levels_TD = store.window(video, start, min(at_once, num_frames - start))
            yield levels_TD.reshape(-1, 2, rows, columns)

    return stacked(read(), spec)


def size_of(plan: StorePlan) -> tuple[int, int]:
    """Rows and columns of the fields of a store of flow.

    Raises:
        ValueError: when it holds no flow.
    """
    match plan.made_of.get("size"):
        case [int(rows), int(columns)] if (
            rows > 0 and plan.dtype == "uint8" and plan.frame_size == 2 * rows * columns
        ):
            return rows, columns
    raise ValueError(
        f"the store {plan.identity[:12]} holds no fields of flow: name one that `harness run flow` has made"
    )


def _stacked(fields: list[np.ndarray], number: int, length: int) -> np.ndarray:
    """The first stacks of some fields (2, Y, X): (number, Y, X, 2 length)."""
    import numpy as np

    stacks_NCYX = np.stack(
        [np.concatenate(fields[start : start + length]) for start in range(number)]
    )
    return stacks_NCYX.transpose(0, 2, 3, 1)
