"""One self-contained web page: a figure if there is one, tables, what is missing, and where the numbers come from.

The page loads nothing: style, script and figure are inside it, so it reads the same offline and years later.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape

from reports.cells import CellList
from reports.sorting import SCRIPT
from reports.tables import Table, html

CSS = """
:root { color-scheme: light; }
body { margin: 2rem auto; max-width: 60rem; padding: 0 1rem; color: #222; background: #fff;
  font: 16px/1.5 system-ui, "Segoe UI", "Helvetica Neue", Arial, sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.25; margin-bottom: .3rem; }
h2 { font-size: 1.15rem; margin-top: 2.5rem; border-bottom: 1px solid #ddd; padding-bottom: .2rem; }
.lead, .note, caption { color: #555; }
figure { margin: 1.5rem 0; }
figure svg { width: 100%; height: auto; max-width: 54rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; margin: 1rem 0; }
caption { text-align: left; padding-bottom: .5rem; }
th { border-bottom: 2px solid #222; vertical-align: bottom; }
th, td { padding: .25rem .8rem .25rem 0; text-align: left; }
th.right, td.right { text-align: right; }
td.right { white-space: nowrap; }
tbody tr:hover { background: #f5f5f5; }
tr.group td { border-top: 1px solid #ddd; }
tbody tr:last-child td { border-bottom: 1px solid #222; }
th button { all: unset; cursor: pointer; text-align: inherit; }
th button:hover { text-decoration: underline; }
th button:focus-visible { outline: 2px solid #0072b2; outline-offset: 2px; }
th[aria-sort=ascending] button::after { content: " \\25b2"; font-size: .7em; }
th[aria-sort=descending] button::after { content: " \\25bc"; font-size: .7em; }
th.cells, td.cells { padding-left: .8rem; font-weight: 400; font-size: .85em; white-space: nowrap; color: #777; }
td.cells a, details.cells a { color: #555; }
details.cells table { font-size: .8rem; white-space: nowrap; }
summary { cursor: pointer; }
dt { font-weight: 600; margin-top: .6rem; }
dd { margin-left: 0; overflow-wrap: anywhere; }
pre { background: #f7f7f7; padding: .6rem; overflow-x: auto; font-size: .85rem; margin: .2rem 0; }
"""

# What `reports.anthology` finds a page's content by: no text of a page can be taken for them, as texts are escaped.
MAIN, MAIN_END = "<main>", "</main>"
PROVENANCE, PROVENANCE_END = '<section class="provenance">\n<h2>Provenance</h2>', "</section>"


def page(
    *,
    title: str,
    lead: str,
    figure_svg: bytes | None = None,
    figure_alt: str = "",
    sections: Iterable[tuple[str, Table]],
    missing: Table | None,
    advice: str = "",
    commands: Sequence[str] = (),
    notes: Iterable[str],
    provenance: Mapping[str, object],
    cells: CellList | None = None,
) -> bytes:
    """The page as UTF-8 HTML.

    Args:
        title: Heading and window title.
        lead: One sentence under the heading.
        figure_svg: The figure as an svg file; None for a page of tables alone.
        figure_alt: The figure in words, for those who cannot see it.
        sections: Heading and table, in the order of the page.
        missing: What has no accepted result yet; None when nothing is missing.
        advice: What to know before one types the commands.
        commands: What to type next; the page says nothing of it without any.
        notes: Sentences on how to read the numbers.
        provenance: JSON-able facts about where the numbers come from.
        cells: The list of all cells, to which the lines of the tables lead; None for a page without.
    """
    places = None if cells is None else cells.places
    parts = [f"<h1>{escape(title)}</h1>", f'<p class="lead">{escape(lead)}</p>']
    if figure_svg is not None:
        label = escape(figure_alt)
        parts += [f'<figure role="img" aria-label="{label}">', _inline(figure_svg), "</figure>"]
    for heading, table in sections:
        parts += [f"<h2>{escape(heading)}</h2>", _wide(table, places)]
    parts.append("<h2>Missing</h2>")
    if missing is None:
        parts.append("<p>Nothing is missing: every expected cell has an accepted result.</p>")
    else:
        state = " open" if len(missing.rows) <= 12 else ""
        summary = f"{len(missing.rows)} lines of what has no accepted result yet"
        parts += [f"<details{state}><summary>{summary}</summary>", _wide(missing), "</details>"]
    if commands:
        typed = "\n".join(commands)
        parts += ["<h2>Next</h2>", *([f"<p>{escape(advice)}</p>"] if advice else [])]
        parts.append(f"<pre>{escape(typed)}</pre>")
    listed = [f"<li>{escape(note)}</li>" for note in notes]
    parts += ["<h2>Notes</h2>", "<ul>", *listed, "</ul>"] if listed else []
    parts += ["<h2>Cells</h2>", *cells.lines] if cells is not None else []
    parts += [PROVENANCE, *facts(provenance), PROVENANCE_END]
    return document(title, [MAIN, *parts, MAIN_END])


def document(title: str, body: Iterable[str], *, css: str = CSS) -> bytes:
    """A whole HTML file around the lines of its body."""
    lines = [
        "<!DOCTYPE html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(title)}</title>",
        f"<style>{css}</style>",
        "</head>",
        "<body>",
        *body,
        f"<script>{SCRIPT}</script>",
        "</body>",
        "</html>",
    ]
    return ("\n".join(lines) + "\n").encode()


def _wide(table: Table, places: Mapping[str, int] | None = None) -> str:
    """A table that scrolls inside itself on a narrow screen."""
    return f'<div class="wide">\n{html(table, places)}</div>'


def _inline(svg: bytes) -> str:
    """The svg element alone: the XML declaration and document type before it are not allowed inside HTML."""
    text = svg.decode()
    return text[text.index("<svg") :].strip()


def facts(provenance: Mapping[str, object]) -> list[str]:
    """Provenance as the lines of a definition list; nested values as indented JSON."""
    if not provenance:
        return ["<p>None recorded.</p>"]
    lines = ["<dl>"]
    for name in sorted(provenance):
        value = provenance[name]
        if isinstance(value, (Mapping, list, tuple)):
            text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False)
            shown = f"<pre>{escape(text)}</pre>"
        else:
            shown = escape(str(value))
        lines.append(f"<dt>{escape(name)}</dt><dd>{shown}</dd>")
    return [*lines, "</dl>"]
