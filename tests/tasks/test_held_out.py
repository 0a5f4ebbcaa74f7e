"""Which videos are held out: whole groups, by the lists where there are some, and the same ones every time."""

from dataclasses import replace
from hashlib import sha256

import pytest

from tasks.data.held_out import sides
from tasks.data.sheet import Split
from tests.tasks.patch_sets import listed_index

GROUPS = {f"v{number:03d}": f"g{number // 4}" for number in range(100)}


def test_of_a_set_with_splits_the_test_list_of_the_first_is_held_out() -> None:
    test = tuple(v for v, group in GROUPS.items() if group in ("g3", "g7"))
    train = tuple(v for v, group in GROUPS.items() if group not in ("g3", "g7", "g8", "g9"))
    unused = tuple(v for v, group in GROUPS.items() if group in ("g8", "g9"))
    index = listed_index(GROUPS, {2: Split(train=test, test=train), 1: Split(train=train, test=test)})  # fmt: skip
    found = sides(index)
    assert found.held_out == test
    assert found.train == tuple(sorted(train + unused))  # unlabelled use is no matter of lists
    assert found.rule == "those of the test list of split 1"


def test_a_video_on_no_list_whose_group_is_tested_is_not_trained_on() -> None:
    groups = {"a": "g1", "b": "g2", "c": "g2", "d": ""}
    index = listed_index(groups, {1: Split(train=("a",), test=("b",))})
    assert sides(index).train == ("a", "d")
    assert sides(index).held_out == ("b",)


def test_videos_without_a_group_are_each_for_themselves() -> None:
    index = listed_index(dict.fromkeys("abcd", ""), {1: Split(train=("a", "b"), test=("c", "d"))})
    assert sides(index).train == ("a", "b")


def test_without_splits_one_group_in_ten_is_held_out_by_a_hash_of_its_name() -> None:
    found = sides(listed_index(GROUPS, {}))
    order = sorted(
        set(GROUPS.values()), key=lambda group: sha256(f"held out\n{group}".encode()).hexdigest()
    )
    assert {GROUPS[video] for video in found.held_out} == set(order[:2])  # of 25
    assert len(found.held_out) == 8
    assert set(found.train) | set(found.held_out) == set(GROUPS)
    assert not {GROUPS[v] for v in found.train} & {GROUPS[v] for v in found.held_out}
    assert found.rule.startswith("those of 2 of 25 groups")


def test_neither_the_sets_name_nor_how_many_videos_a_group_has_alters_what_is_held_out() -> None:
    index = listed_index(GROUPS, {})
    assert sides(replace(index, name="other")) == sides(index)
    held_out = {GROUPS[video] for video in sides(index).held_out}
    fewer = {
        video: group for video, group in GROUPS.items() if int(video[1:]) % 4 or video > "v050"
    }
    assert {fewer[video] for video in sides(listed_index(fewer, {})).held_out} == held_out


@pytest.mark.parametrize("count", [2, 5, 9, 10, 19, 20])
def test_at_least_one_group_is_held_out_and_at_least_one_is_not(count: int) -> None:
    found = sides(listed_index({f"v{k}": "" for k in range(count)}, {}))
    assert len(found.held_out) == max(1, count // 10)
    assert len(found.train) == count - len(found.held_out)


def test_a_set_of_one_group_cannot_be_parted() -> None:
    with pytest.raises(ValueError, match=r"all videos of listed are of one group, so none can be held out.*--groups"):  # fmt: skip
        sides(listed_index({"a": "g", "b": "g"}, {}))


def test_lists_that_leave_nothing_to_train_on_are_refused() -> None:
    index = listed_index({"a": "g", "b": "g"}, {1: Split(train=("a",), test=("b",))})
    with pytest.raises(ValueError, match="0 videos are left to train on and 1 are held out"):
        sides(index)
