"""Small trials and a small sweep measure what they did when `golden/values.json` was written.

Other processors round otherwise, so values are held to a tolerance; `make golden` compares to the last digit.
"""

import json
from pathlib import Path

import pytest
from golden import measure

VALUES = json.loads(Path(measure.__file__).with_name("values.json").read_text(encoding="utf-8"))


def near(name, expected):
    """Return a value with the tolerance of its kind: a share of 40 samples may lose or win some."""
    if isinstance(expected, float):
        return pytest.approx(expected, rel=2e-3, abs=0.1 if "coherence" in name else 1e-6)
    return expected


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """A file of a few digits."""
    path = tmp_path_factory.mktemp("golden") / "few.safetensors"
    measure.few_digits(path)
    return path


@pytest.mark.parametrize("case", measure.TRIALS)
def test_a_trial_of_each_kind(few, case):
    """All methods, an importance-weighted bound, private latents, missing modalities, learned weights."""
    import mopoe

    found = dict(measure.trial(measure.TRIALS[case], mopoe.load_data("polymnist", path=str(few))))
    expected = VALUES[case]
    assert expected.keys() <= found.keys()
    assert {name: found[name] for name in expected} == {n: near(n, v) for n, v in expected.items()}


@pytest.mark.ray
@pytest.mark.slow
def test_a_sweep_with_halving_and_two_seeds(few, tmp_path, own_ray):
    """Which trials are stopped, which get a second seed, and what the front is."""
    found = dict(measure.small_sweep(few, tmp_path))
    assert found == {name: near(name, value) for name, value in VALUES["sweep"].items()}
