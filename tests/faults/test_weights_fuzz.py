"""Damaged and hostile files of weights: each is refused by name, or a legitimate file."""

from tests.faults.fuzz_files import fuzz
from tests.faults.fuzzed import SUBJECTS

COUNT = 8 * 80


def test_no_altered_file_of_weights_is_a_crash_a_hang_or_a_wrong_number() -> None:
    found = fuzz(8, COUNT, [name for name in SUBJECTS if name.startswith(".")])
    assert found.faults == []
    assert found.counts.total() == COUNT
    assert found.of("refused") > COUNT / 2
