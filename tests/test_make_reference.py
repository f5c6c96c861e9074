"""The pages about a sweep's file and its tables are those of the code, and their examples work."""

import re
from pathlib import Path
from typing import Literal, get_args, get_origin

import pytest
import yaml
from make_reference import _SECTIONS, PAGES, settings_page
from spec_texts import SHORT

from mopoe.validation import fields_of, opened
from search_spaces import Document
from sweep.config.sweep_spec import SweepSpec, spec_of

DOCS = Path(__file__).parents[1] / "docs"
PAGE = settings_page()
EXAMPLES = re.findall(r"```yaml\n(.*?)\n```", PAGE, re.DOTALL)
SPACE = """
beta: {type: log_uniform, low: 0.1, high: 10}
latent_dim: {type: int, low: 8, high: 64}
subset_weights: {type: simplex, over: size}
"""


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_that_of_the_classes(name):
    """A changed sentence, range or default asks for `python docs/make_reference.py`."""
    assert (DOCS / name).read_text(encoding="utf-8") == PAGES[name]()


@pytest.mark.parametrize("kind", [kind for _, kind in _SECTIONS])
def test_every_key_and_every_choice_is_explained(kind):
    """Each key has its row with what is possible; each word that may stand there says what it does."""
    start = PAGE.index(f"\n## {next(title for title, found in _SECTIONS if found is kind)}\n")
    section = PAGE[start : PAGE.find("\n## ", start + 1)]
    for name, info in fields_of(kind).items():
        base = info.annotation
        literals = [p for p in (base, *get_args(base)) if get_origin(opened(p).annotation) is Literal]
        choices = [choice for part in literals for choice in get_args(opened(part).annotation)]
        if (name == "type" and len(choices) == 1) or (
            name == "when" and kind is not SweepSpec and not choices
        ):
            continue  # told by the title, and in a section of its own
        assert f"\n| {name} | " in section
        assert name in ("split", "gpu") or all(f"\n- `{choice}`: " in section for choice in choices), name


def test_a_row_has_type_range_and_default():
    """As the sentence about a mistake has them."""
    rows = {line.split(" | ")[0].removeprefix("| "): line for line in PAGE.splitlines() if " | " in line}
    assert rows["trials"].startswith("| trials | a whole number between 1 and 1,000,000 | required | ")
    assert rows["fixed"].startswith("| fixed | a mapping of names to values | `{}` | ")
    assert rows["style_weights"].startswith(
        "| style_weights | a list of numbers between 0 and 1,000,000, or null | `null` | "
    )
    named = "one of tpe, gp, nsga2, nsga3, random, qmc, grid"
    assert rows["sampler"].startswith(f"| sampler | {named}, or a function, as module:function | `tpe` | ")


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_works_in_a_file(example):
    """Each is some keys of a file, for which it replaces those of a short one."""
    data = yaml.safe_load(SHORT) | {"search_space": yaml.safe_load(SPACE)}
    given = yaml.safe_load(example)
    for name in given.get("fixed", ()):
        data["search_space"].pop(name, None)
    assert isinstance(spec_of(Document(path=Path("x.yaml"), data=data | given, root=None)), SweepSpec)


def test_there_are_examples_where_the_syntax_is_not_obvious():
    """Of every type of parameter, and of each key with a mapping or a list of its own form."""
    text = "\n".join(EXAMPLES)
    kinds = ("uniform", "log_uniform", "int", "choice", "simplex")
    assert all(f"type: {kind}," in text for kind in kinds)
    for key in ("when", "start_with", "constraints", "replicates", "objectives", "subset_weights"):
        assert f"{key}: " in text
