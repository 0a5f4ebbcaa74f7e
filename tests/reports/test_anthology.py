"""Several reports on one page: whole as HTML, no id twice, every reference inside its own figure, texts stay texts."""

import re
from collections import Counter
from html.parser import HTMLParser

import pytest

from reports.anthology import LARGE_SVG, Chapter, anthology, called
from reports.fig12 import draw
from reports.page import page

VOID = {"meta", "br", "hr", "img", "link", "input"}
EVIL = '</main><script>alert("1")</script>'
REFERENCE = re.compile(r"url\(#([^)]+)\)")


class Reader(HTMLParser):
    """Elements in order: (tag, id of the article around it or "", attributes); the text outside of style and svg."""

    def __init__(self, content: bytes) -> None:
        super().__init__()
        self.open: list[str] = []
        self.article = ""
        self.elements: list[tuple[str, str, dict[str, str]]] = []
        self.text = ""
        self.feed(content.decode())
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        given = {name: value or "" for name, value in attrs}
        if tag == "article":
            self.article = given["id"]
        self.elements.append((tag, self.article, given))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, self.article, {n: v or "" for n, v in attrs}))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        if tag == "article":
            self.article = ""

    def handle_data(self, data):
        if not {"style", "script", "svg"} & set(self.open):
            self.text += f"{data} "

    def tags(self, article=None):
        return Counter(tag for tag, where, _ in self.elements if article in (None, where))

    def ids(self):
        return [(given["id"], where) for _, where, given in self.elements if "id" in given]

    def references(self):
        for _, where, given in self.elements:
            for name, value in given.items():
                if name in ("href", "xlink:href") and value.startswith("#"):
                    yield value[1:], where
                for target in REFERENCE.findall(value):
                    yield target, where


@pytest.fixture(scope="module")
def drawn(grid):
    """The page and picture of a report with a figure."""
    made = grid(methods=("single frame", "LSTM classifier"), splits=(1, 2), resamples=2)
    made.provenance = {"commit": "abc", "notes": ["One sentence."], "knobs": ["a=1"]}
    return draw(made.evidence(title="Accuracy of everything"), ["html", "png"])


def chapter(drawn, name="fig12", **changes) -> Chapter:
    values = {
        "name": name,
        "title": f"Title of {name}",
        "done": 3,
        "cells": 3,
        "page": drawn["fig12.html"],
        "picture": drawn["fig12.png"],
        "files": (f"{name}/{name}.png",),
        **changes,
    }
    return Chapter(**values)


def whole(*chapters, **changes) -> bytes:
    values = {
        "title": "Everything",
        "done": 5,
        "cells": 7,
        "shared": 2,
        "told": {"compute": "3.0 hours"},
        "provenance": {"commit": "abc", "dirty": False},
        **changes,
    }
    return anthology(chapters=chapters, **values)


def test_no_id_is_there_twice_and_every_reference_stays_in_its_own_chapter(drawn):
    single = Reader(drawn["fig12.html"])
    content = whole(chapter(drawn, "fig1"), chapter(drawn, "fig12"), chapter(drawn, "table2"))
    reader = Reader(content)
    assert max(Counter(reader.ids()).values()) == 1
    where_is = dict(reader.ids())
    assert len(where_is) == 3 * len(single.ids()) + 3
    inside = [(target, where) for target, where in reader.references() if where]
    assert len(inside) == 3 * len(list(single.references())) > 100
    for target, where in inside:
        assert where_is[target] == where
        assert target.startswith(f"{where}-")
    contents = [target for target, where in reader.references() if not where]
    assert contents == ["fig1", "fig12", "table2"]


def test_a_chapter_has_all_of_its_reports_page_one_level_down(drawn):
    single = Reader(drawn["fig12.html"])
    reader = Reader(whole(chapter(drawn)))
    tags, before = reader.tags("fig12"), single.tags()
    assert reader.tags()["h1"] == 1
    assert (tags["h1"], tags["h2"], tags["h3"]) == (0, 1, before["h2"] - 1)  # one is folded
    for tag in ("table", "td", "svg", "path", "use", "li", "dt"):
        assert tags[tag] == before[tag] > 0, tag
    told = reader.text.split()
    for word in single.text.partition("results are in.")[2].split():
        assert word in told
    assert "Fig. 12: Title of fig12" in reader.text


def test_where_numbers_come_from_is_folded(drawn):
    reader = Reader(whole(chapter(drawn)))
    folded = [
        where
        for tag, where, given in reader.elements
        if tag == "details" and given.get("class") == "provenance"
    ]
    assert folded == ["fig12", ""]
    assert not any(tag == "section" for tag, _, _ in reader.elements)


def test_the_top_says_how_much_is_done_what_it_took_and_of_which_code(drawn):
    text = Reader(whole(chapter(drawn))).text
    assert "5 of 7 cells done, 2 missing; 2 of them shared by several artefacts" in text
    assert "3.0 hours" in text
    assert "abc" in text
    text = Reader(whole(chapter(drawn), done=7, shared=0)).text
    assert "7 of 7 cells done, none missing " in text
    dirty = Reader(whole(chapter(drawn), provenance={"commit": "abc", "dirty": True})).text
    assert "abc with uncommitted changes" in dirty


