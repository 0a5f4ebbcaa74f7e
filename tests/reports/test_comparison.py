"""Two sides compared, against numbers that numpy, scipy and statsmodels give from the same hand-made answers."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats  # type: ignore[import-untyped]
from statsmodels.stats.contingency_tables import mcnemar  # type: ignore[import-untyped]
from statsmodels.stats.multitest import multipletests  # type: ignore[import-untyped]

from reports.comparison import GAINED, LOST, SAME, Compared, compare
from reports.comparison_record import about, record
from reports.comparison_tables import alone_table, tables
from reports.compose import Report, compose
from reports.evidence import Evidence, Value
from reports.pairing import Side, pair

CLASSES = ("run", "jump", "wave")
VIDEOS = 12
POOL = 8.0


@dataclass
class Made:
    """Evidence of runs whose answers are drawn at random; probabilities of shape (V, C) by cell."""

    folder: Path
    cells: list[dict[str, Value]] = field(default_factory=list)
    rows: list[dict[str, Value]] = field(default_factory=list)
    kept: dict[str, Path] = field(default_factory=dict)
    answers: dict[str, np.ndarray] = field(default_factory=dict)

    def add(
        self,
        method: str,
        shots: str,
        split: int,
        resample: int,
        *,
        stream: str = "rgb",
        dataset: str = "clips",
        run: bool = True,
        videos: str = "v",
    ) -> str:
        key = f"{method}-{dataset}-{stream}-{shots}-{split}-{resample}"
        labels_per_class = POOL if shots == "all" else float(shots)
        cell: dict[str, Value] = {
            "cell": key, "dataset": dataset, "stream": stream, "split": split, "method": method, "shots": shots,
            "labels_per_class": labels_per_class, "pool_per_class": POOL, "resample": resample, "seed": resample,
        }  # fmt: skip
        self.cells.append(cell)
        if not run:
            return key
        random = np.random.default_rng(len(self.cells))
        p_VC = random.dirichlet(np.ones(len(CLASSES)), size=VIDEOS)
        labels = np.arange(VIDEOS) % len(CLASSES)
        table = pd.DataFrame(
            {
                "video_id": [f"{videos}{split}_{place:02}" for place in range(VIDEOS)],
                "block": 0,
                "label": labels,
                **{f"p{place}": p_VC[:, place] for place in range(len(CLASSES))},
            }
        )
        # A second block that says the same: what is averaged over blocks is not changed by it.
        table = pd.concat([table, table.assign(block=1)])
        folder = self.folder / key
        folder.mkdir(parents=True)
        table.to_parquet(folder / "predictions.parquet")
        self.kept[key], self.answers[key] = folder, p_VC
        value = 100 * float((p_VC.argmax(axis=1) == labels).mean())
        self.rows.append({**cell, "run": "1", "metric": "video_accuracy", "value": value, "unit": "%", "higher_is_better": True})  # fmt: skip
        return key

    def right(self, key: str) -> np.ndarray:
        return np.asarray(self.answers[key].argmax(axis=1) == np.arange(VIDEOS) % len(CLASSES))

    def evidence(self) -> Evidence:
        return Evidence(
            experiment="made",
            title="Made",
            expected=tuple(self.cells),
            rows=tuple(self.rows),
            failed={},
            provenance={"notes": ["made by hand"], "commit": "abc"},
            kept=self.kept,
            classes={"clips": CLASSES},
        )

    def side(self, *methods: str, name: str = "") -> Side:
        return Side(name=name or methods[0], evidence=self.evidence(), methods=methods)


SPLITS, RESAMPLES = (1, 2), range(5)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Two methods, two splits, five resamples of 2 of 8 videos per class, and one run on all."""
    made = Made(tmp_path_factory.mktemp("kept"))
    for method in ("plain", "new"):
        for split in SPLITS:
            for resample in RESAMPLES:
                made.add(method, "2", split, resample)
            made.add(method, "all", split, 0)
    return made


@pytest.fixture(scope="module")
def found(made: Made) -> Compared:
    return compare(made.side("plain"), made.side("new"))


def key(method: str, shots: str, split: int, resample: int) -> str:
    return f"{method}-clips-rgb-{shots}-{split}-{resample}"


