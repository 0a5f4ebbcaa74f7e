"""The documents: links lead somewhere, the tree is the tree, and nothing names one machine."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "LOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
PACKAGES = ("harness", "models", "tasks", "slurm", "configs", "reports")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_to_files_that_exist(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", document.read_text(encoding="utf-8")):
        if not target.startswith(("http://", "https://")):
            assert (document.parent / target).exists(), target


def test_the_readme_glosses_every_file_of_the_packages() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            if path.name != "__init__.py":
                assert re.search(rf"^\s+{re.escape(path.stem)}\s{{2,}}\S", readme, re.MULTILINE), (
                    path.relative_to(ROOT)
                )


def test_the_example_in_the_docs_is_the_example_file() -> None:
    page = (ROOT / "docs" / "own-experiment.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    example = (ROOT / "docs" / "examples" / "mine.py").read_text(encoding="utf-8")
    assert example.partition("\n\n")[2].strip() == block.strip()


def test_tests_named_in_decisions_and_promises_exist() -> None:
    for document in (*(ROOT / "docs" / "decisions").glob("*.md"), ROOT / "docs" / "reliability.md"):
        for file, name in re.findall(
            r"`(tests/[\w/]+\.py)(?:::(\w+))?`", document.read_text(encoding="utf-8")
        ):
            assert (ROOT / file).is_file(), f"{document.name}: {file}"
            if name:
                assert f"def {name}(" in (ROOT / file).read_text(encoding="utf-8"), (
                    f"{document.name}: {name}"
                )


def test_no_tracked_file_is_large() -> None:
    listing = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, text=True, check=False
    )
    if listing.returncode:
        pytest.skip("this is no git checkout")
    for name in filter(None, listing.stdout.split("\0")):
        path = ROOT / name
        assert not path.exists() or path.stat().st_size < 2**20, name
