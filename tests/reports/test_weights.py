"""Figures 9 and 10: which unit stands where, what the numbers mean, and what is said when something is not there."""

import io
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from reports.evidence import Evidence, Value
from reports.features import (
    BLOCKS,
    INPUT_KINDS,
    LINES,
    area,
    input_features,
    largest,
    output_features,
    smoothness,
)
from reports.tables import MISSING
from reports.weights import fig9, fig10
from tests.latex import assert_typesets_both_ways

ENCODER = "encoder.lstm.layers.0.weight_x"
DECODERS = ("reconstructor.readout.weight", "predictor.readout.weight")
FORMS = ("png", "pdf", "svg", "md", "tex", "html", "csv", "json")
CELL: dict[str, Value] = {
    "cell": "3f2a91c0" * 8,
    "dataset": "moving_digits",
    "method": "Composite Model",
    "layers": 1,
    "units": 6,
}
UNITS, PIXELS = 6, 16


def norms_of(rng: np.random.Generator) -> np.ndarray:
    """Features (H, D) of norms 1 to H in a random order."""
    weights_HD = rng.standard_normal((UNITS, PIXELS))
    lengths_H1 = rng.permutation(np.arange(1.0, UNITS + 1))[:, None]
    unit: np.ndarray = weights_HD / np.linalg.norm(weights_HD, axis=1, keepdims=True)
    return (unit * lengths_H1).astype(np.float32)


@pytest.fixture
def tensors() -> dict[str, np.ndarray]:
    """A model's weights, with some that no report needs."""
    rng = np.random.default_rng(7)
    return {
        ENCODER: np.concatenate([norms_of(rng) for _ in range(4)]),
        **{name: np.ascontiguousarray(norms_of(rng).T) for name in DECODERS},
        "encoder.lstm.layers.0.weight_h": np.zeros((4 * UNITS, UNITS), np.float32),
    }


def evidence_of(
    name: str, folder: Path | None, tensors: Mapping[str, np.ndarray] | None = None
) -> Evidence:
    if folder is not None and tensors is not None:
        save_file(dict(tensors), folder / "model.safetensors")
    score = {"metric": "future_loss", "value": 71.25, "unit": "nats/frame", "run": "1"}
    return Evidence(
        experiment=name,
        title="Features",
        expected=(CELL,),
        rows=({**CELL, **score, "higher_is_better": False},) if folder else (),
        failed={},
        provenance={"notes": ["A note."]},
        kept={str(CELL["cell"]): folder} if folder else {},
    )


def lines(files: Mapping[str, bytes], name: str) -> pd.DataFrame:
    return pd.read_csv(io.BytesIO(files[f"{name}.csv"]))


def planted() -> np.ndarray:
    """(4H, D): in every block unit u has its pattern, one bright pixel u; the blocks are told apart by a second pixel."""
    weights = np.zeros((4, UNITS, PIXELS), np.float32)
    for block in range(4):
        for unit in range(UNITS):
            weights[block, unit, unit] = 1.0
            weights[block, unit, PIXELS - 1 - block] = -0.5
    # Blocks are input gate, forget gate, candidate, output gate; only the candidate's norms give this order.
    weights[2] *= np.array([3, 1, 6, 2, 5, 4], np.float32)[:, None]
    weights[0] *= np.array([1, 2, 3, 4, 5, 6], np.float32)[:, None]
    return weights.reshape(4 * UNITS, PIXELS)


def test_features_in_corresponding_places_belong_to_the_same_unit(tmp_path, tensors) -> None:
    evidence = evidence_of("fig9", tmp_path, tensors | {ENCODER: planted()})
    found = {each.kind: each for each in input_features(evidence, str(CELL["cell"]))}
    assert list(found) == ["input", "input gate", "forget gate", "output gate"]
    by_norm = [2, 4, 5, 0, 3, 1]
    marks = {"input gate": 15, "forget gate": 14, "input": 13, "output gate": 12}
    for kind, each in found.items():
        pictures = each.pictures.reshape(UNITS, PIXELS)
        assert list(pictures.argmax(axis=1)) == by_norm
        assert set(pictures.argmin(axis=1)) == {marks[kind]}


def test_the_order_of_the_blocks_is_that_of_the_lstm() -> None:
    """Driving one block alone must move what its name says: an oracle that reads models/lstm.py's equations by running them."""
    torch = pytest.importorskip("torch")
    from models.lstm import LSTMState, PeepholeLSTM

    def run(driven: str | None) -> tuple[float, float]:
        layer = PeepholeLSTM(1, 1)
        with torch.no_grad():
            for weight in layer.parameters():
                weight.zero_()
            if driven is not None:
                layer.weight_x[BLOCKS.index(driven)] = 2.0
            h, state = layer(torch.ones(1, 1, 1), LSTMState(torch.zeros(1, 1), torch.ones(1, 1)))
        return float(h), float(state.c_BH)

    h, c = run(None)
    assert run("input gate") == (h, c)  # it lets in a candidate of 0
    assert run("input")[1] == pytest.approx(c + 0.5 * np.tanh(2.0))
    assert run("forget gate")[1] == pytest.approx(1 / (1 + np.exp(-2.0)))
    assert run("output gate")[1] == c
    assert run("output gate")[0] > h