def test_few_shots_are_compared_over_resamples_with_the_overlap_of_subsets(
    made: Made, found: Compared
) -> None:
    line = found.lines.iloc[0]
    means = {
        method: np.array(
            [np.mean([100 * made.right(key(method, "2", split, each)).mean() for split in SPLITS]) for each in RESAMPLES]
        )
        for method in ("plain", "new")
    }  # fmt: skip
    differences = means["new"] - means["plain"]
    assert line["shots"] == "2"
    assert line["first"] == pytest.approx(means["plain"].mean())
    assert line["second"] == pytest.approx(means["new"].mean())
    assert line["difference"] == pytest.approx(differences.mean())
    rho = (
        2 / POOL
    )  # of one split's subsets; a video that another split trains on too counts there as well
    error = differences.std(ddof=1) * math.sqrt(1 / 5 + len(SPLITS) * rho / (1 - rho))
    assert line["p"] == pytest.approx(2 * stats.t.sf(abs(differences.mean()) / error, 4))
    half = stats.t.ppf(0.975, 4) * error
    assert (line["ci_low"], line["ci_high"]) == pytest.approx((differences.mean() - half, differences.mean() + half))  # fmt: skip
    assert (line["n"], line["expected"], line["test"]) == (5, 5, "corrected t")


def test_all_labels_are_compared_over_test_videos(made: Made, found: Compared) -> None:
    line = found.lines.iloc[1]
    one, other = (np.concatenate([made.right(key(method, "all", split, 0)) for split in SPLITS]) for method in ("plain", "new"))  # fmt: skip
    assert line["shots"] == "all"
    assert line["difference"] == pytest.approx(100 * (other.mean() - one.mean()))
    assert line["ci_low"] <= line["difference"] <= line["ci_high"]
    assert line["wrong_to_right"] == (~one & other).sum()
    assert line["right_to_wrong"] == (one & ~other).sum()
    assert line["answers"] == 2 * VIDEOS


def test_one_split_with_one_run_is_mcnemars_exact_test(tmp_path: Path) -> None:
    made = Made(tmp_path)
    made.add("plain", "all", 1, 0)
    made.add("new", "all", 1, 0)
    one, other = (made.right(key(method, "all", 1, 0)) for method in ("plain", "new"))
    table = [[(one & other).sum(), (one & ~other).sum()], [(~one & other).sum(), (~one & ~other).sum()]]  # fmt: skip
    (line,) = compare(made.side("plain"), made.side("new")).lines.to_dict("records")
    assert line["test"] == "McNemar"
    assert line["p"] == pytest.approx(mcnemar(np.array(table), exact=True).pvalue)


def test_p_values_hold_for_the_whole_table(found: Compared) -> None:
    adjusted = multipletests(found.lines["p"], method="holm")[1]
    assert found.lines["p_holm"].tolist() == pytest.approx(adjusted.tolist())


def test_swapping_the_sides_changes_signs_alone(made: Made, found: Compared) -> None:
    swapped = compare(made.side("new"), made.side("plain"))
    assert swapped.lines["difference"].tolist() == pytest.approx((-found.lines["difference"]).tolist())  # fmt: skip
    assert swapped.lines["p"].tolist() == pytest.approx(found.lines["p"].tolist())
    assert swapped.lines["wrong_to_right"].tolist() == found.lines["right_to_wrong"].tolist()


def test_classes_are_right_answers_by_true_class_largest_change_first(
    made: Made, found: Compared
) -> None:
    for line in found.classes.to_dict("records"):
        keys = [(split, each) for split in SPLITS for each in (RESAMPLES if line["shots"] == "2" else (0,))]  # fmt: skip
        label = CLASSES.index(str(line["class"]))
        for column, method in (("first", "plain"), ("second", "new")):
            answers = [
                made.answers[key(method, str(line["shots"]), *each)][video].argmax() == label
                for each in keys
                for video in range(VIDEOS)
                if video % len(CLASSES) == label
            ]
            assert line[column] == pytest.approx(100 * np.mean(answers))
        assert line["videos"] == 2 * VIDEOS / len(CLASSES)
    sizes = found.classes["difference"].abs().tolist()
    assert sizes == sorted(sizes, reverse=True)
    assert len(sizes) == 2 * len(CLASSES)


