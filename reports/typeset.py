r"""LaTeX: texts that are safe in it, columns of numbers for siunitx, and files that compile as they are.

What a table consists of is put together in `reports.tables`.
"""

import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

_COMMENT_WIDTH = 110  # letters of a line of a comment

_LATEX = {
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    "\N{LEFT DOUBLE QUOTATION MARK}": "``",
    "\N{RIGHT DOUBLE QUOTATION MARK}": "''",
    "\N{LEFT SINGLE QUOTATION MARK}": "`",
    "\N{RIGHT SINGLE QUOTATION MARK}": "'",
    # At the start of a row, [ and * would be read as arguments of the line break before them.
    "[": "{[}",
    "]": "{]}",
    "*": "{*}",
    "\N{PLUS-MINUS SIGN}": r"\ensuremath{\pm}",
    "\N{MINUS SIGN}": r"\ensuremath{-}",
    "\N{MULTIPLICATION SIGN}": r"\ensuremath{\times}",
    "\N{LESS-THAN OR EQUAL TO}": r"\ensuremath{\leq}",
    "\N{GREATER-THAN OR EQUAL TO}": r"\ensuremath{\geq}",
    "\N{ALMOST EQUAL TO}": r"\ensuremath{\approx}",
    "\N{RIGHTWARDS ARROW}": r"\ensuremath{\rightarrow}",
    "\N{GREEK SMALL LETTER ALPHA}": r"\ensuremath{\alpha}",
    "\N{GREEK SMALL LETTER MU}": r"\ensuremath{\mu}",
    "\N{GREEK SMALL LETTER RHO}": r"\ensuremath{\rho}",
    "\N{GREEK SMALL LETTER SIGMA}": r"\ensuremath{\sigma}",
    "\N{GREEK CAPITAL LETTER DELTA}": r"\ensuremath{\Delta}",
    "\N{EN DASH}": "--",
    "\N{EM DASH}": "---",
    "\N{HORIZONTAL ELLIPSIS}": r"\ldots{}",
    "\N{DAGGER}": r"\textdagger{}",
    "\N{DOUBLE DAGGER}": r"\textdaggerdbl{}",
}
_LAST_LATIN = "\N{LATIN SMALL LETTER Z WITH CARON}"  # up to here, T1 fonts have a glyph

_NUMBER = re.compile(
    r"(?P<sign>[+\u2212-]?)(?P<whole>\d{1,3}(?:,\d{3})+|\d+)(?:\.(?P<digits>\d+))?"
    r"(?: \u00b1 (?P<sd_whole>\d+)(?:\.(?P<sd_digits>\d+))?)?"
)

SETUP = (
    r"\sisetup{separate-uncertainty, retain-explicit-plus, retain-zero-uncertainty, "
    r"group-separator={,}, group-digits=integer, group-minimum-digits=4, table-align-uncertainty=false}"
)
"""How siunitx prints numbers, so that they are those of the other forms of a table."""


def latex_text(text: str) -> str:
    """Text with every character escaped that LaTeX gives a meaning to; white space becomes single spaces.

    What pdflatex has no glyph for becomes its number, as [U+4E2D].
    """
    return "".join(_LATEX.get(sign) or _plain(sign) for sign in " ".join(text.split()))


def _plain(sign: str) -> str:
    if not sign.isprintable():
        return ""
    return sign if sign <= _LAST_LATIN else f"{{[}}U+{ord(sign):04X}{{]}}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Numbers:
    """A column of numbers that siunitx aligns at their decimal points."""

    format: str
    """Of the widest number: "+2.1(2)" has a sign, two digits, a decimal and an uncertainty of two digits."""

    @property
    def shape(self) -> str:
        """The column in the head of a tabular."""
        return f"S[table-format={self.format}]"

    def cell(self, text: str) -> str:
        """One cell; what is no number is a text in braces."""
        found = _number(text)
        if found is None:
            return f"{{{latex_text(text)}}}"
        bare = text.replace(",", "").replace("\N{MINUS SIGN}", "-")
        return bare.replace("\N{PLUS-MINUS SIGN}", r"\pm")


def numbers(texts: Sequence[str]) -> Numbers | None:
    """The column that these cells make, None when no cell is a number alone, with or without a spread."""
    found = [one for text in texts if (one := _number(text)) is not None]
    if not found:
        return None
    sign = "+" if any(one["sign"] for one in found) else ""
    whole = max(len((one["whole"]).replace(",", "")) for one in found)
    digits = max(len(one["digits"] or "") for one in found)
    spread = max(len(_significant(one)) for one in found)
    shape = f"{sign}{whole}" + (f".{digits}" if digits else "")
    return Numbers(format=shape + (f"({spread})" if spread else ""))


def _significant(number: re.Match[str]) -> str:
    """The digits of an uncertainty, in units of the last digit of its number."""
    if number["sd_whole"] is None:
        return ""
    return (number["sd_whole"] + (number["sd_digits"] or "")).lstrip("0") or "0"


def _number(text: str) -> re.Match[str] | None:
    """The parts of a number; None for other texts, and for a spread of another precision than its number's."""
    found = _NUMBER.fullmatch(text)
    if found is None:
        return None
    same = len(found["digits"] or "") == len(found["sd_digits"] or "")
    return found if found["sd_whole"] is None or same else None


def comment(lines: Sequence[str]) -> list[str]:
    """Lines as comments of LaTeX, long ones broken."""
    return [
        f"% {part}"
        for line in lines
        for part in textwrap.wrap(line, _COMMENT_WIDTH, subsequent_indent="  ")
    ]


def latex_file(name: str, tables: Sequence[str], *, told: Sequence[str] = ()) -> str:
    r"""A file that compiles as it is, and that a document can also \input.

    Before \begin{document}, LaTeX's own \@nodocument is an error message, and inside a document it is \relax: by this the
    file knows where it stands.

    Args:
        name: Of the file without its suffix.
        tables: LaTeX of each.
        told: Lines of comment at the top: where the numbers come from.
    """
    needed = ("booktabs", "graphicx", "siunitx")
    checks = [
        rf"  \ifcsname ver@{package}.sty\endcsname\else\PackageError{{{_bare(name)}}}"
        rf"{{These tables need \string\usepackage{{{package}}} in the preamble}}{{}}\fi"
        for package in needed
    ]
    lines = [
        *comment(told),
        f"% This file compiles as it is; a document that loads {', '.join(needed[:-1])} and {needed[-1]} can \\input it.",
        r"\expandafter\ifx\csname @nodocument\endcsname\relax",
        r"  \let\EndOfTables\relax",
        *checks,
        r"\else",
        r"  \documentclass[a4paper]{article}",
        r"  \usepackage[T1]{fontenc}",
        r"  \IfFileExists{lmodern.sty}{\usepackage{lmodern}}{}",
        r"  \usepackage[margin=2cm]{geometry}",
        rf"  \usepackage{{{','.join(needed)}}}",
        r"  \def\EndOfTables{\end{document}}",
        r"  \begin{document}",
        r"\fi",
        "",
        *tables,
        r"\EndOfTables",
    ]
    return "\n".join(lines) + "\n"


def _bare(name: str) -> str:
    """A name without what LaTeX could trip over in a message."""
    return re.sub(r"[^A-Za-z0-9.-]+", "-", name)