def test_decoders_are_ordered_each_by_itself_and_a_column_is_a_unit(tmp_path, tensors) -> None:
    found = output_features(evidence_of("fig10", tmp_path, tensors), str(CELL["cell"]))
    assert [each.kind for each in found] == ["input reconstruction", "future prediction"]
    for each, name in zip(found, DECODERS, strict=True):
        columns = [tensors[name][:, unit] for unit in each.units_K]
        assert [round(float(np.linalg.norm(column)), 3) for column in columns] == [6, 5, 4, 3, 2, 1]
        np.testing.assert_array_equal(each.pictures.reshape(UNITS, PIXELS), np.stack(columns))
    assert list(found[0].units_K) != list(found[1].units_K)


def test_of_many_units_the_200_with_the_largest_norms_are_shown_lower_units_first_in_a_tie() -> (
    None
):
    weights_HD = np.ones((300, 4))
    weights_HD[250:] = 2.0
    assert list(largest(weights_HD)) == [*range(250, 300), *range(150)]
    assert list(largest(weights_HD[:7])) == list(range(7))


@pytest.mark.parametrize("pixels", [1, 5, 16])
def test_the_area_of_an_even_blob_is_its_pixels_whatever_its_height(pixels: int) -> None:
    feature_D = np.zeros(PIXELS)
    feature_D[:pixels] = -3.7
    assert area(feature_D[None]) == pytest.approx([pixels])


def test_area_and_smoothness_of_noise_are_those_that_the_notes_tell() -> None:
    noise_KYX = np.random.default_rng(1).standard_normal((50, 64, 64))
    assert area(noise_KYX.reshape(50, -1)).mean() == pytest.approx(64 * 64 / 3, rel=0.02)
    assert smoothness(noise_KYX).mean() == pytest.approx(0, abs=0.01)


def test_smoothness_tells_even_striped_and_chequered_features_apart() -> None:
    rows, columns = np.mgrid[:8, :8]
    tiles_KYX = np.stack(
        [np.full((8, 8), 2.5), (-1.0) ** rows, (-1.0) ** (rows + columns), np.zeros((8, 8))]
    )
    assert smoothness(tiles_KYX) == pytest.approx([1, 0, -1, 0])
    assert area(np.zeros((1, 4))) == pytest.approx([0])


def test_every_form_is_there_and_the_same_every_time(tmp_path, tensors) -> None:
    for name, draw in (("fig9", fig9), ("fig10", fig10)):
        evidence = evidence_of(name, tmp_path, tensors)
        files = draw(evidence, FORMS)
        assert set(files) == {f"{name}.{form}" for form in FORMS}
        assert files == draw(evidence, FORMS)
        page = files[f"{name}.html"].decode()
        assert "Nothing is missing" in page
        for form in ("md", "tex", "html"):
            text = files[f"{name}.{form}"].decode()
            assert "A note." in text
            assert "71.2 nats/frame" in text  # how far the model came


def test_a_line_of_the_csv_is_a_feature_shown(tmp_path, tensors) -> None:
    files = fig9(evidence_of("fig9", tmp_path, tensors), ("csv", "json"))
    table = lines(files, "fig9")
    assert list(table.columns) == LINES
    assert len(table) == 4 * UNITS
    units = [list(mine["unit"]) for _, mine in table.groupby("kind")]
    assert units == [units[0]] * 4
    inputs = table[table["kind"] == "input"]
    assert list(inputs["norm"]) == [6, 5, 4, 3, 2, 1]
    assert list(inputs["rank"]) == [1, 2, 3, 4, 5, 6]
    for line in table.to_dict("records"):
        block = ("input gate", "forget gate", "input", "output gate").index(line["kind"])
        feature_D = tensors[ENCODER][block * UNITS + line["unit"]].astype(float)
        assert line["norm"] == pytest.approx(np.sqrt((feature_D**2).sum()), abs=1e-4)
        spread = (feature_D**2).sum() ** 2 / (feature_D**4).sum()
        assert line["area"] == pytest.approx(spread, abs=1e-4)
    recorded = json.loads(files["fig9.json"])["lines"]
    assert [line["unit"] for line in recorded] == list(table["unit"])


def test_the_table_has_norms_of_all_units_and_medians_of_the_features_shown(
    tmp_path, tensors
) -> None:
    files = fig10(evidence_of("fig10", tmp_path, tensors), ("md", "csv"))
    table = lines(files, "fig10")
    rows = [line for line in files["fig10.md"].decode().splitlines() if line.startswith("| ")]
    assert "norm at rank 6" in rows[0]
    assert [row.split(" | ")[0].strip("| ") for row in rows[2:]] == [
        "input reconstruction",
        "future prediction",
        "input",  # Fig. 9's, to compare with
    ]
    for row in rows[2:]:
        kind, *cells = row.strip("| ").split(" | ")
        mine = table[table["kind"] == kind]
        assert cells[:3] == ["6.000", "1.000", "3.500"]
        assert cells[3] == f"{mine['area'].median():.0f}"
        assert float(cells[4].replace("\N{MINUS SIGN}", "-")) == pytest.approx(
            mine["smoothness"].median(), abs=0.006
        )


