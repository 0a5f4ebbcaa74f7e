"""Reports without a figure: whole pages, no mean over some of the splits, notes that name their set, the next command."""

import json
from dataclasses import replace
from html.parser import HTMLParser
from types import ModuleType

import pytest

from reports import flow, patches, percepts, temporal_stream
from reports.evidence import Evidence
from reports.tables import MISSING
from tests.latex import assert_typesets_both_ways

NOTES = ["splits are drawn by group: seed 0", "ut: flow is here.", "A sentence.", "utter darkness"]
SAID = ["ut: splits are drawn by group: seed 0.", "ut: flow is here.", "A sentence.", "ut: utter darkness."]  # fmt: skip
OF_PERCEPTS = {
    "dataset": "ut", "stream": "rgb", "convnet": "vgg16", "layer": "fc6", "weights": "0123456789abcdef",
    "store": "rgb-vgg16-fc6-aaaa",
}  # fmt: skip
OF_FLOW = {
    "dataset": "ut", "flow_method": "dis", "flow_bound": 20.0, "rows": 240, "columns": 320, "store": "dis-20px-aaaa",
    "bytes": 1000,
}  # fmt: skip
OF_PATCHES = {
    "dataset": "ut", "colour": "gray", "per_video": 8, "rows": 240, "columns": 320, "side": 32, "places_seed": 0,
    "store": "gray-8x32px-aaaa", "bytes": 2_000_000,
}  # fmt: skip
OF_TEMPORAL = {
    "dataset": "ucf101", "flow": "brox-20px", "flow_fields": 10, "flow_method": "brox", "flow_bound": 20.0,
    "rows": 240, "columns": 320, "divisor": 1, "steps": 80000, "batch_size": 256, "learning_rate": 0.01, "dropout": 0.9,
}  # fmt: skip
REPORTS = {
    "percepts": (percepts, OF_PERCEPTS, "shard", ("frames",)),
    "flow": (flow, OF_FLOW, "shard", ("frames", "at_bound")),
    "patches": (patches, OF_PATCHES, "shard", ("frames",)),
    "temporal": (temporal_stream, OF_TEMPORAL, "split", temporal_stream.METRICS),
}
ALL = ("md", "tex", "html", "csv", "json")


def of(name: str, done: int, count: int = 3, **more: str | int) -> tuple[ModuleType, Evidence]:
    """A report's module, and evidence of `count` lines of which the first `done` are there."""
    module, values, what, metrics = REPORTS[name]
    cells = [{**values, **more, "cell": f"{at}" * 64, what: at} for at in range(1, count + 1)]
    scores = [
        {**cell, "run": "attempt-1", "metric": metric, "value": 10.0 * cell[what]}
        for cell in cells[:done]
        for metric in metrics
    ]
    return module, Evidence(
        experiment=name,
        title=f"A <{name}>",
        expected=tuple(cells),
        rows=tuple(scores),
        failed={"3" * 64: "out of & memory"} if done < count else {},
        provenance={"commit": "c0ffee", "notes": NOTES},
    )


def texts(name: str, done: int, **more: str | int) -> dict[str, str]:
    module, evidence = of(name, done, **more)
    files = module.draw(evidence, (*ALL, "png"))
    assert files == module.draw(evidence, (*ALL, "png"))
    assert set(files) == {f"{name}.{form}" for form in ALL}
    return {path.rpartition(".")[2]: data.decode() for path, data in files.items()}


