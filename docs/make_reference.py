"""Writes `docs/settings.md` and `docs/tables.md`, as `python docs/make_reference.py`.

The first comes from the classes that read a sweep's file: types and ranges from annotations, the texts from
the sentences beneath the fields. Below the sentence stand what each choice means, as lines `choice: meaning`,
and examples, indented. The second comes from the schemas of the tables.
"""

import dataclasses
import inspect
import json
import re
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from mopoe.config import TrialConfig
from mopoe.data.registry import DATA_SETS, DataSetEntry
from mopoe.evaluation_config import EvaluationConfig, IntermediateConfig
from mopoe.validation import allowed, fields_of
from mopoe.wording import show
from sweep.config.objectives import Objective
from sweep.config.parameters import Choice, Conditional, Int, LogUniform, Simplex, Uniform
from sweep.config.schema import BudgetSpec, DataSpec, FaultsSpec, ReplicatesSpec, ResourcesSpec, SchedulerSpec
from sweep.config.sweep_spec import SweepSpec
from sweep.store.layout import KEYS
from sweep.store.schema import TABLES, field_texts

_SETTINGS = """# The file of a sweep

Written by `python docs/make_reference.py` from the classes that read it; change those, not this page. `sweep
show-config FILE` prints a file with every default filled in. A key that does not exist or a value that is
impossible gets one sentence with its line.
"""
_SECTIONS: tuple[tuple[str, type], ...] = (
    ("The file", SweepSpec),
    ("`data`", DataSpec),
    ("`objectives`", Objective),
    ("`search_space`: a parameter", Conditional),
    ("`search_space`: `type: uniform`", Uniform),
    ("`search_space`: `type: log_uniform`", LogUniform),
    ("`search_space`: `type: int`", Int),
    ("`search_space`: `type: choice`", Choice),
    ("`search_space`: `type: simplex`", Simplex),
    ("`fixed` and `search_space`: the settings of a trial", TrialConfig),
    ("`evaluation`", EvaluationConfig),
    ("`evaluation.intermediate`", IntermediateConfig),
    ("`scheduler`", SchedulerSpec),
    ("`resources`", ResourcesSpec),
    ("`replicates`", ReplicatesSpec),
    ("`budget`", BudgetSpec),
    ("`faults`", FaultsSpec),
)
_TABLES = """# Tables

Written by `python docs/make_reference.py` from the schemas; change those, not this page.

A results folder has a folder of Parquet files per table. Null means not measured; NaN means measured and
not a number. Times are UTC. Rows have no order. `sweep.open` returns one row per key; the files themselves
may hold a row twice. The columns below are followed by those that depend on the sweep: `p_NAME`, a searched
setting (trials); `o_NAME`, an objective or a limited quantity (trials, epochs); `se_NAME`, its standard error
(trials); `reconstruction_NAME`, the negative log-likelihood of a modality (epochs). NAME is as in the sweep's
file; in SQL one with dots or colons stands in double quotes, as `"o_coherence.2:m0"`.

`sweep evaluate` adds rows of another `split` to subset_metrics, pair_coherence and sample_values, of an
epoch measured before, and the objectives there as metrics of subset 0. `store.subset_metrics()` and the
others return the sweep's own split, `store.subset_metrics("test")` another, `store.table(NAME)` all rows.
"""


def settings_page() -> str:
    """Return the page of a sweep's file: per section a table of its keys, then choices and examples."""
    return "\n".join([_SETTINGS, *(line for title, kind in _SECTIONS for line in _section(title, kind))])


def tables_page() -> str:
    """Return the page of a results folder: a section per table, a line per column."""
    lines = [_TABLES]
    for name, schema in TABLES.items():
        lines += [
            f"## {name}\n\nKey: {', '.join(KEYS[name])}.\n",
            *_head("column", "type", "unit", "meaning"),
        ]
        for column in schema:
            told = {key.decode(): value.decode() for key, value in column.metadata.items()}
            lines.append(_row(column.name, str(column.type), told.get("unit", ""), told["description"]))
        lines.append("")
    return "\n".join(lines)


PAGES: dict[str, Callable[[], str]] = {"settings.md": settings_page, "tables.md": tables_page}


def _section(title: str, kind: type) -> Iterator[str]:
    """Give the lines about the keys that a class adds to those of `Conditional`."""
    about, _, more = inspect.cleandoc(kind.__doc__ or "").partition("Raises:")[0].partition("\n\n")
    yield from (f"## {title}\n\n{about.strip()}\n", *_head("key", "possible", "default", "meaning"))
    details = {"": more.strip("\n")}
    for name, text in _texts(kind).items():
        info = fields_of(kind)[name]
        meaning, _, details[name] = text.partition("\n\n")
        yield _row(name, allowed(info), _default(info), " ".join(meaning.split()))
    yield ""
    if kind is DataSpec:
        rows = (_row(name, "; ".join(_options(entry))) for name, entry in DATA_SETS.items())
        yield from (*_head("data set", "options"), *rows, "")
    for name, text in details.items():
        if text:
            yield f"`{name}`:\n\n" * bool(name) + _blocks(text) + "\n"


def _options(entry: DataSetEntry) -> Iterator[str]:
    yield from (f"`{name}`: {what}" for name, what in entry.required.items())
    yield from (f"`{name}`, by default {default or show(default)}" for name, default in entry.options.items())


def _texts(kind: type) -> dict[str, str]:
    """Return the text beneath each field of a class and of those it derives from, by name."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        ours = base.__module__.startswith(("mopoe", "sweep"))
        if ours and (base is kind or base is not Conditional):
            found |= field_texts(base)
    return found


def _blocks(text: str) -> str:
    """Return what follows the first sentence: choices as a list, indented examples as YAML."""
    blocks = []
    for block in text.split("\n\n"):
        if block.startswith("    "):
            blocks.append(f"```yaml\n{textwrap.dedent(block)}\n```")
        elif re.match(r"\w+: ", block):
            blocks.append(re.sub(r"^(\w+): ", r"- `\1`: ", re.sub(r"\n +", " ", block), flags=re.MULTILINE))
        else:
            blocks.append(block)
    return "\n\n".join(blocks)


def _default(info: FieldInfo) -> str:
    """Return a field's default as a file has it."""
    if info.is_required():
        return "required"
    value = info.get_default(call_default_factory=True)
    if value == () and allowed(info).startswith("a mapping"):
        value = {}
    if isinstance(value, BaseModel) or dataclasses.is_dataclass(value):
        return "the defaults below"
    if isinstance(value, float):
        value = float(f"{value:.4g}")
    text = json.dumps(value, default=lambda objective: objective.name)
    return f"`{text if value == '' else text.replace(chr(34), '')}`"


def _head(*columns: str) -> tuple[str, str]:
    return _row(*columns), "|---" * len(columns) + "|"


def _row(*cells: str) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|').replace('<', chr(92) + '<') for cell in cells)} |"


if __name__ == "__main__":
    for _name, _page in PAGES.items():
        (Path(__file__).parent / _name).write_text(_page(), encoding="utf-8")
