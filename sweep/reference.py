"""Writes `docs/settings.md` from the classes that read a sweep's file, as `python -m sweep.reference`."""

import ast
import inspect
from pathlib import Path

from mopoe.config import TrialConfig
from mopoe.evaluation_config import EvaluationConfig, RungConfig
from sweep.config.parameters import Choice, Int, LogUniform, Simplex, Uniform
from sweep.config.parts import SchedulerSpec
from sweep.config.schema import FaultsSpec, ReplicatesSpec, ResourcesSpec
from sweep.config.sweep_spec import SweepSpec

PAGE = Path(__file__).parents[1] / "docs" / "settings.md"

_HEAD = """# The file of a sweep

Written by `python -m sweep.reference` from the classes that read it; change those, not this page. `sweep
show-config FILE` prints a file with every default filled in. A key that does not exist or a value that is
impossible gets one sentence with its line.
"""
_SECTIONS: tuple[tuple[str, type], ...] = (
    ("The file", SweepSpec),
    ("`search_space`: a number between two bounds, `type: uniform`", Uniform),
    ("`search_space`: the same by its logarithm, `type: log_uniform`", LogUniform),
    ("`search_space`: a whole number, `type: int`", Int),
    ("`search_space`: one of some values, `type: choice`", Choice),
    ("`search_space`: weights that sum to one, `type: simplex`", Simplex),
    ("`fixed` and `search_space`: the settings of a trial", TrialConfig),
    ("`evaluation`", EvaluationConfig),
    ("`evaluation.at_rungs`", RungConfig),
    ("`scheduler`", SchedulerSpec),
    ("`resources`", ResourcesSpec),
    ("`replicates`", ReplicatesSpec),
    ("`faults`", FaultsSpec),
)


def page() -> str:
    """Return the page: a table per section, a line per key."""
    lines = [_HEAD]
    for title, kind in _SECTIONS:
        lines += [f"## {title}\n", "| key | default | meaning |", "|---|---|---|"]
        lines += [f"| {name} | {default} | {text} |" for name, default, text in _keys(kind)]
        lines.append("")
    return "\n".join(lines)


def _keys(kind: type) -> list[tuple[str, str, str]]:
    """Return name, default and sentence of each field of a class and of those it derives from."""
    found: dict[str, tuple[str, str, str]] = {}
    for base in reversed(kind.__mro__):
        if not base.__module__.startswith(("mopoe", "sweep")):
            continue
        (tree,) = ast.parse(inspect.getsource(base)).body
        assert isinstance(tree, ast.ClassDef)
        for node, after in zip(tree.body, tree.body[1:], strict=False):
            match node, after:
                case ast.AnnAssign(target=ast.Name(name), value=value), ast.Expr(told):
                    text = " ".join(ast.literal_eval(told).split())
                    found[name] = (name, _shown(value), text.replace("|", "\\|").replace("<", "\\<"))
    return list(found.values())


def _shown(value: ast.expr | None) -> str:
    """Return a default as the file has it."""
    if isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == "Field":
        factory = any(keyword.arg == "default_factory" for keyword in value.keywords)
        value = next(iter(value.args), ast.Dict([], []) if factory else None)
    if value is None:
        return "required"
    text = ast.unparse(value)
    plain = {"None": "null", "True": "true", "False": "false", "()": "[]"}
    return f"`{plain.get(text, 'defaults' if text.endswith('()') else text.strip(chr(39)))}`"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
