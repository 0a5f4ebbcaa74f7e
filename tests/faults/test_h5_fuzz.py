"""Damaged and hostile HDF5 files, lists and stores of features: each is refused by name, or a legitimate file."""

from tests.faults.fuzz_files import fuzz, told_by_a_child
from tests.faults.fuzzed import SUBJECTS

COUNT = 9 * 90


def test_no_altered_file_of_features_is_a_crash_a_hang_or_a_wrong_number() -> None:
    found = fuzz(8, COUNT, [name for name in SUBJECTS if not name.startswith(".")])
    assert found.faults == []
    assert found.counts.total() == COUNT
    assert found.of("refused") > COUNT / 2


def test_files_that_crash_libhdf5_are_refused_all_the_same() -> None:
    """With these, libhdf5 2.0 ends its process by SIGSEGV: in the program, one that nothing else depends on."""
    crashing = [("HDF5, packed", number) for number in (241, 386, 1108, 3721)]
    assert told_by_a_child(11, crashing, whole=True) == ["refused"] * 4
