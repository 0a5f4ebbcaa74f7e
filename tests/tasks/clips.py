"""Video files for tests, tiny ones."""

import os
import struct
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from tasks.data.survey import Surveyed, look_at


def write_clip(
    path: Path,
    num_frames: int = 20,
    *,
    height: int = 32,
    width: int = 48,
    fps: int = 25,
    codec: str = "mpeg4",
    options: dict[str, str] | None = None,
    fillers: int = 0,
    gap: int = 0,
    seed: int = 0,
) -> Path:
    """Write a clip whose frame k is on average grey of level `grey(k)`, with noise upon it.

    Args:
        path: the file; its ending says the container.
        num_frames: frames that show something.
        height: rows of pixels.
        width: columns of pixels.
        fps: frames a second.
        codec: FFmpeg's name of an encoder.
        options: of the encoder.
        fillers: packets of one byte in front, as some writers of AVI make them.
        gap: frames of time after the fifth packet in which nothing is shown; AVI fills it with empty packets.
        seed: of the noise, so that clips differ.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=fps, options=options or {})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.thread_count = 1
        packets = []
        random = np.random.default_rng(seed)
        for number in range(num_frames):
            noise_YX1 = random.integers(-20, 21, (height, width, 1))
            image_YXC = np.broadcast_to(grey(number) + noise_YX1, (height, width, 3)).astype(
                np.uint8
            )
            packets += stream.encode(av.VideoFrame.from_ndarray(image_YXC, format="rgb24"))
        packets += stream.encode()
        for number in range(fillers):
            filler = av.Packet(b"\x7f")
            filler.stream, filler.time_base = stream, Fraction(1, fps)
            filler.pts = filler.dts = number
            container.mux(filler)
        for number, packet in enumerate(packets):
            later = fillers + (gap if number > 4 else 0)
            if later:
                packet.pts, packet.dts = (packet.pts or 0) + later, (packet.dts or 0) + later
            container.mux(packet)
    return path


def grey(number: int) -> int:
    """The level of frame `number`: any two of 25 in a row differ by at least 8."""
    return 32 + 8 * (number % 25)


def claim_more(path: Path, frames: int) -> None:
    """Make an AVI's header claim more frames than there are."""
    content = bytearray(path.read_bytes())
    length = content.index(b"strh") + 8 + 32  # after the name and size of the chunk: dwLength
    total = content.index(b"avih") + 8 + 16  # dwTotalFrames
    for place in (length, total):
        (before,) = struct.unpack_from("<I", content, place)
        struct.pack_into("<I", content, place, before + frames)
    path.write_bytes(bytes(content))


def truncate(path: Path, share: float = 0.6) -> None:
    """Keep the beginning of a file only."""
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])


def look_or_die(path: Path, *, progress: Callable[[], object] = bool) -> Surveyed:
    """As `look_at`, but deadly.avi takes its process along, and endless.avi makes no progress for ever."""
    if path.name == "deadly.avi":
        os._exit(11)
    if path.name == "endless.avi":
        progress()
        while True:
            time.sleep(1)
    return look_at(path, progress=progress)
