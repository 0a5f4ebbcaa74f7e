"""One of the two official sets, from its lists to its figure, as a user types it; the videos are synthetic and tiny."""

import json
import subprocess
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tests.harness.running import Harness, environment, sets
from tests.official_sets import FOLDERS, Lists, read_plainly, write_set

SPLITS = (1, 2, 3)
COUNTS = {
    "ucf101": {1: (9537, 3783), 2: (9586, 3734), 3: (9624, 3696)},
    "hmdb51": {1: (3570, 1530), 2: (3570, 1530), 3: (3570, 1530)},
}
NUM_VIDEOS = {"ucf101": 13_320, "hmdb51": 6_766}
NUM_CLASSES = {"ucf101": 101, "hmdb51": 51}


@dataclass(frozen=True)
class Official:
    """One of the two sets, under its official name."""

    name: str
    folder: Path
    """Of all that is made: videos, indexes, results."""
    lists: Path

    @property
    def videos(self) -> Path:
        return self.folder / FOLDERS[self.name]

    @property
    def root(self) -> Path:
        return self.folder / "data"

    @property
    def work(self) -> Harness:
        return Harness(self.folder / "work")

    @cached_property
    def plain(self) -> Lists:
        """The lists as their raw lines say."""
        return read_plainly(self.name, self.lists)

    @cached_property
    def index(self) -> Any:
        return json.loads((self.root / self.name / "index.json").read_bytes())["content"]

    def ids(self, split: int, side: str) -> list[str]:
        return sorted(path.removesuffix(".avi") for path in self.plain.get((split, side), ()))

    def run_once(self, experiment: str, **knobs: object) -> None:
        """`harness run`, unless an earlier test has done it."""
        if not (self.work.work / "reports" / experiment).exists():
            words = sets({"dataset": self.name, **knobs})
            self.work("run", experiment, *words, env={"HARNESS_DATA": str(self.root)})

    @cached_property
    def results(self) -> list[tuple[dict[str, Any], Path]]:
        """Accepted results but those of pretraining and of percepts, each with its attempt's folder."""
        found = self.work.results()
        return [
            (body, self.work.work / "runs" / key / body["attempt"])
            for key, body in found.items()
            if body["task"] in ("FewShot", "SingleFrame")
        ]


def index_official(name: str, folder: Path, lists: Path) -> Official:
    """Write the clips of a set and index them, by the command that docs/official-lists.md shows.

    Args:
        name: ucf101 or hmdb51.
        folder: where everything is written.
        lists: the folder of the set's lists.
    """
    made = Official(name, folder, lists)
    write_set(name, made.videos, lists)
    words = ["index", name, "--videos", str(made.videos), "--lists", str(lists)]
    done = subprocess.run(
        [sys.executable, "-m", "harness", "data", *words],
        capture_output=True,
        text=True,
        timeout=240,
        env={**environment(), "HARNESS_DATA": str(made.root)},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (folder / "said.txt").write_text(done.stdout)
    return made
