"""The sweep that docs/comparison.md compares: its lines are counted, and this project's file is valid."""

import runpy
import shutil
from pathlib import Path

import pytest

from sweep.config.sweep_spec import load_spec

ROOT = Path(__file__).parents[2]
TOOLS = ROOT / "benchmarks" / "peer" / "tools"


def test_the_page_has_the_lines_that_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    """A program that changes is counted anew."""
    runpy.run_path(str(TOOLS / "lines.py"), run_name="__main__")
    page = (ROOT / "docs" / "comparison.md").read_text(encoding="utf-8")
    assert f"```\n{capsys.readouterr().out}```" in page


def test_the_programs_compile() -> None:
    """Their libraries are in an environment of their own."""
    programs = sorted(TOOLS.glob("*.py"))
    assert len(programs) == 7
    for program in programs:
        compile(program.read_text(encoding="utf-8"), program, "exec")


def test_the_same_sweep_is_valid_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its data are made, and its file asks for as many trials and epochs as the programs."""
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(TOOLS / "make_halves.py"))
    spec = load_spec(shutil.copy(TOOLS / "halves.yaml", tmp_path))
    assert spec.modalities == ("left", "right")
    constants = (spec.trials, spec.replicates.seeds, spec.fixed["epochs"], spec.scheduler.grace)
    assert f"TRIALS, SEEDS, EPOCHS, RUNG, VALIDATED = {', '.join(map(str, constants))}, " in (
        TOOLS / "halves_multivae.py"
    ).read_text(encoding="utf-8")
