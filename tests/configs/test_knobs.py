"""Knobs: typed parameters spelt on a command line."""

from typing import Annotated, Any, Literal

import pytest

from configs.knobs import did_you_mean, knobs, parse, spell


def experiment(
    *,
    count: Annotated[int, "how many"] = 1,
    rate: float = 0.5,
    name: str = "a",
    flag: bool = False,
    kind: Literal["x", "y"] = "x",
    several: tuple[int | Literal["all"], ...] = (1, "all"),
    maybe: int | None = None,
    unspeakable: object = None,
) -> None:
    """An experiment function."""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("count=3", {"count": 3}),
        ("rate=1e-3", {"rate": 0.001}),
        ("name=no", {"name": "no"}),
        ("flag=true", {"flag": True}),
        ("kind=y", {"kind": "y"}),
        ("several=1, 20,all", {"several": (1, 20, "all")}),
        ("maybe=none", {"maybe": None}),
        ("maybe=4", {"maybe": 4}),
        ("name=a=b", {"name": "a=b"}),
    ],
)
def test_values_are_read_by_type_and_spelt_back(text: str, expected: dict[str, Any]) -> None:
    assert parse(experiment, [text]) == expected
    assert parse(experiment, spell(expected)) == expected


@pytest.mark.parametrize(
    "text",
    [
        "count=1.5",
        "count=",
        "rate=inf",
        "flag=yes",
        "kind=z",
        "several=",
        "several=1,x",
        "maybe=x",
        "unspeakable=1",
        "count",
    ],
)
def test_values_of_another_type_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"cannot be|no knob|write it as"):
        parse(experiment, [text])


def test_knobs_tell_their_type_default_and_meaning() -> None:
    found = knobs(experiment)
    assert (found["count"].type_name, found["count"].default, found["count"].meaning) == (
        "int",
        1,
        "how many",
    )
    assert found["several"].type_name == "list of int | all"
    assert found["maybe"].type_name == "int | none"
    assert "unspeakable" not in found


def test_did_you_mean_offers_the_nearest_or_nothing() -> None:
    assert did_you_mean("locl", ["local", "slurm"]) == "; did you mean 'local'?"
    assert did_you_mean("zzz", ["local", "slurm"]) == ""