class Reader(HTMLParser):
    """Collects tags, and the text by the element it stands in; an element that is not closed in order fails."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.within: dict[str, list[str]] = {}
        self.attributes: list[tuple[str, str | None]] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.attributes += attrs
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open:
            self.within.setdefault(self.open[-1], []).append(data)


@pytest.mark.parametrize("name", REPORTS)
def test_a_page_is_whole_and_loads_nothing(name):
    page = texts(name, 2)["html"]
    assert page.startswith("<!DOCTYPE html>")
    reader = Reader(page)
    assert ("charset", "utf-8") in reader.attributes
    assert reader.within["title"] == reader.within["h1"] == [f"A <{name}>"]
    assert "border-collapse" in "".join(reader.within["style"])
    assert "figure" not in reader.within
    assert "c0ffee" in reader.within["dd"]
    assert "out of & memory" in reader.within["td"]  # why the third is missing
    assert "2 of 3" in reader.within["p"][0]
    assert not {name for name, _ in reader.attributes} & {"src", "href"}


@pytest.mark.parametrize("name", REPORTS)
def test_a_page_with_everything_says_that_nothing_is_missing(name):
    assert "Nothing is missing" in texts(name, 3)["html"]


@pytest.mark.parametrize("name", ["percepts", "flow", "patches"])
def test_notes_are_sentences_that_name_their_set_each_once(name):
    made = texts(name, 3)
    assert Reader(made["html"]).within["li"] == SAID
    for form in ("md", "tex", "html"):
        for said in SAID:
            assert made[form].count(said) == 1


def test_no_mean_of_splits_until_all_are_there():
    some, every = (texts("temporal", done)["md"].splitlines() for done in (2, 3))
    assert f"| 2 of 3 † | {MISSING} |  |  | 77.5 |  |" in some
    assert any("no mean is taken over some of the splits" in line for line in some)
    assert "| mean of 3 | 20.0 |  |  | 77.5 |  |" in every
    assert not any("†" in line for line in every)


@pytest.mark.parametrize(("name", "done"), [("temporal", 2), ("percepts", 3)])
def test_what_to_type_next_is_in_both_forms(name, done):
    made = texts(name, done)
    fenced = made["md"].split("## Next")[1].split("```")[1].strip()
    (pre,) = Reader(made["html"]).within["pre"]
    assert pre == fenced
    assert len(pre.splitlines()) == (2 if name == "temporal" else 1)


def test_percepts_are_used_when_all_shards_are_there():
    command = "harness run fig12 --set dataset=ut --set percepts=rgb-vgg16-fc6-aaaa"
    assert command in texts("percepts", 3)["md"].splitlines()
    assert "harness run" not in texts("percepts", 2)["md"]
    assert "serve that split alone" not in texts("percepts", 3)["md"]
    assert "serve that split alone" in texts("percepts", 3, stream="flow10")["md"]


def test_percepts_say_what_made_them():
    plain = texts("percepts", 3)
    for form in ("md", "html", "tex"):
        assert "3 of 3 shards, 60 frames. Stream rgb of ut through vgg16, layer fc6, weights sha256 0123456789ab." in plain[form]  # fmt: skip
    told = texts("percepts", 3, frame_size=4096, preprocessing="caffe")
    assert "60 frames of 4,096 numbers." in told["md"]
    assert "layer fc6, preprocessing caffe, weights" in told["md"]
    assert json.loads(told["json"])["shards"][0]["frame_size"] == 4096
    pixels = texts("percepts", 3, convnet="raw_pixels", layer="pixels", weights="")
    assert "through raw_pixels, layer pixels." in pixels["md"]


def test_patches_say_how_they_are_kept_and_what_is_missing():
    some = texts("patches", 2)
    said = "2 of 3 shards, 30 frames, 0.004 GB. Of each video 8 places of 32 x 32 pixels, gray, in frames of 240 x 320."
    for form in ("md", "html", "tex"):
        assert said in some[form]
    assert "| 3 | missing | 0.002 |" in some["md"]
    kept = json.loads(some["json"])["shards"]
    assert [line["frames"] for line in kept] == [10.0, 20.0, None]
    assert kept[0]["places_seed"] == 0


def test_a_page_without_commands_has_no_heading_for_them():
    module, evidence = of("flow", 3)
    bare = module.draw(replace(evidence, provenance={}), ("html",))["flow.html"].decode()
    assert "<h2>Next</h2>" not in bare


@pytest.mark.parametrize("name", REPORTS)
def test_the_latex_typesets_both_ways(name, tmp_path):
    assert_typesets_both_ways(tmp_path, name, texts(name, 2)["tex"].encode())
