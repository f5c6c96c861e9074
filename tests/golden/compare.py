"""Compares what this work tree measures with what another revision does, on this machine, to the last digit.

Run: python tests/golden/compare.py [REVISION]     (the parent of HEAD by default; two minutes on one core)

Each side measures itself with its own `measure.py`, if it has one. What has another name there is told as
absent.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def git(*words: str) -> None:
    """Run git in this repository."""
    subprocess.run(["git", "-C", str(ROOT), *words], check=True, capture_output=True)


def measured(tree: Path, out: Path) -> dict[str, dict[str, Any]]:
    """Return what the code of a tree measures."""
    paths = os.pathsep.join(filter(None, (str(tree), os.environ.get("PYTHONPATH"))))
    own = tree / "tests/golden/measure.py"
    script = own if own.exists() else ROOT / own.relative_to(tree)
    command = [sys.executable, "-W", "ignore", str(script), str(out)]
    subprocess.run(command, check=True, cwd=tree, env=os.environ | {"PYTHONPATH": paths})
    return dict(json.loads(out.read_text(encoding="utf-8")))


def main() -> None:
    """Print every value that differs; exit with 1 if one does."""
    revision = sys.argv[1] if len(sys.argv) > 1 else "HEAD^"
    with tempfile.TemporaryDirectory() as name:
        there = Path(name) / "there"
        git("worktree", "add", "--detach", str(there), revision)
        try:
            was, now = measured(there, Path(name) / "was.json"), measured(ROOT, Path(name) / "now.json")
        finally:
            git("worktree", "remove", "--force", str(there))
    different = 0
    for case in sorted(was.keys() | now.keys()):
        old, new = was.get(case, {}), now.get(case, {})
        for key in [k for k in dict.fromkeys((*old, *new)) if old.get(k, "absent") != new.get(k, "absent")]:
            different += 1
            print(f"{case}: {key} was {old.get(key, 'absent')} and is {new.get(key, 'absent')}")  # noqa: T201 - the answer
    print(f"{different} of {sum(map(len, now.values()))} values differ from those of {revision}")  # noqa: T201 - the answer
    sys.exit(bool(different))


if __name__ == "__main__":
    main()
