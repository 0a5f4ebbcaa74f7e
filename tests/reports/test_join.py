"""Every way in which scores and cells can disagree is a sentence, and a missing score stays visible."""

import dataclasses
import math

import pytest

from reports.evidence import Evidence
from reports.join import every_score, join, metrics, missing

VIDEO = "video_accuracy"
HERE = ("digits", "LSTM classifier", "1", 1, 0)
THERE = ("digits", "LSTM classifier", "1", 1, 1)


def with_row(evidence: Evidence, **changes: object) -> Evidence:
    """The evidence with its first row changed."""
    first = {**evidence.rows[0], **changes}
    return dataclasses.replace(evidence, rows=(first, *evidence.rows[1:]))


def test_a_cell_without_a_score_stays_as_an_empty_line(build):
    frame = join(build({HERE: 50.0, THERE: None}), VIDEO)
    assert list(frame["resample"]) == [0, 1]
    assert frame["value"][0] == 50.0
    assert math.isnan(frame["value"][1])


def test_a_score_of_a_cell_that_is_not_expected_is_refused(build):
    with pytest.raises(ValueError, match=r"cell stranger, which fig12 does not expect"):
        join(with_row(build({HERE: 50.0}), cell="stranger"), VIDEO)


def test_two_scores_of_one_cell_and_metric_are_refused_and_both_runs_named(build):
    evidence = build({HERE: 50.0})
    twice = dataclasses.replace(
        evidence, rows=(*evidence.rows, {**evidence.rows[0], "run": "second"})
    )
    with pytest.raises(ValueError, match=r"two scores of video_accuracy \(runs .*#1 and second\)"):
        join(twice, VIDEO)


@pytest.mark.parametrize("value", [math.nan, math.inf, None, "50", True])
def test_a_value_that_is_not_a_finite_number_is_refused_and_never_averaged(build, value):
    with pytest.raises(ValueError, match="never average a hole"):
        join(with_row(build({HERE: 50.0}), value=value), VIDEO)


def test_a_row_that_contradicts_its_cell_is_refused(build):
    with pytest.raises(
        ValueError, match=r"says method 'other', but the cell's is 'LSTM classifier'"
    ):
        join(with_row(build({HERE: 50.0}), method="other"), VIDEO)


def test_a_row_without_a_value_is_refused(build):
    evidence = build({HERE: 50.0})
    bare = {"cell": evidence.rows[0]["cell"], "metric": VIDEO}
    with pytest.raises(ValueError, match="does not say its value"):
        join(dataclasses.replace(evidence, rows=(bare,)), VIDEO)


def test_a_metric_that_no_score_has_is_refused_with_the_names_that_exist(build):
    with pytest.raises(
        ValueError, match=r"no score is named 'acuracy'; the scores here are video_acc"
    ):
        join(build({HERE: 50.0}), "acuracy")


def test_before_anything_has_finished_any_metric_may_be_asked_for(build):
    assert join(build({HERE: None}), "whatever")["value"].isna().all()


def test_a_cell_expected_twice_is_refused(build):
    evidence = build({HERE: None})
    with pytest.raises(ValueError, match="is expected twice"):
        join(dataclasses.replace(evidence, expected=evidence.expected * 2), VIDEO)


def test_two_cells_at_the_same_place_are_refused_instead_of_averaged(build):
    evidence = build({HERE: None})
    double = {**evidence.expected[0], "cell": "another"}
    with pytest.raises(ValueError, match="both stand at"):
        join(dataclasses.replace(evidence, expected=(*evidence.expected, double)), VIDEO)


@pytest.mark.parametrize("labels", [0, -1.0, math.nan, "ten", True])
def test_a_cell_with_an_impossible_number_of_videos_is_refused(build, labels):
    evidence = build({HERE: None})
    cell = {**evidence.expected[0], "labels_per_class": labels}
    with pytest.raises(ValueError, match="a number of videos above 0"):
        join(dataclasses.replace(evidence, expected=(cell,)), VIDEO)


def test_a_cell_that_does_not_say_where_it_stands_is_refused(build):
    evidence = build({HERE: None})
    cell = {key: value for key, value in evidence.expected[0].items() if key != "split"}
    with pytest.raises(ValueError, match="does not say its split"):
        join(dataclasses.replace(evidence, expected=(cell,)), VIDEO)


def test_shots_given_as_a_number_are_refused_because_published_values_are_found_by_text(build):
    evidence = build({HERE: None})
    cell = {**evidence.expected[0], "shots": 1}
    with pytest.raises(TypeError, match="has shots 1; it is a text"):
        join(dataclasses.replace(evidence, expected=(cell,)), VIDEO)


def test_one_metric_in_two_units_is_refused(build):
    evidence = build({HERE: 50.0, THERE: 51.0})
    with pytest.raises(ValueError, match="several units"):
        join(with_row(evidence, unit="fraction"), VIDEO)


def test_a_missing_cell_says_why_and_a_failed_cell_it_needed_is_named_too(plan):
    plan.add(HERE, None)
    plan.add(THERE, None)
    plan.add(("digits", "LSTM classifier", "1", 1, 2), 50.0)
    plan.failed = {"digits/LSTM classifier/1/1/0": "out of memory", "pretraining": "node lost"}
    lost = missing(plan.evidence(), VIDEO)
    assert list(lost["reason"]) == ["out of memory", "no finished run yet", "node lost"]
    assert lost["cell"].iloc[2] == "pretraining"


def test_a_run_that_lacks_one_metric_is_missing_for_that_metric_only(plan):
    plan.add(HERE, 50.0, metric="block_accuracy")
    plan.add(THERE, 51.0)
    assert list(missing(plan.evidence(), VIDEO)["reason"]) == [
        "its run has no score named video_accuracy"
    ]
    assert metrics(plan.evidence()) == ("block_accuracy", VIDEO)


def test_every_score_is_kept_unreduced_in_the_order_of_the_cells(plan):
    plan.add(HERE, None)
    plan.add(THERE, 51.0)
    plan.add(HERE, 50.0)
    plan.add(HERE, 40.0, metric="block_accuracy")
    scores = every_score(plan.evidence())
    assert list(scores["value"]) == [40.0, 50.0, 51.0]
    assert list(scores["metric"]) == ["block_accuracy", VIDEO, VIDEO]


@pytest.mark.parametrize("name", ["", "a/b", "../up", ".hidden", "a b"])
def test_an_experiment_name_that_cannot_be_a_file_name_is_refused(name):
    with pytest.raises(ValueError, match="becomes the name of files"):
        Evidence(experiment=name, title="", expected=(), rows=(), failed={}, provenance={})


def test_notes_and_chance_of_the_wrong_kind_are_refused(plan):
    plan.provenance = {"notes": 3, "chance": 10.0}
    with pytest.raises(TypeError, match="list of sentences"):
        _ = plan.evidence().notes
    with pytest.raises(TypeError, match="map a dataset to percent"):
        _ = plan.evidence().chance