def test_only_the_weights_that_are_shown_are_read(tmp_path, tensors, monkeypatch) -> None:
    read: list[str] = []

    class Noting:
        def __init__(self, path: Path, framework: str) -> None:
            self.opened = safe_open(path, framework=framework)

        def __enter__(self) -> "Noting":
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def keys(self) -> list[str]:
            return list(self.opened.keys())

        def get_tensor(self, name: str) -> np.ndarray:
            read.append(name)
            return self.opened.get_tensor(name)

    evidence = evidence_of("fig9", tmp_path, tensors)
    monkeypatch.setattr("safetensors.safe_open", Noting)
    fig9(evidence, ("csv",))
    assert read == [ENCODER]
    read.clear()
    fig10(replace(evidence, experiment="fig10"), ("csv",))
    assert read == [*DECODERS, ENCODER]


def test_a_model_that_is_missing_is_said_to_be_and_nothing_is_drawn() -> None:
    for name, draw in (("fig9", fig9), ("fig10", fig10)):
        evidence = replace(evidence_of(name, None), failed={str(CELL["cell"]): "out of memory"})
        files = draw(evidence, FORMS)
        assert set(files) == {f"{name}.{form}" for form in ("md", "tex", "html", "csv", "json")}
        assert "no accepted run yet" in files[f"{name}.md"].decode()
        assert "out of memory" in files[f"{name}.md"].decode()
        assert "out of memory" in files[f"{name}.html"].decode()
        assert f"| {MISSING} |" in files[f"{name}.md"].decode()
        assert files[f"{name}.csv"].decode() == ",".join(LINES) + "\n"


def test_an_encoder_of_ones_own_has_output_features_and_no_input_features(
    tmp_path, tensors
) -> None:
    others = {name: weights for name, weights in tensors.items() if name in DECODERS}
    evidence = evidence_of("fig9", tmp_path, others | {"encoder.module.weight": np.ones(3)})
    with pytest.raises(ValueError, match=r"an encoder of your own.*Fig\. 10 shows the decoders"):
        fig9(evidence, ("md",))
    files = fig10(replace(evidence, experiment="fig10"), ("md", "csv"))
    assert set(lines(files, "fig10")["kind"]) == {"input reconstruction", "future prediction"}
    assert "no input features to compare with" in files["fig10.md"].decode()
    assert "| input |" not in files["fig10.md"].decode()


def test_weights_that_are_damaged_are_not_taken_for_an_encoder_of_ones_own(
    tmp_path, tensors
) -> None:
    damaged = tensors | {ENCODER: np.full((24, 16), np.inf, np.float32)}
    with pytest.raises(ValueError, match="no finite numbers"):
        fig10(evidence_of("fig10", tmp_path, damaged), ("md",))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({DECODERS[0]: None}, r"Fig\. 10 shows both decoders of a Composite Model"),
        ({DECODERS[1]: np.ones((15, 6), np.float32)}, r"15 numbers a feature.*no square picture"),
        ({DECODERS[1]: np.full((16, 6), np.nan, np.float32)}, r"no finite numbers"),
    ],
)
def test_a_model_without_such_weights_is_refused_in_a_sentence(
    tmp_path, tensors, change, sentence
) -> None:
    whole = {name: value for name, value in (tensors | change).items() if value is not None}
    with pytest.raises(ValueError, match=sentence):
        fig10(evidence_of("fig10", tmp_path, whole), ("md",))


def test_one_report_is_of_one_model() -> None:
    evidence = replace(evidence_of("fig9", None), expected=(CELL, {**CELL, "cell": "b"}))
    with pytest.raises(ValueError, match="2 cells are to be drawn"):
        fig9(evidence, ("md",))


def test_the_papers_words_head_the_panels(tmp_path, tensors) -> None:
    page = fig9(evidence_of("fig9", tmp_path, tensors), ("html",))["fig9.html"].decode()
    (words,) = re.findall(r'aria-label="([^"]+)"', page)
    assert all(title in words for title in INPUT_KINDS.values())
    assert "belong to the same LSTM unit" in words


def test_data_other_than_the_papers_are_told_of(tmp_path, tensors) -> None:
    evidence = evidence_of("fig9", tmp_path, tensors)
    assert "this is of moving_digits" in fig9(evidence, ("md",))["fig9.md"].decode()
    same = replace(evidence, expected=({**CELL, "dataset": "mnist"},), rows=())
    text = fig9(same, ("md",))["fig9.md"].decode()
    assert "this is of" not in text
    assert "trained on Moving MNIST" in text


def test_the_latex_typesets_both_ways(tmp_path, tensors) -> None:
    content = fig9(evidence_of("fig9", tmp_path, tensors), ["tex"])["fig9.tex"]
    assert_typesets_both_ways(tmp_path, "fig9", content)
