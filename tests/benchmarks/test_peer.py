"""Our values beside those of multivae 1.0.3, in the environment that `make compare` builds."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv-multivae" / "bin" / "python"


@pytest.mark.slow
@pytest.mark.skipif(not PYTHON.exists(), reason="no .venv-multivae; `make compare` builds it")
@pytest.mark.parametrize("script", ["agreement", "estimators"])
def test_our_values_and_those_of_multivae_are_as_documented(script: str) -> None:
    """What should agree does to 1e-5, and every difference named in docs/peers.md is there."""
    command = [PYTHON, ROOT / "benchmarks" / "peer" / f"{script}.py"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert ("agrees" if script == "agreement" else "right") in done.stdout
