"""The page about the file of a sweep is that of the classes."""

from dataclasses import fields

from mopoe.config import TrialConfig
from sweep.config.sweep_spec import SweepSpec
from sweep.reference import PAGE, page


def test_the_page_is_that_of_the_classes():
    """A changed sentence or default asks for `python -m sweep.reference`."""
    assert PAGE.read_text(encoding="utf-8") == page()


def test_every_key_has_its_row_with_its_default():
    """Those of the file and of a trial, whatever their defaults are made of."""
    rows = {line.split(" | ")[0].removeprefix("| "): line for line in page().splitlines() if " | " in line}
    assert {f.name for f in fields(TrialConfig)} | set(SweepSpec.model_fields) <= set(rows)
    assert rows["trials"].startswith("| trials | required | ")
    assert rows["fixed"].startswith("| fixed | `{}` | ")
    assert rows["style_weights"].startswith("| style_weights | `null` | ")
    assert rows["sampler"].startswith("| sampler | `tpe` | ")
