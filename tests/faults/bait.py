"""Texts that would be markup, scripts or commands where they are not escaped, and what of a page could run or lead somewhere."""

import html.parser
from typing import Any

from tests.faults.hostile_store import evidence

BAIT = '"><script>alert(1)</script><img src=x onerror=alert(1)>\\input{/etc/passwd}\\write18{id}^^5cinput'


class Page(html.parser.HTMLParser):
    """Tags that run something or lead somewhere."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.scripts = 0
        self.doubtful: list[str] = []
        self.feed(content)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"
        self.doubtful += [tag] if tag in ("iframe", "object", "embed", "base", "form") else []
        for name, value in attrs:
            leads = name in ("href", "src", "xlink:href") and ":" in (value or "")
            if name.startswith("on") or (leads and not (value or "").startswith("data:image/png")):
                self.doubtful.append(f"{name}={value}")


def baited(value: Any) -> Any:
    """A copy with bait in every text that may be any."""
    fixed = {"experiment", "drawn_by", "runs", "needed_runs", "names", "cell", "shots", "metric"}
    if isinstance(value, dict):
        return {
            (key if key in OURS else f"{key}{BAIT}"): each if key in fixed else baited(each)
            for key, each in value.items()
        }
    if isinstance(value, list):
        return [baited(each) for each in value]
    return f"{value}{BAIT}" if isinstance(value, str) else value


OURS = set(evidence()) | set(evidence()["expected"][0]) | set(evidence()["provenance"])
OURS |= {"parts", "shared", "told"}
