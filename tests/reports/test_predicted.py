"""What runs answered, against loops over their predictions and against the code that scored them."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import confusion_matrix, recall_score, top_k_accuracy_score

from reports.evidence import Evidence
from reports.predicted import answered, difference_over_videos, predicted, predicted_in
from reports.statistics import over_videos
from tasks.data.dataset import Video
from tasks.videoeval import score_videos


def blocks(seed: int = 0, *, videos: int = 30, classes: int = 6) -> pd.DataFrame:
    """Predictions of videos of one to five blocks, in no order, in float32 as runs store them."""
    rng = np.random.default_rng(seed)
    rows = []
    for video in range(videos):
        for block in range(rng.integers(1, 6)):
            p = rng.dirichlet(np.full(classes, 0.6)).astype(np.float32)
            rows.append((f"v{video:02d}", block, video % classes, *p))
    names = ["video_id", "block", "label", *(f"p{place}" for place in range(classes))]
    table = pd.DataFrame(rows, columns=names)
    return table.sample(frac=1, random_state=seed, ignore_index=True)


def test_a_video_is_the_mean_of_its_blocks_and_its_answer_the_largest() -> None:
    table = blocks()
    found = predicted_in(table, whose="mine")
    assert list(found.videos) == sorted(set(table["video_id"]))
    for place, video in enumerate(found.videos):
        mine = table[table["video_id"] == video]
        means = [float(np.mean(mine[f"p{each}"].astype(float))) for each in range(6)]
        assert found.probabilities[place] == pytest.approx(means)
        assert found.chosen[place] == means.index(max(means))
        assert found.labels[place] == mine["label"].iloc[0]
        assert found.right[place] == (means.index(max(means)) == mine["label"].iloc[0])


def test_the_share_of_right_answers_is_what_the_run_was_scored_with() -> None:
    table = blocks(1, videos=41)
    expected = [
        Video(id=video, label=label, group="g", num_frames=16)
        for video, label in dict(zip(table["video_id"], table["label"], strict=True)).items()
    ]
    columns = {str(name): table[name].to_numpy() for name in table}
    scores = {score.metric.name: score.value for score in score_videos(columns, expected)}
    assert 100 * predicted_in(table, whose="mine").right.mean() == scores["video_accuracy"]


def test_classes_and_first_k_are_those_of_scikit_learn() -> None:
    found = predicted_in(blocks(2, videos=60), whose="mine")
    classes = list(range(6))
    assert (found.confusion() == confusion_matrix(found.labels, found.chosen, labels=classes)).all()
    recall = recall_score(found.labels, found.chosen, labels=classes, average=None)
    assert found.per_class() == pytest.approx(100 * recall)
    for count in (1, 2, 5):
        oracle = top_k_accuracy_score(found.labels, found.probabilities, k=count, labels=classes)
        assert found.among_first(count).mean() == pytest.approx(oracle)
    assert (found.among_first(1) == found.right).all()
    assert found.among_first(6).all()


def test_of_equal_probabilities_the_first_class_is_the_answer() -> None:
    table = pd.DataFrame(
        {"video_id": ["a", "b"], "block": [0, 0], "label": [1, 2], "p0": 0.2, "p1": 0.4, "p2": 0.4}
    )
    found = predicted_in(table, whose="mine")
    assert found.chosen.tolist() == [1, 1]
    assert found.among_first(1).tolist() == [True, False]
    assert found.among_first(2).tolist() == [True, True]


def test_of_many_equal_probabilities_the_first_classes_come_first() -> None:
    names = [f"p{place}" for place in range(60)]
    table = pd.DataFrame(
        {"video_id": [f"v{at:02d}" for at in range(60)], "block": 0, "label": range(60)}
    )
    table[names] = 1 / 120
    table[names[1::2]] = 1 / 40  # the odd classes are the more probable ones, all alike
    found = predicted_in(table, whose="mine").among_first(10)
    assert np.flatnonzero(found).tolist() == list(range(1, 20, 2))


def test_a_class_without_test_videos_has_no_accuracy() -> None:
    table = blocks(3, videos=3)  # of classes 0 to 2 of six
    found = predicted_in(table, whose="mine")
    assert np.isnan(found.per_class()[3:]).all()
    assert not np.isnan(found.per_class()[:3]).any()


def spoilt(change: str) -> pd.DataFrame:
    table = blocks(4)
    if change == "twice":
        return pd.concat([table, table.iloc[:1]], ignore_index=True)
    if change == "two labels":
        return pd.concat([table, table.iloc[:1].assign(block=99, label=5 - table["label"].iloc[0])])
    if change == "half a label":
        return table.assign(label=table["label"] + 0.5)
    if change == "no such class":
        return table.assign(label=table["label"] + 1)
    if change == "not a number":
        return table.assign(p2=table["p2"].where(table.index != 7))
    if change == "no video":
        return table.assign(video_id=table["video_id"].where(table.index != 7))
    if change == "nothing":
        return table.iloc[:0]
    return table.drop(columns=change)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("twice", "predicted a block of a video twice"),
        ("two labels", "two labels"),
        ("half a label", "one that is no class"),
        ("no such class", "none of its 6 classes"),
        ("not a number", "no finite numbers"),
        ("no video", "does not say of which video"),
        ("nothing", "predicted nothing"),
        ("label", "predicted no classes of videos"),
        ("p3", "predicted no classes of videos"),
    ],
)
def test_predictions_that_contradict_themselves_are_refused(change: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=f"^mine .*{sentence}"):
        predicted_in(spoilt(change), whose="mine")


def test_among_none_is_no_question() -> None:
    with pytest.raises(ValueError, match="count=0"):
        predicted_in(blocks(), whose="mine").among_first(0)


def kept(folder: Path, tables: dict[str, pd.DataFrame]) -> Evidence:
    """Evidence of runs that left these predictions."""
    for cell, table in tables.items():
        (folder / cell).mkdir()
        table.to_parquet(folder / cell / "predictions.parquet")
    return Evidence(
        experiment="any",
        title="Any",
        expected=(),
        rows=(),
        failed={},
        provenance={},
        kept={cell: folder / cell for cell in tables},
    )


def test_without_a_run_there_are_no_answers(tmp_path: Path) -> None:
    evidence = kept(tmp_path, {"here": blocks()})
    assert predicted(evidence, "elsewhere") is None
    assert answered(evidence, ["here", "elsewhere"]) is None
    assert difference_over_videos(evidence, [(["here"], ["elsewhere"])]) is None
    assert difference_over_videos(evidence, []) is None


def test_several_runs_of_a_list_count_by_their_share(tmp_path: Path) -> None:
    tables = {name: blocks(1, videos=25) for name in "abcd"}
    for seed, table in enumerate(tables.values()):
        order = np.random.default_rng(seed).permutation(6)
        table[[f"p{place}" for place in range(6)]] = table[
            [f"p{place}" for place in order]
        ].to_numpy()
    evidence = kept(tmp_path, tables)
    right = {name: predicted_in(table, whose=name).right for name, table in tables.items()}
    shares = answered(evidence, ["a", "b", "c"])
    assert shares is not None
    assert shares.shares.tolist() == [(x + y + z) / 3 for x, y, z in zip(right["a"].astype(int), right["b"], right["c"], strict=True)]  # fmt: skip
    names = [list(shares.videos)]
    first, second = (np.mean([right[each] for each in pair], axis=0) for pair in ("ab", "cd"))
    assert difference_over_videos(evidence, [("ab", "cd")]) == over_videos([first.tolist()], [second.tolist()], names)  # fmt: skip


def test_runs_of_other_lists_are_not_compared(tmp_path: Path) -> None:
    mine = blocks(1)
    tables = {
        "mine": mine,
        "fewer": mine[mine["video_id"] != "v07"],
        "other": mine.assign(label=5 - mine["label"]),
    }
    evidence = kept(tmp_path, tables)
    with pytest.raises(ValueError, match=r"mine and fewer were not tested on the same videos.*v07"):
        difference_over_videos(evidence, [(["mine"], ["fewer"])])
    with pytest.raises(ValueError, match="mine and other do not agree on the class of v00"):
        answered(evidence, ["mine", "other"])
