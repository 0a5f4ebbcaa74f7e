"""What can be fetched from the internet: where it is, and by which bytes a file is known to be the right one."""

import gzip
import hashlib
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from tasks.data.root import folder_of

CHUNK_BYTES = 2**20
GZIP = b"\x1f\x8b"


@dataclass(frozen=True, kw_only=True, slots=True)
class Unpacked:
    """What is in a gzipped file. A mirror may have packed it anew: then this is the same, and the packed bytes are not."""

    num_bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class OnlineFile:
    """One file, by the bytes it must have."""

    name: str
    num_bytes: int
    sha256: str
    unpacked: Unpacked | None = None
    """Where this is given, a file of this content is right as well, packed in another way or not at all."""

    @property
    def most_bytes(self) -> int:
        """No right file is longer."""
        return max(self.num_bytes, self.unpacked.num_bytes if self.unpacked else 0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Fetchable:
    """Files that are fetched by one name."""

    meaning: str
    folder: str
    """Below the data root."""
    files: tuple[OnlineFile, ...]
    mirrors: tuple[str, ...]
    """Base URLs, asked in this order; the name of a file comes behind."""


FETCHABLE = {
    "mnist": Fetchable(
        meaning="MNIST's digits, 60,000 to train and 10,000 to test, images only",
        folder="mnist",
        files=(
            OnlineFile(
                name="train-images-idx3-ubyte.gz",
                num_bytes=9_912_422,
                sha256="440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
                unpacked=Unpacked(
                    num_bytes=47_040_016,
                    sha256="ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
                ),
            ),
            OnlineFile(
                name="t10k-images-idx3-ubyte.gz",
                num_bytes=1_648_877,
                sha256="8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
                unpacked=Unpacked(
                    num_bytes=7_840_016,
                    sha256="0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
                ),
            ),
        ),
        mirrors=(
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
            "http://yann.lecun.com/exdb/mnist/",
        ),
    ),
    "moving-mnist-test": Fetchable(
        meaning="the official test sequences of Moving MNIST, 10,000 of 20 frames",
        folder="mnist",
        files=(
            # The checksum is known from one publication of the file only, not from the authors.
            OnlineFile(
                name="mnist_test_seq.npy",
                num_bytes=819_200_096,
                sha256="c2a3e8d3939c001ab77bf543f130157424efa486bb4d0974d2cebb773b13f8b3",
            ),
        ),
        mirrors=("http://www.cs.toronto.edu/~nitish/unsupervised_video/",),
    ),
}
"""All that can be fetched, by name."""


def place_of(name: str) -> Path:
    """The folder that files fetched by this name lie in."""
    return folder_of(FETCHABLE[name].folder)


def what_is_wrong(path: Path, file: OnlineFile) -> str:
    """Why a file is not the one that is wanted, or an empty string where it is.

    Raises:
        OSError: when it cannot be read.
    """
    size = path.stat().st_size
    with path.open("rb") as source:
        found = _sha256(source, file.most_bytes)
        if found == file.sha256 or (file.unpacked and found == file.unpacked.sha256):
            return ""
        source.seek(0)
        if file.unpacked and source.read(2) == GZIP:
            source.seek(0)
            if _sha256_unpacked(source, file.unpacked) == file.unpacked.sha256:
                return ""
    if size != file.num_bytes:
        plain = f" ({file.unpacked.num_bytes:,} unpacked)" if file.unpacked else ""
        return f"it has {size:,} bytes and should have {file.num_bytes:,}{plain}"
    return f"its sha256 is {found[:12]}... and should be {file.sha256[:12]}..."


def _sha256_unpacked(packed: BinaryIO, unpacked: Unpacked) -> str:
    try:
        with gzip.GzipFile(fileobj=packed) as source:
            return _sha256(source, unpacked.num_bytes)
    except (EOFError, zlib.error, gzip.BadGzipFile):
        return ""


def _sha256(source: "BinaryIO | gzip.GzipFile", most_bytes: int) -> str:
    """Of all bytes, or of one more than a right file has: what goes on behind its end is not read."""
    digest, left = hashlib.sha256(), most_bytes + 1
    while chunk := source.read(min(CHUNK_BYTES, left)):
        digest.update(chunk)
        left -= len(chunk)
    return digest.hexdigest()