def test_every_changed_answer_is_told_with_both_answers(made: Made, found: Compared) -> None:
    expected = set()
    for shots, resamples in (("2", RESAMPLES), ("all", range(1))):
        for split in SPLITS:
            for each in resamples:
                one, other = (made.answers[key(method, shots, split, each)] for method in ("plain", "new"))  # fmt: skip
                for video in range(VIDEOS):
                    label = video % len(CLASSES)
                    before, after = one[video].argmax(), other[video].argmax()
                    if (before == label) != (after == label):
                        change = GAINED if after == label else LOST
                        expected.add(
                            (shots, split, each, f"v{split}_{video:02}", CLASSES[label], change, CLASSES[before],
                             round(one[video].max(), 9), CLASSES[after], round(other[video].max(), 9))
                        )  # fmt: skip
    told = {
        (line["shots"], line["split"], line["resample"], line["video"], line["class"], line["change"], line["first_answer"],
         round(line["first_probability"], 9), line["second_answer"], round(line["second_probability"], 9))
        for line in found.videos.to_dict("records")
    }  # fmt: skip
    assert told == expected
    assert len(found.videos) == len(expected)
    some = found.videos.iloc[0]
    same = found.videos[
        (found.videos[["shots", "split", "video", "change"]] == some[["shots", "split", "video", "change"]]).all(axis=1)
    ]  # fmt: skip
    assert some["runs"] == len(same)
    assert some["of_runs"] == (5 if some["shots"] == "2" else 1)


def test_a_resample_that_lacks_a_split_is_in_no_mean_and_is_named(
    made: Made, found: Compared
) -> None:
    lost = key("new", "2", 2, 3)
    whole = made.evidence()
    less = replace(
        whole,
        rows=tuple(row for row in whole.rows if row["cell"] != lost),
        kept={name: path for name, path in whole.kept.items() if name != lost},
        failed={lost: "it ran out of memory"},
    )
    first, second = made.side("plain"), replace(made.side("new"), evidence=less)
    without = compare(first, second)
    line = without.lines.iloc[0]
    assert (line["n"], line["expected"]) == (4, 5)
    kept = [each for each in RESAMPLES if each != 3]
    mean = np.mean([100 * made.right(key("plain", "2", split, each)).mean() for split in SPLITS for each in kept])  # fmt: skip
    assert line["first"] == pytest.approx(mean)
    assert [cell["cell"] for cell in without.without[1]] == [lost]
    assert without.lines["difference"][1] == found.lines["difference"][1]
    shown = alone_table(without, first, second)
    assert shown is not None
    assert shown.rows == (("B", "clips", "rgb", "new", "2", "2", "3", "it ran out of memory"),)
    assert any("4/5 †" in cell for row in tables(without, first, second, shown=5).sections[0][1].rows for cell in row)  # fmt: skip


def test_a_resample_that_one_side_asks_on_one_split_alone_is_in_no_mean(made: Made) -> None:
    whole = made.evidence()
    lost = key("new", "2", 2, 3)
    less = replace(
        whole,
        expected=tuple(cell for cell in whole.expected if cell["cell"] != lost),
        rows=tuple(row for row in whole.rows if row["cell"] != lost),
    )
    line = compare(made.side("plain"), replace(made.side("new"), evidence=less)).lines.iloc[0]
    assert (line["n"], line["expected"]) == (4, 5)
    kept = [each for each in RESAMPLES if each != 3]
    mean = np.mean([100 * made.right(key("plain", "2", split, each)).mean() for split in SPLITS for each in kept])  # fmt: skip
    assert line["first"] == pytest.approx(mean)


def test_one_complete_resample_of_several_has_no_interval_and_no_test(tmp_path: Path) -> None:
    made = Made(tmp_path)
    for resample in range(2):
        made.add("plain", "2", 1, resample)
        made.add("new", "2", 1, resample, run=resample == 0)
        made.add("plain", "4", 1, resample)
        made.add("new", "4", 1, resample)
    line, other = compare(made.side("plain"), made.side("new")).lines.to_dict("records")
    assert (line["shots"], line["n"], line["expected"], line["test"]) == ("2", 1, 2, "")
    assert all(math.isnan(line[each]) for each in ("ci_low", "ci_high", "p", "p_holm", "overlap"))
    assert not math.isnan(line["difference"])
    assert other["test"] == "corrected t"
    assert other["p_holm"] == other["p"]


def test_subsets_that_take_the_whole_pool_are_compared_over_test_videos(tmp_path: Path) -> None:
    made = Made(tmp_path)
    for resample in range(2):
        for method in ("plain", "new"):
            made.add(method, str(int(POOL)), 1, resample)
    (line,) = compare(made.side("plain"), made.side("new")).lines.to_dict("records")
    assert (line["n"], line["test"]) == (2, "randomisation over videos")
    assert math.isnan(line["overlap"])


