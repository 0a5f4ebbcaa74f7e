"""From a video file to frames: whether it is whole, and its pictures upright and in order.

The decoder is FFmpeg's, through PyAV. What containers say of themselves is not believed: frames are counted as they
come out. Pictures keep the decoder's order, which is that of showing them; time stamps are not sorted by, since those
of AVI files with B-frames (all of UCF-101) are not in order. One thread a clip: clips are decoded side by side.

Shapes: T frames, Y and X rows and columns of pixels, C = 3 colours (red, green, blue).
"""

from __future__ import annotations

import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream
    from numpy.typing import NDArray

VERSION = 2
"""Changed whenever `examine` may say something else about the same file: remembered answers are then asked again."""

MAX_SHORTFALL = 1
"""Frames that a whole file may lack of what its container claims: many writers count one too many."""

MOST_PIXELS = 2**25
"""Of a frame: 8K video (7,680 x 4,320) has fewer. A few bytes can claim more, and gigabytes with them."""

FORMATS = (
    "avi", "mov", "mp4", "m4a", "3gp", "3g2", "mj2", "matroska", "webm", "mpeg", "mpegvideo", "mpegts", "asf", "flv", "ogg",
    "h264", "hevc", "m4v",
)  # fmt: skip
"""FFmpeg's names of the containers that are read. None of them is a list of other files, as concat, HLS and DASH are: what a file
shows is in its own bytes, whoever made it."""

_ROOM = 2**20
"""Pixels that a decoder may fill a frame up with beyond MOST_PIXELS: rows are made longer, to a multiple of 64."""

_DURATION = re.compile(r"(\d{1,6}):(\d{1,2}):(\d{1,2}(?:\.\d{1,12})?)", re.ASCII)

_FILLER_BYTES = 1
"""AVI writers fill gaps, and the delay of an encoder with B-frames, by packets of at most one byte, which show nothing
new; the container counts them as frames, and no frame is lost when none comes out."""


class UnreadableVideo(ValueError):
    """A file that frames cannot be read from; the sentence says which and why."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Examined:
    """What one decoding of a whole file found."""

    num_frames: int
    """Frames that came out of the decoder."""
    claimed: int
    """Frames that the container claims to hold, fillers left out; 0 where it claims nothing."""
    fps: float
    """Frames a second; 0 if unknown."""
    height: int
    """Rows of pixels of an upright frame."""
    width: int
    """Columns of pixels of an upright frame."""
    duration: float
    """Seconds: frames decoded over frames a second, or the container's claim where the rate is unknown."""
    problem: str
    """Why the file is not whole, as one sentence; empty if it is."""


def examine(path: Path, *, progress: Callable[[], object] = bool) -> Examined:
    """Decode every frame of a file once and say what is there.

    A file is whole when its pictures come out without an error or a mark of corruption, all of one size, and at most
    MAX_SHORTFALL fewer than the container claims. Where the container gives a duration and no count (Matroska), a
    shortfall must show in the time of the last picture as well: the frame rate may vary.

    Args:
        path: the file.
        progress: called before the file is opened, and after every packet that has bytes; a decoder that hangs does not call it.

    Raises:
        OSError: when the file cannot be opened; contents that are no video are a `problem`.
    """
    import av

    progress()
    if not _is_file(path):
        return _nothing("it is no file, but a pipe or a device")
    try:
        container = _open(path)
    except (av.FFmpegError, ValueError, ArithmeticError, MemoryError) as error:
        return _nothing(f"it is no video that FFmpeg can open ({_reason(error)})")
    with container:
        unfit = _unfit(container)
        if unfit:
            return _nothing(unfit)
        return _decode_all(container, container.streams.video[0], progress)


