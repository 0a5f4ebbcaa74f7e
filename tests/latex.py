"""Typesetting a report's LaTeX as a user does: as it is, and as part of a paper."""

import subprocess
from pathlib import Path

from tests.tools import needs

PAPER = r"""\documentclass{article}
\usepackage{%s}
\begin{document}
Before. \input{%s} After, see a table.
\end{document}
"""
NEEDED = "booktabs,graphicx,siunitx"


def typeset(folder: Path, name: str) -> tuple[int, str]:
    """Exit code of pdflatex on NAME.tex, and all it said."""
    done = subprocess.run(
        [needs("pdflatex"), "-interaction=nonstopmode", "-halt-on-error", f"{name}.tex"],
        cwd=folder,
        capture_output=True,
        check=False,
        timeout=120,
    )
    return done.returncode, done.stdout.decode(errors="replace")


def assert_typesets_both_ways(folder: Path, name: str, content: bytes) -> None:
    """The file is a document by itself, and can be part of another; nothing in it is wider than the page."""
    (folder / f"{name}.tex").write_bytes(content)
    (folder / "paper-of-ours.tex").write_text(PAPER % (NEEDED, name), encoding="utf-8")
    for each in (name, "paper-of-ours"):
        code, said = typeset(folder, each)
        assert code == 0, said[-2000:]
        assert (folder / f"{each}.pdf").read_bytes().startswith(b"%PDF")
        assert "Overfull" not in said, said[said.index("Overfull") - 200 :][:600]
        assert "incomplete" not in said