def test_the_very_same_runs_are_marked_and_not_tested(tmp_path: Path) -> None:
    """As Table 1 and Table 3 share cells: one line of two is the same run on both sides."""
    made = Made(tmp_path)
    for method in ("plain", "new"):
        made.add(method, "all", 1, 0)
        made.add(method, "all", 1, 0, dataset="others")
    one = made.evidence()

    def other(row: Mapping[str, Value]) -> dict[str, Value]:
        """The same cells, but under the other method's name; those of "clips" as they are."""
        method = str(row["method"])
        to = {"plain": "new", "new": "plain"}[method] if row["dataset"] == "others" else method
        return {**row, "method": to}

    second = replace(one, expected=tuple(map(other, one.expected)), rows=tuple(map(other, one.rows)))  # fmt: skip
    sides = [Side(name=name, evidence=each, methods=("plain",)) for name, each in (("A", one), ("B", second))]  # fmt: skip
    found = compare(*sides)
    same, tested = found.lines.to_dict("records")
    assert (same["dataset"], same["test"], same["difference"]) == ("clips", SAME, 0.0)
    assert all(math.isnan(same[each]) for each in ("ci_low", "ci_high", "p", "p_holm"))
    assert tested["test"] == "McNemar"
    assert tested["p_holm"] == tested["p"]
    notes = " ".join(tables(found, *sides, shown=3).sections[0][1].notes)
    assert "very same runs" in notes
    assert "this table has one test" in notes
    # One cell, run in two folders, has two runs: those are compared.
    again = replace(second, rows=tuple({**row, "run": "2"} for row in second.rows))
    lines = compare(sides[0], replace(sides[1], evidence=again)).lines
    assert lines["test"].tolist() == ["McNemar", "McNemar"]


def shown_of(made: Made) -> tuple[Compared, Report]:
    first, second = made.side("plain"), made.side("new")
    found = compare(first, second)
    return found, tables(found, first, second, shown=3)


def test_notes_say_what_there_is_and_no_more(made: Made, tmp_path: Path) -> None:
    _, both = shown_of(made)
    notes = " ".join(both.sections[0][1].notes)
    assert "Elsewhere they are over test videos" in notes
    assert "exact McNemar test on one test list with one run of each, else a randomisation test" in notes  # fmt: skip
    assert "Holm: p adjusted for the 2 tests of this table." in notes
    alone = Made(tmp_path)
    for method in ("plain", "new"):
        alone.add(method, "all", 1, 0)
    _, one = shown_of(alone)
    notes = " ".join(one.sections[0][1].notes)
    assert "Interval and test are over test videos" in notes
    assert "Elsewhere" not in notes
    assert "tests of this table" not in notes
    assert "this table has one test" in notes


def test_a_line_without_a_complete_resample_says_how_many_videos_are_all(tmp_path: Path) -> None:
    made = Made(tmp_path)
    for split in SPLITS:
        for method in ("plain", "new"):
            made.add(method, "all", split, 0, run=split == 1)
    found, report = shown_of(made)
    (line,) = found.lines.to_dict("records")
    assert (line["n"], line["expected"], line["labels_per_class"]) == (0, 1, POOL)
    (row,) = report.sections[0][1].rows
    assert row[:2] == ("all (8)", "0/1 †")
    assert not any("Holm" in note for note in report.sections[0][1].notes)


def test_where_no_answer_changed_there_is_no_table_of_videos(made: Made) -> None:
    first, second = (made.side("plain", "new", name=name) for name in "AB")
    report = tables(compare(first, second), first, second, shown=3)
    assert [heading for heading, _ in report.sections] == ["Difference", "Classes"]
    assert {row[-6] for row in report.sections[0][1].rows} == {"0.0"}
    assert "_videos.csv" in report.more


def test_what_only_one_side_asks_is_named_and_compared_with_nothing(tmp_path: Path) -> None:
    made = Made(tmp_path)
    for resample in range(3):
        made.add("plain", "2", 1, resample)
    for resample in range(2):
        made.add("new", "2", 1, resample)
    first, second = made.side("plain"), made.side("new")
    pairing = pair(first, second)
    assert len(pairing.pairs) == 2
    assert [cell["resample"] for cell in pairing.alone[0]] == [2]
    shown = alone_table(compare(first, second), first, second)
    assert shown is not None
    assert shown.rows[0][-2:] == ("2", "the other side does not ask this")


def test_several_methods_are_each_compared_with_themselves(made: Made) -> None:
    both = compare(made.side("plain", "new", name="A"), made.side("plain", "new", name="B"))
    assert both.pairing.by_method
    assert both.lines["difference"].tolist() == [0.0] * 4
    assert both.lines["method"].tolist() == ["plain", "plain", "new", "new"]
    assert both.videos.empty
    assert set(both.lines["test"]) == {SAME}
    assert both.lines[["ci_low", "ci_high", "p", "p_holm"]].isna().all(axis=None)