def _decode_all(
    container: InputContainer, stream: VideoStream, progress: Callable[[], object]
) -> Examined:
    import av

    num_frames = filler = corrupt_packets = corrupt_frames = 0
    first_error = change = ""
    last: VideoFrame | None = None
    size = (0, 0)
    rotation = 0
    fills, before = container.format.name == "avi", -1
    try:
        for packet in container.demux(stream):
            if packet.size:
                progress()
            corrupt_packets += packet.is_corrupt
            if fills and packet.dts is not None:
                # Time counts frames in an AVI, and empty packets pass without being seen.
                filler += max(0, packet.dts - before - 1)
                before = packet.dts
                if _is_filler(packet):
                    filler += 1
                    continue
            try:
                frames = packet.decode()
            except (av.FFmpegError, MemoryError) as error:
                first_error = first_error or f"after frame {num_frames}: {_reason(error)}"
                continue
            for frame in frames:
                if last is None:
                    size, rotation = (frame.height, frame.width), frame.rotation
                elif (frame.height, frame.width) != size and not change:
                    change = (
                        f"its frames change from {size[0]} x {size[1]} to {frame.height} x {frame.width} "
                        f"at frame {num_frames + 1}"
                    )
                corrupt_frames += frame.is_corrupt
                num_frames += 1
                last = frame
    except (av.FFmpegError, ValueError, ArithmeticError, MemoryError) as error:
        first_error = first_error or f"after frame {num_frames}: {_reason(error)}"
    rate = stream.average_rate or stream.guessed_rate
    fps = float(rate) if rate and rate > 0 else 0.0
    counted = max(0, stream.frames - filler)
    seconds = _claimed_seconds(container, stream)
    claimed = counted or round(seconds * fps)
    short = claimed - num_frames > MAX_SHORTFALL
    if short and not counted and last is not None and last.time is not None and fps:
        short = seconds - last.time > (1 + MAX_SHORTFALL + 0.5) / fps
    found = []
    if num_frames == 0:
        found.append("no frame can be decoded")
    elif short:
        found.append(f"its container claims {claimed} frames, but {num_frames} can be decoded")
    if first_error:
        found.append(f"the decoder fails {first_error}")
    if corrupt_frames or corrupt_packets:
        found.append(f"corrupt frames: {corrupt_frames}, corrupt packets: {corrupt_packets}")
    if change:
        found.append(change)
    height, width = size if rotation % 180 == 0 else size[::-1]
    return Examined(
        num_frames=num_frames,
        claimed=claimed,
        fps=fps,
        height=height,
        width=width,
        duration=num_frames / fps if fps else seconds,
        problem="; ".join(found),
    )


def read_frames(path: Path, *, size: tuple[int, int] | None = None) -> Iterator[NDArray[np.uint8]]:
    """All frames of a file, one after the other: uint8 RGB (Y, X, 3), upright, in the order of showing them.

    Resizing and conversion to RGB are one pass of FFmpeg's scaler with its bilinear filter, which widens with the
    factor when it shrinks (so nothing aliases); sizes are kept exactly as asked, aspect ratio or not. Upright means
    turned as the container's display matrix says, by the first frame's, to the nearest quarter turn.

    Args:
        path: the file.
        size: rows and columns of the frames wanted; None for those of the file.

    Raises:
        UnreadableVideo: when the file is no video, its frames are larger than MOST_PIXELS, or where the decoder fails in the middle
            of it.
        ValueError: for a size below 1.
        OSError: when the file cannot be opened.
    """
    if size is not None and min(size) < 1:
        raise ValueError(f"size={size}: frames have at least one row and one column of pixels")
    return _read(path, size)


