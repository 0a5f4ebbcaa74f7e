"""Several reports on one self-contained page: contents first, then each report's figure, tables, notes and origin.

It is made from the reports' own pages (`reports.page`). Element ids get the name of their report in front: matplotlib numbers
its elements from one in every file, every report has a list of cells, and of two equal ids on a page the first is taken.
"""

import base64
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from reports.page import CSS, MAIN, MAIN_END, PROVENANCE, PROVENANCE_END, document, facts

LARGE_SVG = 1_500_000
"""Bytes of an svg from which on the png is shown instead, if that is smaller: many such would make browsers slow."""

_CSS = """
h2 { font-size: 1.35rem; margin-top: 4rem; border-bottom: 2px solid #222; }
h2.small { font-size: 1.15rem; margin-top: 2rem; border-bottom: 1px solid #ddd; }
h3 { font-size: 1.05rem; margin-top: 2rem; }
figure img { width: 100%; height: auto; max-width: 54rem; }
nav td { vertical-align: top; }
.problem { background: #fdf0e6; border-left: 4px solid #d55e00; padding: .5rem .8rem; }
.files { font-size: .9rem; }
details.provenance { margin-top: 1.5rem; }
@media print { h2 { break-before: page; } h2.small { break-before: auto; } }
"""

_TAG = re.compile(r"<[A-Za-z][^>]*>")
_ID = re.compile(r'(\sid=")([^"]+)')
_UP = re.compile(r'(\shref=")\.\./')
_LINK = re.compile(r'(\shref="#|\sxlink:href="#|url\(#)([^")]+)')


@dataclass(frozen=True, kw_only=True, slots=True)
class Chapter:
    """One report of the page."""

    name: str
    """Of the artefact, such as "fig12"; also the target of links to it."""
    title: str
    done: int
    """Cells that have an accepted result."""
    cells: int
    """Cells that there should be."""
    page: bytes | None
    """What `reports.page.page` made; None when it was not drawn."""
    picture: bytes | None = None
    """The figure as png, for figures that are too large as svg."""
    files: tuple[str, ...] = ()
    """Its files, relative to the page."""
    problem: str = ""
    """Why it could not be drawn."""

    @property
    def subject(self) -> str:
        """Its title without the name of the artefact in front."""
        return self.title.removeprefix(f"{called(self.name)}: ")

    @property
    def state(self) -> str:
        """How complete it is, in words."""
        if self.problem:
            return "could not be drawn"
        missing = self.cells - self.done
        return f"{missing} missing" if missing else "complete"


def called(name: str) -> str:
    """A name as the paper would print it: Fig. 12 for "fig12", Table 2 for "table2", any other name as it is."""
    found = re.fullmatch(r"(fig|table)(\d+)", name)
    if found is None:
        return name
    return f"{'Fig.' if found[1] == 'fig' else 'Table'} {found[2]}"


def anthology(
    *,
    title: str,
    done: int,
    cells: int,
    shared: int,
    told: Mapping[str, str],
    chapters: Sequence[Chapter],
    provenance: Mapping[str, object],
) -> bytes:
    """The page as UTF-8 HTML; it loads nothing, links to the files beside it aside.

    Args:
        title: Heading and window title.
        done: Cells of the whole that have an accepted result, each counted once.
        cells: Cells that there should be.
        shared: Cells that more than one chapter rests on.
        told: What else stands at the top, by name.
        chapters: In the order of the page.
        provenance: JSON-able facts about where all numbers come from.

    Raises:
        ValueError: When two chapters have one name.
    """
    names = [chapter.name for chapter in chapters]
    if len(set(names)) < len(names):
        raise ValueError(f"chapters {', '.join(names)}: each needs a name of its own")
    missing = f"{cells - done} missing" if done < cells else "none missing"
    lead = f"{done} of {cells} cells done, {missing}"
    lead += f"; {shared} of them shared by several artefacts" if shared else ""
    undrawn = [chapter for chapter in chapters if chapter.problem]
    body = [
        f"<h1>{escape(title)}</h1>",
        *(f'<p class="problem">{escape(chapter.problem)}</p>' for chapter in undrawn),
        *_head({"cells": lead, **told, "commit": _commit(provenance)}),
        *_contents(chapters),
    ]
    for chapter in chapters:
        body += _chapter(chapter)
    body += _folded("Provenance of the whole", facts(provenance))
    return document(title, body, css=CSS + _CSS)


