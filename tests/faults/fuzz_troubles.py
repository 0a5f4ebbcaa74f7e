"""As fuzz_media, but what reads some kinds of files crashes, hangs, takes all memory or fails."""

import os
import sys
import time
from pathlib import Path

from tests.faults import fuzz_media, media_inputs


def crashes(path: Path) -> str:
    os.abort()


def hangs(path: Path) -> str:
    while True:
        time.sleep(1)


def takes_memory(path: Path) -> str:
    return str(len(bytearray(2**34)))


def fails(path: Path) -> str:
    raise KeyError("videos")


if __name__ == "__main__":
    fuzz_media.LIMIT_S = 1
    troubles = {"toml": crashes, "npy": hangs, "idx": takes_memory, "index": fails}
    well = dict.fromkeys(media_inputs.KINDS, lambda path: "taken")
    fuzz_media.main(Path(sys.argv[1]), *map(int, sys.argv[2:5]), tries={**well, **troubles})
