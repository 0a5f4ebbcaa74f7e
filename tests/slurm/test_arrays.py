"""Jobs as arrays: what goes together, what waits for what."""

from slurm.arrays import MOST_GROUPS, MOST_PACKED, Array, shape
from slurm.job import Job


def tasks(arrays: list[Array]) -> list[list[str]]:
    return [sorted(sum(array.tasks, ())) for array in arrays]


def test_equal_needs_are_one_array_and_others_wait_for_the_very_task() -> None:
    jobs = [
        *(Job(id=f"plain{i}") for i in range(5)),
        Job(id="first"),
        Job(id="second"),
        *(Job(id=f"of-first{i}", needs=("first",)) for i in range(3)),
        *(Job(id=f"of-second{i}", needs=("second", "done-long-ago")) for i in range(2)),
    ]
    arrays = shape(jobs, sent={})
    assert tasks(arrays) == [
        [f"plain{i}" for i in range(5)],
        ["first", "second"],
        [f"of-first{i}" for i in range(3)],
        [f"of-second{i}" for i in range(2)],
    ]
    place = {task: (array.name, i) for array in arrays for i, task in enumerate(array.tasks)}
    assert [array.after for array in arrays] == [(), (), (place["first",],), (place["second",],)]
    assert all(array.only_if_ok for array in arrays)


def test_what_others_need_travels_alone_even_when_packing_is_asked_for() -> None:
    arrays = shape([Job(id="a"), Job(id="b"), Job(id="c", needs=("a", "b"))], sent={}, pack=10)
    assert arrays[0].tasks == (("a",), ("b",))


def test_small_jobs_are_packed_until_a_task_takes_two_minutes() -> None:
    small = shape([Job(id=str(i), cost=0.5) for i in range(1000)], sent={})
    assert max(map(len, small[0].tasks)) == MOST_PACKED
    assert len(small[0].tasks) == 10
    big = shape([Job(id=str(i), cost=500) for i in range(7)], sent={})
    assert [len(task) for task in big[0].tasks] == [1] * 7
    asked = shape([Job(id=str(i), cost=500) for i in range(7)], sent={}, pack=3)
    assert [len(task) for task in asked[0].tasks] == [3, 3, 1]


def test_jobs_that_go_together_share_a_task_however_long_they_take_where_that_is_asked() -> None:
    jobs = [
        *(Job(id=f"a{i}", cost=500, together="a") for i in range(5)),
        *(Job(id=f"b{i}", cost=500, together="b") for i in range(2)),
        *(Job(id=f"c{i}", cost=500) for i in range(2)),
    ]
    (apart,) = shape(jobs, sent={})
    assert [len(task) for task in apart.tasks] == [1] * 9
    (asked,) = shape(jobs, sent={}, together=3)
    assert sorted(asked.tasks) == [
        ("a0", "a1", "a2"), ("a3", "a4"), ("b0", "b1"), ("c0",), ("c1",)
    ]  # fmt: skip
    (packed,) = shape(jobs, sent={}, together=3, pack=2)
    assert max(map(len, packed.tasks)) == 2


def test_no_job_is_lost_or_doubled_at_the_sites_limit() -> None:
    arrays = shape([Job(id=str(i)) for i in range(25)], sent={}, pack=1, array_limit=10)
    assert [len(array.tasks) for array in arrays] == [10, 10, 5]
    assert sorted(job for array in tasks(arrays) for job in array) == sorted(
        str(i) for i in range(25)
    )


def test_needs_that_were_sent_before_are_waited_for_by_slurms_id() -> None:
    (array,) = shape([Job(id="b", needs=("a",))], sent={"a": "17_4"})
    assert array.after_sent == ("17_4",)
    assert array.only_if_ok


def test_too_many_different_needs_become_one_array_that_no_failure_cancels() -> None:
    many = MOST_GROUPS + 5
    jobs = [Job(id=f"a{i}") for i in range(many)]
    jobs += [Job(id=f"b{i}", needs=(f"a{i}",)) for i in range(many)]
    first, second = shape(jobs, sent={})
    assert second.after == ((first.name, None),)
    assert not second.only_if_ok
    assert len(sum(second.tasks, ())) == many


def test_ranks_and_nodes_have_arrays_of_their_own() -> None:
    arrays = shape([Job(id="one"), Job(id="four", ranks=4, nodes=2)], sent={})
    assert {(array.ranks, array.nodes) for array in arrays} == {(1, 1), (4, 2)}


def test_ten_thousand_jobs_are_eleven_arrays_that_hold_each_once() -> None:
    jobs = [Job(id="a"), *(Job(id=str(i), needs=("a",)) for i in range(10_000))]
    arrays = shape(jobs, sent={}, pack=1)
    assert [len(array.tasks) for array in arrays] == [1, *[1000] * 10]
    assert {job for array in arrays for (job,) in array.tasks} == {job.id for job in jobs}


def test_jobs_of_several_nodes_are_never_packed() -> None:
    (array,) = shape([Job(id=str(i), ranks=2, nodes=2) for i in range(3)], sent={}, pack=3)
    assert array.tasks == (("0",), ("1",), ("2",))