def _read(path: Path, size: tuple[int, int] | None) -> Iterator[NDArray[np.uint8]]:
    import av
    import numpy as np
    from av.video.reformatter import Interpolation, VideoReformatter

    if not _is_file(path):
        raise UnreadableVideo(f"{path} is no file, but a pipe or a device")
    shown = 0
    try:
        with _open(path) as container:
            stream = _video_of(path, container)
            scale = VideoReformatter().reformat  # one for all frames: it keeps its tables
            rows = columns = None
            quarters = 0
            fills = container.format.name == "avi"
            for packet in container.demux(stream):
                if fills and _is_filler(packet):
                    continue
                for frame in packet.decode():
                    if not shown:
                        quarters = round(frame.rotation / 90) % 4
                        if size is not None:
                            rows, columns = size if quarters % 2 == 0 else size[::-1]
                    shown += 1
                    frame_YXC = np.asarray(
                        scale(
                            frame,
                            columns,
                            rows,
                            "rgb24",
                            interpolation=Interpolation.BILINEAR,
                            threads=1,  # else a thread a core for every file: more time than small frames take
                        ).to_ndarray(),
                        dtype=np.uint8,
                    )
                    yield (
                        np.ascontiguousarray(np.rot90(frame_YXC, quarters))
                        if quarters
                        else frame_YXC
                    )
    except UnreadableVideo:
        raise
    except (av.FFmpegError, ValueError, ArithmeticError, MemoryError) as error:
        where = f"after frame {shown}" if shown else "at its beginning"
        raise UnreadableVideo(f"{path} cannot be decoded {where}: {_reason(error)}") from error


def _is_file(path: Path) -> bool:
    """Whether a path leads to a file, and not to something that may never end or answer.

    Raises:
        OSError: when the file is missing or may not be read: that is no damaged video.
    """
    if not (stat.S_ISREG(path.stat().st_mode) or path.is_dir()):
        return False
    with path.open("rb"):
        return True


def _open(path: Path) -> InputContainer:
    """Open a file of one of FORMATS by what it holds, and nothing that it may name.

    Raises:
        av.FFmpegError: for a file that is of none of them.
    """
    import av

    return av.open(
        # Whole: of a relative name FFmpeg takes what stands before a colon for a protocol.
        str(path.absolute()),
        metadata_errors="replace",  # titles of old files are in any encoding
        container_options={"format_whitelist": ",".join(FORMATS), "protocol_whitelist": "file"},
        options={
            "max_pixels": str(MOST_PIXELS + _ROOM)
        },  # of the decoders that look at the first frames
    )


def _unfit(container: InputContainer) -> str:
    """Why the first video stream cannot be decoded; otherwise its decoder is made ready, with one thread."""
    if not container.streams.video:
        return "it has no video stream"
    # PyAV's stubs have a context for every stream, but one of an unknown codec comes without.
    context = getattr(container.streams.video[0], "codec_context", None)
    if context is None:
        return "there is no decoder for its video stream"
    if context.width * context.height > MOST_PIXELS:
        return f"its frames of {context.height} x {context.width} have more than {MOST_PIXELS:,} pixels"
    context.options = {"max_pixels": str(MOST_PIXELS + _ROOM)}  # frames may grow on the way
    context.thread_count = 1
    return ""


def _video_of(path: Path, container: InputContainer) -> VideoStream:
    unfit = _unfit(container)
    if unfit:
        raise UnreadableVideo(f"{path} cannot be decoded: {unfit}")
    return container.streams.video[0]


def _is_filler(packet: Packet[VideoStream]) -> bool:
    """Whether a packet of an AVI shows nothing new. In other containers one byte may well show a frame."""
    # The packet that flushes the decoder at the end is empty and has no time.
    return packet.size <= _FILLER_BYTES and packet.dts is not None


def _claimed_seconds(container: InputContainer, stream: VideoStream) -> float:
    """How long the video stream is, as the container says; 0 if it does not."""
    told = _DURATION.fullmatch(stream.metadata.get("DURATION", ""))
    if told:  # Matroska: a tag of the stream, "00:00:10.333000000"
        return int(told[1]) * 3600 + int(told[2]) * 60 + float(told[3])
    if stream.duration is not None and stream.time_base is not None:
        return max(0.0, float(stream.duration * stream.time_base))
    if container.duration is not None and len(container.streams) == 1:
        return max(0.0, container.duration / 1e6)  # libav counts it in microseconds
    return 0.0  # a sound track may be longer than the pictures


def _nothing(problem: str) -> Examined:
    return Examined(
        num_frames=0, claimed=0, fps=0.0, height=0, width=0, duration=0.0, problem=problem
    )


def _reason(error: Exception) -> str:
    told = str(getattr(error, "strerror", None) or error) or type(error).__name__
    return " ".join(told.split())
