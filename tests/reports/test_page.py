"""The web page stands alone, is well formed, and nothing written in it can become code."""

from html.parser import HTMLParser

import pytest

from reports.fig12 import draw

VOID = {"meta", "br", "hr", "img", "link", "input"}
EVIL = '<script>alert("1")</script>'


class Reader(HTMLParser):
    """Follows open elements; collects tags, attributes and the text outside of style and figure."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.text = ""

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not {"style", "script", "svg"} & set(self.open):
            self.text += data


def read(plan, title="Accuracy") -> tuple[str, Reader]:
    text = draw(plan.evidence(title=title), ["html"])["fig12.html"].decode()
    reader = Reader()
    reader.feed(text)
    reader.close()
    return text, reader


@pytest.fixture
def evil_plan(grid):
    plan = grid(
        methods=(EVIL, f"{EVIL} + x"), splits=(1, 2), resamples=2, holes=lambda p: p[4] == 1
    )
    plan.failed = {str(plan.cells[1]["cell"]): EVIL}
    plan.provenance = {"commit": EVIL, "notes": [EVIL], "knobs": {EVIL: EVIL}, EVIL: EVIL}
    return plan


def test_every_element_is_closed_in_order(grid):
    text, reader = read(grid())
    assert text.startswith("<!DOCTYPE html>\n<html lang=")
    assert reader.open == []
    assert reader.tags.count("svg") == 1
    assert reader.tags.count("title") == 1


def test_the_page_loads_nothing_from_outside(grid):
    text, reader = read(grid())
    assert not {"link", "iframe", "img", "object", "base"} & set(reader.tags)
    for _, name, value in reader.attributes:
        if name in ("src", "href", "xlink:href", "action", "data"):
            assert value.startswith("#")
        elif "://" in value:
            assert name.startswith("xmlns")  # a name of a vocabulary, never fetched
    assert "@import" not in text
    assert "url(http" not in text


def test_hostile_names_reasons_and_facts_stay_text(evil_plan):
    text, reader = read(evil_plan, title=EVIL)
    assert reader.tags.count("script") == 1
    assert "<script>alert" not in text
    assert reader.open == []
    assert reader.text.count(EVIL) > 20


def test_internal_links_point_at_elements_of_the_page(grid):
    _, reader = read(grid())
    ids = [value for _, name, value in reader.attributes if name == "id"]
    links = [value[1:] for _, name, value in reader.attributes if name.endswith("href")]
    assert len(ids) == len(set(ids))
    assert set(links) <= set(ids)


def test_a_complete_page_says_that_nothing_is_missing(grid):
    _, reader = read(grid())
    assert "42 of 42 expected results are in." in reader.text
    assert "Nothing is missing" in reader.text
    assert "None recorded." in reader.text


def test_an_incomplete_page_lists_what_is_missing_and_where_numbers_come_from(grid):
    plan = grid(holes=lambda place: place[4] == 2)
    plan.provenance = {"commit": "0123abc", "knobs": {"resamples": 10}}
    _, reader = read(plan)
    assert "details" in reader.tags
    assert "no finished run yet" in reader.text
    assert "0123abc" in reader.text
    assert '"resamples": 10' in reader.text
