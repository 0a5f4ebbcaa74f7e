"""Altered files of every kind, as many as are wanted: `python -m tests.faults.fuzz SEED COUNT`.

Half are media, lists and indexes (fuzz_media), half HDF5, stores and weights (fuzz_files). What came of them is printed; the exit code is
1 if any was a crash, a hang, a traceback, a wrong number or memory without bound, and inputs of the first half that were are kept.
"""

import sys
import tempfile
from pathlib import Path

from tests.faults import fuzz_files, fuzz_media


def main(seed: int, count: int) -> int:
    """Try them; returns the exit code."""
    kept = Path(tempfile.mkdtemp(prefix="fuzz-kept-"))
    ended = fuzz_media.fuzz(seed, count // 2, kept=kept)
    found = fuzz_files.fuzz(seed, count - count // 2)
    wrong = fuzz_media.bad(ended)
    sys.stdout.write(f"media, lists, indexes: {dict(sorted(ended.items()))}\n")
    sys.stdout.write(f"HDF5, stores, weights: {found.counts}\n")
    if wrong:
        sys.stdout.write(f"WRONG: {wrong}; kept in {kept}\n")
    else:
        kept.rmdir()
    for fault in found.faults:
        sys.stdout.write(f"WRONG: {fault}\n")
    return int(bool(wrong or found.faults))


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2])))
