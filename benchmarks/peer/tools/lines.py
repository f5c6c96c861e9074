"""Prints how many lines each way to write the sweep takes, without blanks, comments and docstrings.

Run: python benchmarks/peer/tools/lines.py

The data's script, the same for all, is not counted, nor what only a CPU build of torch needs.
"""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[2] / "tests"))

from size import python_lines

PROGRAMS = {
    "Optuna and its dashboard": ("halves_multivae.py", "with_optuna.py"),
    "Optuna and W&B": ("halves_multivae.py", "with_optuna.py", "with_wandb.py"),
    "Ray Tune, OptunaSearch": ("halves_multivae.py", "with_ray.py"),
    "this project": ("halves.yaml", "with_sweep.sh", "use_imputed.py"),
}


def lines(name: str) -> int:
    """Return the lines of a file that say something."""
    text = (HERE / name).read_text(encoding="utf-8")
    counted = [line for line in text.splitlines() if "# CPU build" not in line]
    if name.endswith(".py"):
        return python_lines("\n".join(counted))
    return sum(1 for line in counted if line.strip() and not line.lstrip().startswith("#"))


def main() -> None:
    """Print a row per program: its lines, and those of each file."""
    for program, files in PROGRAMS.items():
        counts = {name: lines(name) for name in files}
        parts = ", ".join(f"{name} {n}" for name, n in counts.items())
        print(f"{program:<26}{sum(counts.values()):>4}   {parts}")


if __name__ == "__main__":
    main()