def test_one_method_on_two_streams_is_paired_across_them(tmp_path: Path) -> None:
    made = Made(tmp_path)
    made.add("plain", "all", 1, 0, stream="rgb")
    made.add("new", "all", 1, 0, stream="flow1")
    (line,) = compare(made.side("plain"), made.side("new")).lines.to_dict("records")
    assert line["stream"] == "rgb / flow1"


def losses(*, seeds: int) -> Evidence:
    cells = [
        {"cell": f"{method}{seed}", "dataset": "digits", "method": method, "seed": seed, "model": method}
        for method in ("auto", "future")
        for seed in range(seeds)
    ]  # fmt: skip
    rows = [
        {**cell, "metric": metric, "value": base + len(str(cell["method"])) + place, "unit": "nats", "higher_is_better": False}
        for place, cell in enumerate(cells)
        for metric, base in (("future_loss", 10.0), ("input_loss", 20.0))
    ]  # fmt: skip
    return Evidence(experiment="losses", title="Losses", expected=tuple(cells), rows=tuple(rows), failed={}, provenance={})  # fmt: skip


def test_runs_that_answer_no_videos_are_compared_by_their_scores() -> None:
    evidence = losses(seeds=2)
    first, second = (Side(name=name, evidence=evidence, methods=(name,)) for name in ("auto", "future"))  # fmt: skip
    found = compare(first, second)
    assert found.lines.empty
    assert found.scores["difference"].tolist() == [4.0] * 4
    assert sorted(found.scores["resample"]) == [0, 0, 1, 1]
    ((heading, table),) = tables(found, first, second, shown=3).sections
    assert heading == "Scores"
    assert len(table.rows) == 4


def test_cells_that_stand_at_one_place_are_told_apart_by_what_both_sides_vary() -> None:
    whole = losses(seeds=1)
    wide = [{**cell, "cell": f"{cell['cell']}-{units}", "units": units} for cell in whole.expected for units in (8, 16)]  # fmt: skip
    evidence = replace(whole, expected=tuple(wide), rows=())
    sides = [Side(name=name, evidence=evidence, methods=(name,)) for name in ("auto", "future")]
    assert pair(*sides).by == ("dataset", "seed", "units")
    same = replace(evidence, expected=tuple({**cell, "units": 8} for cell in wide))
    with pytest.raises(ValueError, match="auto has several cells at dataset digits, seed 0"):
        pair(*(replace(side, evidence=same) for side in sides))


def test_runs_that_answered_other_videos_are_refused(tmp_path: Path) -> None:
    made = Made(tmp_path)
    made.add("plain", "all", 1, 0)
    made.add("new", "all", 1, 0, videos="w")
    with pytest.raises(ValueError, match="tested on different videos or labels"):
        compare(made.side("plain"), made.side("new"))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda made: made.add("new", "all", 3, 0), "nothing can be paired"),
        (lambda made: made.add("new", "all", 1, 0, run=False), "no pair of plain and new has a result on both sides yet"),
        (lambda made: None, "new has no cells"),
    ],
)  # fmt: skip
def test_nothing_to_compare_is_a_sentence(
    change: Callable[[Made], object], sentence: str, tmp_path: Path
) -> None:
    made = Made(tmp_path)
    made.add("plain", "all", 1, 0)
    change(made)
    with pytest.raises(ValueError, match=sentence):
        compare(made.side("plain"), made.side("new"))


def test_all_forms_have_the_numbers_and_the_table_of_videos_is_limited(
    made: Made, found: Compared
) -> None:
    first, second = made.side("plain"), made.side("new")
    report = tables(found, first, second, shown=3)
    files = compose(about("one_against_other", first, second), report, ("md", "tex", "html", "csv", "json"))  # fmt: skip
    assert sorted(files) == [
        f"one_against_other{end}"
        for end in (".csv", ".html", ".json", ".md", ".tex", "_classes.csv", "_scores.csv", "_videos.csv")
    ]  # fmt: skip
    assert len(report.sections[2][1].rows) == 3
    assert len(files["one_against_other_videos.csv"].splitlines()) == 1 + len(found.videos)
    document = json.loads(record(found, first, second))
    assert files["one_against_other.json"] == record(found, first, second)
    assert document["lines"][0]["difference"] == pytest.approx(found.lines["difference"][0], rel=1e-12)  # fmt: skip
    assert document["provenance"]["first"]["commit"] == "abc"
    assert b"made by hand" in files["one_against_other.md"]
    assert (
        b"exact McNemar test on one test list with one run of each, else"
        in files["one_against_other.md"]
    )
