"""Makes one site of these pages by Sphinx: `make docs`. The pages stay readable as they are.

Sphinx reads from the project's folder, so that links to dated outputs lead to pages, and links to other files
to copies of them. What only the site needs is added while it reads: the tree of pages, and the public names.
"""

import ast
import re
from importlib.metadata import version as version_of
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.application import Sphinx

ROOT = Path(__file__).parents[1]
PAGES = {
    "Sweeps": ("guide", "settings", "report", "models"),
    "Your own": ("tables_data", "own_data", "metrics"),
    "Many machines": ("cluster", "slurm"),
    "Results": ("tables", "queries"),
    "Findings": ("study", "weights", "methods/README", "performance", "peers", "comparison", "log"),
    "Inside": ("api", "layout", "design"),
}
"""The tree of pages, by what a reader wants."""

project = html_title = "mopoe-sweep"
version = version_of(project)
copyright = "the authors of mopoe-sweep"  # noqa: A001 - Sphinx's name for it
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
root_doc = "docs/README"
include_patterns = ["docs/**.md", "benchmarks/results/*.md", "examples/**.md"]
html_theme = "furo"
html_theme_options = {"footer_icons": []}
myst_heading_anchors = 4
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_default_options = {"members": True}


def setup(app: "Sphinx") -> None:
    """Let Sphinx complete every page that it reads, and every docstring before Napoleon reads it."""
    app.connect("source-read", complete)
    app.connect("autodoc-process-docstring", in_rst, priority=400)


def complete(_: "Sphinx", name: str, source: list[str]) -> None:
    """Add to a page what only the site needs."""
    if name == root_doc:
        source[0] += "\n".join(_tree(caption, pages) for caption, pages in PAGES.items())
        source[0] += _tree("Examples", ["../examples/README"])
    elif name == "examples/README":
        source[0] += _tree(
            "", [f"{path.parent.name}/README" for path in sorted(ROOT.glob("examples/*/README.md"))]
        )
    elif name == "docs/methods/README":
        others = sorted(path.stem for path in (ROOT / "docs" / "methods").glob("[a-z]*.md"))
        source[0] += _tree("", others)
    elif name == "docs/performance":
        dated = sorted(path.stem for path in (ROOT / "benchmarks" / "results").glob("*.md"))
        source[0] += _tree("", [f"../benchmarks/results/{stem}" for stem in dated])
    elif name == "docs/api":
        source[0] += "".join(_names(package) for package in ("mopoe", "sweep"))


def in_rst(_: "Sphinx", what: str, name: str, found: object, options: object, lines: list[str]) -> None:
    """Turn a docstring, which is plain text with code in backticks, into reStructuredText."""
    del name, found, options
    listed, made = False, list[str]()
    for line, after in zip(lines, [*lines[1:], ""], strict=True):
        text = re.sub(r"([*|_\\])", r"\\\1", line) if line[:4].strip() else line
        text = re.sub(r"`([^`]+)`(?=(\w?))", _literal, text)
        item = what == "attribute" and re.match(r"\w+: \S", line)
        if item:
            made += [*([] if listed else [""]), f"- {text}"]
        elif listed and line.startswith(" "):
            made.append(f"  {text.strip()}")
        else:
            made.append(text)
        listed = bool(item) or (listed and line.startswith(" "))
        if text.endswith(":") and not after.strip():  # an example follows
            made[-1] += ":"
    lines[:] = made


def _literal(code: re.Match[str]) -> str:
    # A letter right behind a literal would not let it end.
    return f"``{code[1]}``".replace("\\", "") + ("\\ " if code[2] else "")


def _tree(caption: str, pages: list[str] | tuple[str, ...]) -> str:
    lines = ["```{toctree}", ":hidden:", *([f":caption: {caption}"] if caption else []), "", *pages, "```"]
    return "\n" + "\n".join(lines) + "\n"


def _names(package: str) -> str:
    tree = ast.parse((ROOT / package / "__init__.pyi").read_text(encoding="utf-8"))
    text = f"\n## {package}\n"
    for node in tree.body:
        for alias in node.names if isinstance(node, ast.ImportFrom) else ():
            kind = "class" if alias.name[0].isupper() else "function"
            text += f"\n```{{eval-rst}}\n.. auto{kind}:: {package}.{alias.name}\n```\n"
    return text