def _commit(provenance: Mapping[str, object]) -> str:
    commit = str(provenance.get("commit") or "unknown")
    return f"{commit} with uncommitted changes" if provenance.get("dirty") is True else commit


def _head(told: Mapping[str, str]) -> list[str]:
    rows = (
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(text)}</td></tr>'
        for name, text in told.items()
    )
    return ['<div class="wide"><table>', "<tbody>", *rows, "</tbody>", "</table></div>"]


def _contents(chapters: Iterable[Chapter]) -> list[str]:
    rows = (
        f'<tr><td><a href="#{escape(chapter.name)}">{escape(called(chapter.name))}</a></td>'
        f"<td>{escape(chapter.subject)}</td><td>{chapter.done} of {chapter.cells}</td>"
        f"<td>{escape(chapter.state)}</td></tr>"
        for chapter in chapters
    )
    heads = ("Artefact", "Title", "Cells done", "State")
    return [
        '<h2 class="small">Contents</h2>',
        '<nav class="wide"><table>',
        "<thead><tr>",
        *(f'<th scope="col">{head}</th>' for head in heads),
        "</tr></thead>",
        "<tbody>",
        *rows,
        "</tbody>",
        "</table></nav>",
    ]


def _chapter(chapter: Chapter) -> list[str]:
    heading = f"{called(chapter.name)}: {chapter.subject}"
    parts = [f'<article id="{escape(chapter.name)}">', f"<h2>{escape(heading)}</h2>"]
    if chapter.problem:
        parts.append(f'<p class="problem">{escape(chapter.problem)}</p>')
    elif chapter.page is None:
        parts.append("<p>It has no page.</p>")
    else:
        parts += _content(chapter, chapter.page.decode())
    if chapter.files:
        links = ", ".join(
            f'<a href="{escape(file)}">{escape(file.rpartition("/")[2])}</a>'
            for file in chapter.files
        )
        parts.append(f'<p class="files">Beside this page: {links}</p>')
    return [*parts, "</article>"]


def _content(chapter: Chapter, page: str) -> list[str]:
    """A report's page without its heading, one level down, its provenance folded."""
    begin, end = page.find(MAIN), page.rfind(MAIN_END)
    if begin < 0 or end < begin:  # drawn by other means than `reports.page`
        return ["<p>Its page is of another kind than can be shown here.</p>"]
    main = page[begin + len(MAIN) : end]
    start, stop = main.find("<svg"), main.rfind("</svg>") + len("</svg>")
    if start < 0:
        return [_lowered(_renamed(main, chapter.name))]
    figure = main[start:stop]
    shown = _png(chapter.picture, instead_of=figure) or _renamed(figure, chapter.name)
    before, after = (_renamed(part, chapter.name) for part in (main[:start], main[stop:]))
    return [_lowered(before), shown, _lowered(after)]


def _lowered(markup: str) -> str:
    """Headings one level down; the heading of the page goes, as the chapter has one."""
    markup = re.sub(r"<h1>.*?</h1>\n?", "", markup, flags=re.DOTALL)
    if PROVENANCE in markup:
        before, _, after = markup.rpartition(PROVENANCE)
        inside, _, rest = after.rpartition(PROVENANCE_END)
        folded = _folded("Provenance", [inside.strip("\n")])
        markup = before + "\n".join(folded) + rest
    return markup.replace("<h2>", "<h3>").replace("</h2>", "</h3>").strip("\n")


def _folded(summary: str, lines: Sequence[str]) -> list[str]:
    return ['<details class="provenance">', f"<summary>{summary}</summary>", *lines, "</details>"]


def _renamed(markup: str, name: str) -> str:
    """Markup with a name before every id, and before every reference to one; texts and comments stay.

    A report's own page lies one folder further down, so links out of that folder lose a step up.
    """

    def in_tag(tag: re.Match[str]) -> str:
        own = _LINK.sub(rf"\g<1>{name}-\g<2>", _ID.sub(rf"\g<1>{name}-\g<2>", tag[0]))
        return _UP.sub(r"\g<1>", own)

    return _TAG.sub(in_tag, markup)


def _png(picture: bytes | None, *, instead_of: str) -> str:
    """The png as an image inside the page, where the svg is large and the png smaller; else nothing."""
    if picture is None or len(instead_of) < LARGE_SVG or len(picture) * 4 / 3 > len(instead_of):
        return ""
    return f'<img alt="" src="data:image/png;base64,{base64.b64encode(picture).decode()}">'
