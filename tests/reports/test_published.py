"""The paper's numbers against a second copy, typed from the protocol and laid out differently."""

import pytest

from reports.published import (
    BASELINE,
    PRETRAINED,
    PUBLISHED,
    SINGLE_FRAME,
    entry,
    published,
)

FIG12 = """
ucf101 1   -    29.6 34.3
ucf101 all 72.2 74.5 75.8
hmdb51 1   -    14.4 19.1
hmdb51 all 40.1 42.8 44.0
"""
TABLE3 = """
baseline                                             63.7 74.5 25.3 42.8
Autoencoder                                          66.2 75.1 28.6 44.0
Future Predictor                                     64.9 74.9 27.3 43.1
Conditional Autoencoder                              65.8 74.8 27.9 43.1
Conditional Future Predictor                         65.1 74.9 27.4 43.4
Composite                                            67.0 75.8 29.1 44.1
Composite with Conditional Future Predictor          67.1 75.8 29.2 44.0
"""


@pytest.mark.parametrize("line", FIG12.split("\n")[1:-1])
def test_figure_12_has_the_numbers_its_text_states(line):
    dataset, shots, *numbers = line.split()
    for method, number in zip((SINGLE_FRAME, BASELINE, PRETRAINED), numbers, strict=True):
        expected = None if number == "-" else float(number)
        assert published("fig12", dataset, method, shots) == expected


@pytest.mark.parametrize("line", TABLE3.split("\n")[1:-1])
def test_table_3_has_its_seven_lines(line):
    name, *numbers = line.rsplit(maxsplit=4)
    method = BASELINE if name == "baseline" else f"{BASELINE} + {name} pretraining"
    places = [("ucf101", "10"), ("ucf101", "all"), ("hmdb51", "4"), ("hmdb51", "all")]
    for (dataset, shots), number in zip(places, numbers, strict=True):
        assert published("table3", dataset, method, shots) == float(number)


@pytest.mark.parametrize(
    ("artefact", "dataset", "method", "modality", "number"),
    [
        ("table1", "ucf101", BASELINE, "flow1", 74.3),
        ("table1", "ucf101", PRETRAINED, "flow1", 74.6),
        ("table1", "ucf101", SINGLE_FRAME, "flow1", 72.2),
        ("table1", "ucf101", SINGLE_FRAME, "flow10", 77.5),
        ("table1", "ucf101", PRETRAINED, "flow10", 77.7),
        ("table1", "hmdb51", PRETRAINED, "rgb", 44.1),
        ("table2", "mnist", "Future Predictor", None, 350.2),
        ("table2", "patches", "Future Predictor", None, 225.2),
        ("table2", "mnist", "Composite Model", None, 344.9),
        ("table2", "patches", "Composite Model", None, 210.7),
        ("table2", "mnist", "Conditional Future Predictor", None, 343.5),
        ("table2", "patches", "Conditional Future Predictor", None, 221.3),
        ("table2", "mnist", "Composite Model with Conditional Future Predictor", None, 341.2),
        ("table2", "patches", "Composite Model with Conditional Future Predictor", None, 208.1),
        ("table4", "ucf101", "Spatial ConvNet", "rgb", 73.0),
        ("table4", "hmdb51", "Spatial ConvNet", "rgb", 40.5),
        ("table4", "ucf101", "C3D", "rgb", 72.3),
        ("table4", "ucf101", "C3D + fc6", "rgb", 76.4),
        ("table4", "ucf101", "LRCN", "rgb", 71.1),
        ("table4", "ucf101", "LRCN", "flow", 77.0),
        ("table4", "ucf101", "LRCN", "rgb+flow", 82.9),
        ("table4", "ucf101", "Temporal ConvNet", "flow", 83.7),
        ("table4", "hmdb51", "Temporal ConvNet", "flow", 54.6),
        ("table4", "hmdb51", "Two-stream ConvNet", "rgb+flow", 59.4),
        ("table4", "ucf101", "Two-stream ConvNet", "rgb+flow", 88.0),
        ("table4", "ucf101", "Multi-skip feature stacking", "rgb+flow", 89.1),
        ("table4", "hmdb51", "Multi-skip feature stacking", "rgb+flow", 65.1),
        ("table4", "ucf101", "Composite LSTM Model", "flow", 77.7),
        ("table4", "ucf101", "Composite LSTM Model", "rgb+flow", 84.3),
        ("mnist_records", "mnist", "FC-LSTM", None, 483.2),
        ("mnist_records", "mnist", "ConvLSTM", None, 367.1),
        ("mnist_records", "mnist", "DFN", None, 285.2),
        ("mnist_records", "mnist", "Video Ladder Network", None, 187.7),
        ("mnist_records", "mnist", "VPN baseline", None, 110.1),
        ("mnist_records", "mnist", "VPN", None, 87.6),
    ],
)
def test_single_numbers_are_those_of_the_paper(artefact, dataset, method, modality, number):
    assert published(artefact, dataset, method, "all", modality=modality) == number


def test_the_paper_contradicts_itself_on_hmdb_and_each_place_keeps_its_own_number():
    numbers = {
        "fig12": published("fig12", "hmdb51", PRETRAINED, "all"),
        "table1": published("table1", "hmdb51", PRETRAINED, "all"),
        "table3": published("table3", "hmdb51", PRETRAINED, "all"),
        "table4": published("table4", "hmdb51", "Composite LSTM Model", "all"),
    }
    assert numbers == {"fig12": 44.0, "table1": 44.1, "table3": 44.1, "table4": 44.0}
    noted = [one for one in PUBLISHED if one.note and one.modality != "rgb+flow"]
    assert {one.artefact for one in noted} == set(numbers)
    assert all("44.0" in one.note and "44.1" in one.note for one in noted)


def test_other_datasets_methods_and_points_have_no_published_number():
    assert published("fig12", "digits", BASELINE, "1") is None
    assert published("fig12", "ucf101", SINGLE_FRAME, "1") is None
    assert published("fig12", "ucf101", BASELINE, "2") is None
    assert published("table9", "ucf101", BASELINE, "all") is None


def test_every_number_has_a_source_a_unit_and_a_place_of_its_own():
    places = [(one.artefact, one.dataset, one.method, one.shots, one.modality) for one in PUBLISHED]
    assert len(places) == len(set(places)) == 10 + 11 + 8 + 28 + 17 + 6
    assert all(one.source and one.unit for one in PUBLISHED)
    one = entry("fig12", "ucf101", BASELINE, "1")
    assert one is not None
    assert one.source == "section 3.3"