def test_the_contents_tell_what_is_incomplete(drawn):
    text = Reader(whole(chapter(drawn, done=1), chapter(drawn, "fig1"))).text
    assert "Title of fig12 1 of 3 2 missing" in " ".join(text.split())
    assert "Title of fig1 3 of 3 complete" in " ".join(text.split())


def test_a_chapter_that_could_not_be_drawn_is_said_at_the_top_and_in_its_place(drawn):
    broken = chapter(drawn, "fig5", page=None, picture=None, files=(), problem="fig5: no <ink>")
    content = whole(broken, chapter(drawn))
    reader = Reader(content)
    assert reader.text.count("fig5: no <ink>") == 2
    assert content.index(b"fig5: no &lt;ink&gt;") < content.index(b"Contents")
    assert "could not be drawn" in reader.text
    assert reader.tags("fig12")["svg"] == 1
    assert reader.tags("fig5")["svg"] == 0


def test_the_page_loads_nothing_and_links_only_to_files_beside_it(drawn):
    content = whole(chapter(drawn))
    reader = Reader(content)
    assert not {"link", "iframe", "object", "base"} & set(reader.tags())
    links = [given["href"] for tag, _, given in reader.elements if tag == "a"]
    assert set(links) == {"#fig12", "#fig12-cells", "fig12/fig12.png"}
    assert [given for tag, _, given in reader.elements if tag == "script"] == [{}]
    for tag, _, given in reader.elements:
        for name in ("src", "action", "data"):
            assert not given.get(name, "data:").partition("data:")[0]
        for name, value in given.items():
            if "://" in value:
                assert name.startswith("xmlns"), tag
    assert b"@import" not in content


def test_hostile_words_stay_words(grid):
    made = grid(methods=(EVIL, "b"), datasets=(EVIL,), resamples=2)
    made.provenance = {"commit": EVIL, "notes": [EVIL], EVIL: [EVIL]}
    files = draw(made.evidence(title=EVIL), ["html", "png"])
    evil = chapter(files, title=EVIL, files=(f'a"{EVIL}',))
    content = whole(evil, title=EVIL, told={EVIL: EVIL}, provenance={"commit": EVIL, EVIL: [EVIL]})
    reader = Reader(content)
    assert reader.tags()["script"] == 1
    assert b"<script>alert" not in content
    assert reader.tags("fig12")["svg"] == 1
    assert reader.text.count(EVIL) > 5


def test_a_figure_that_is_too_large_as_svg_is_shown_as_png(drawn):
    filler = b"<path d='" + b"M 0 0 " * (LARGE_SVG // 6) + b"'/></svg>"
    large = drawn["fig12.html"].replace(b"</svg>", filler)
    reader = Reader(whole(chapter(drawn, page=large)))
    (image,) = [given for tag, _, given in reader.elements if tag == "img"]
    assert image["src"].startswith("data:image/png;base64,iVBORw0KGgo")
    assert reader.tags()["svg"] == 0
    assert len(whole(chapter(drawn, page=large))) < LARGE_SVG
    # Nothing to show instead, or nothing gained by it: the svg stays.
    assert Reader(whole(chapter(drawn, page=large, picture=None))).tags()["svg"] == 1
    bigger = bytes(2 * LARGE_SVG)
    assert Reader(whole(chapter(drawn, page=large, picture=bigger))).tags()["svg"] == 1


def test_a_report_of_tables_alone_and_a_page_of_another_make_have_their_place(drawn):
    plain = page(
        title="Only words", lead="Lead.", sections=(), missing=None, notes=["Noted."], provenance={}
    )
    foreign = b"<html><body>mine</body></html>"
    reader = Reader(
        whole(chapter(drawn, "listing", page=plain), chapter(drawn, "own", page=foreign))
    )
    assert reader.tags("listing")["svg"] == 0
    assert "Noted." in reader.text
    assert "Its page is of another kind than can be shown here." in reader.text
    assert "mine" not in reader.text.replace("table", "")


def test_the_same_reports_give_the_same_bytes(drawn):
    assert whole(chapter(drawn)) == whole(chapter(drawn))


def test_a_title_that_names_the_artefact_itself_is_not_doubled(drawn):
    text = Reader(whole(chapter(drawn, "table2", title="Table 2: losses"))).text
    assert "Table 2: losses" in text
    assert "Table 2: Table 2" not in text


def test_two_chapters_of_one_name_are_refused(drawn):
    with pytest.raises(ValueError, match="each needs a name of its own"):
        whole(chapter(drawn), chapter(drawn))


@pytest.mark.parametrize(
    ("name", "expected"),
    [("fig5", "Fig. 5"), ("fig12", "Fig. 12"), ("table2", "Table 2"), ("two_stream", "two_stream")],
)
def test_artefacts_are_called_as_the_paper_calls_them(name, expected):
    assert called(name) == expected
