"""Links in the pages lead to files and headings that are there, and the files that pages name exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCS = sorted((ROOT / "docs").rglob("*.md"))
ELSEWHERE = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "benchmarks").rglob("*.md")),
    *sorted((ROOT / "examples").rglob("*.md")),
]
PAGES = [*DOCS, *ELSEWHERE]
OF_TODAY = [page for page in PAGES if page.name != "log.md" and "results" not in page.parts]
"""Pages that describe the project as it is; the others are dated."""


def label(page: Path) -> str:
    """Return a page's path in the project."""
    return str(page.relative_to(ROOT))


def links(page: Path) -> list[tuple[str, str]]:
    """Return path and anchor of a page's relative links, either of which may be empty."""
    found = re.findall(r"\]\(([^)\s#]*)(?:#([^)\s]+))?\)", page.read_text(encoding="utf-8"))
    return [(path, anchor) for path, anchor in found if "://" not in path]


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub gives to the headings of a page."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken(page: Path) -> list[str]:
    """Return the relative links of a page that lead nowhere."""
    wrong = []
    for path, anchor in links(page):
        target = page.parent / path if path else page
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            wrong.append(f"{path}#{anchor}")
    return wrong


@pytest.mark.parametrize("page", PAGES, ids=label)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    """A page without links holds trivially; in a fresh clone a file that was never committed is missed."""
    assert broken(page) == []


def test_links_that_lead_nowhere_are_seen(tmp_path: Path) -> None:
    """A missing file, and a missing heading here and elsewhere."""
    page = tmp_path / "page.md"
    (tmp_path / "other.md").write_text("# Two words, `code`\n", encoding="utf-8")
    text = "# One\n[a](other.md#two-words-code) [b](#one) [c](none.md) [d](other.md#none) [e](#none)\n"
    page.write_text(text, encoding="utf-8")
    assert broken(page) == ["none.md#", "other.md#none", "#none"]


@pytest.mark.parametrize("page", OF_TODAY, ids=label)
def test_files_that_a_page_names_exist(page: Path) -> None:
    """Those in backticks, such as `tests/test_links.py`; a module that is renamed is renamed here too."""
    text = page.read_text(encoding="utf-8")
    names = re.findall(r"`((?:mopoe|sweep|search_spaces|tests|benchmarks|docs)/[\w./-]+)`", text)
    assert [name for name in names if not (ROOT / name).exists()] == []


def test_every_page_is_listed() -> None:
    """The list of pages leads to each page beside it."""
    folders = {page.parent for page in DOCS}
    for folder in folders:
        listed = {path for path, _ in links(folder / "README.md") if "/" not in path}
        assert listed == {page.name for page in folder.glob("*.md")} - {"README.md"}


def test_the_readme_is_one_screen() -> None:
    """Details belong to the pages it links to."""
    assert len((ROOT / "README.md").read_text(encoding="utf-8").split()) < 500
