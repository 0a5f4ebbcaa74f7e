"""Damaged and hostile HDF5 files, lists and stores of features: each is refused by name, or a legitimate file."""

from tests.faults.fuzz_files import fuzz
from tests.faults.fuzzed import SUBJECTS

COUNT = 9 * 90


def test_no_altered_file_of_features_is_a_crash_a_hang_or_a_wrong_number() -> None:
    found = fuzz(8, COUNT, [name for name in SUBJECTS if not name.startswith(".")])
    assert found.faults == []
    assert found.counts.total() == COUNT
    assert found.of("refused") > COUNT / 2
