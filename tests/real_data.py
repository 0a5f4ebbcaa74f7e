"""Real data for tests: in ../shared/data beside the repository, or where HARNESS_TEST_DATA says."""

import os
from pathlib import Path

import pytest

BESIDE = Path(__file__).parents[2] / "shared" / "data"


def real_data(*parts: str) -> Path:
    """The place of a file or folder of the real data; where it is not, the test is skipped."""
    path = Path(os.environ.get("HARNESS_TEST_DATA") or BESIDE).joinpath(*parts)
    if not path.exists():
        pytest.skip(f"{path} is not here: HARNESS_TEST_DATA says where real data are")
    return path
