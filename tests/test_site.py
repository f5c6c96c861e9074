"""The site of the pages: docstrings become reStructuredText, every page is in its tree, and it builds."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import conf
import pytest

ROOT = Path(__file__).parents[1]


def rst(text: str, what: str = "function") -> str:
    """Return what becomes of a docstring."""
    lines = text.splitlines()
    conf.in_rst(None, what, "", None, None, lines)
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("Return `x` and `y`s.", "Return ``x`` and ``y``\\ s."),
        ("At most |x - y| of p_o*.", "At most \\|x - y\\| of p\\_o\\*."),
        ("A name in `a_b`.", "A name in ``a_b``."),
        ("For example:\n\n    a: [1]", "For example::\n\n    a: [1]"),
    ],
)
def test_docstrings_are_plain_text_with_code(text, made):
    """Nothing but backticks has a meaning; what follows a colon and is indented is an example."""
    assert rst(text) == made


def test_values_of_a_setting_are_a_list():
    """As `name: meaning`, whose second line is indented."""
    text = "How it starts.\n\none: by the\n    first.\ntwo: by the second."
    assert rst(text, "attribute") == "How it starts.\n\n\n- one: by the\n  first.\n- two: by the second."


def test_every_page_has_its_place():
    """Those of the methods have theirs below their list."""
    listed = {f"{name}.md" for pages in conf.PAGES.values() for name in pages}
    there = {str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").glob("*.md")}
    assert listed == there - {"README.md"} | {"methods/README.md"}


@pytest.mark.slow
@pytest.mark.skipif(find_spec("sphinx") is None, reason="Sphinx is not installed; `make docs` does it")
def test_the_site_builds_without_a_warning(tmp_path):
    """A link that leads nowhere or a docstring that cannot be read is one; the API is there."""
    words = ["--quiet", "--fail-on-warning", "--keep-going", "-c", "docs", "-b", "html", ".", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", *words],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    assert "posterior means" in (tmp_path / "docs" / "models.html").read_text(encoding="utf-8")
    assert "mopoe.TrialConfig" in (tmp_path / "docs" / "api.html").read_text(encoding="utf-8")
