"""One trial as a sweep's file: it loads, and its trial is the one it was made of."""

from pathlib import Path

import pytest
import yaml

import search_spaces
from sweep.config.one_trial import one_trial
from sweep.config.sweep_spec import load_spec, trial_config_for

SHIPPED = sorted(p.stem for p in Path(search_spaces.__file__).parent.glob("*.yaml"))
WEIGHTS = """\
name: weights
data: {name: digits}
trials: 3
reference_point: {conditional_coherence: 0.0, log_likelihood: -20000}
search_space:
  subset_weights: {type: simplex, over: [m0, m0+m1]}
fixed: {epochs: 2, latent_dim: 4}
"""


@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.parametrize("assignments", [(), ("beta=0.1234567890123", "seed=7")])
def test_a_trial_of_a_shipped_sweep(name, assignments, tmp_path):
    """Through YAML and back every setting is what it was, to the last digit."""
    spec = load_spec(name)
    assert same(spec, trial_config_for(spec, assignments), tmp_path)


METHODS = WEIGHTS.replace(
    "  subset_weights: {",
    "  method: {type: choice, values: [mopoe, moe]}\n  subset_weights: {when: {method: mopoe}, ",
)
NULL = WEIGHTS.replace(
    "{type: simplex, over: [m0, m0+m1]}", "{type: choice, values: [null, [1, 0, 0, 0, 0]]}"
)


@pytest.mark.parametrize(
    ("text", "assignments"),
    [
        (WEIGHTS, []),
        (METHODS, ["method=mopoe"]),
        (METHODS, ["method=moe"]),
        (NULL, ["subset_weights=null"]),
        (NULL, ["subset_weights=[1, 0, 0, 0, 0]"]),
    ],
)
def test_lists_nulls_and_what_depends_on_another_setting(load, text, assignments, tmp_path):
    """Whatever the first searched setting is, it becomes a choice of its one value."""
    spec = load(text)
    assert same(spec, trial_config_for(spec, assignments), tmp_path)


def same(spec, config, folder):
    """Return whether the file of a trial gives its settings and measures it as its sweep does."""
    (folder / "one.yaml").write_text(yaml.safe_dump(one_trial(spec, config, "one"), sort_keys=False))
    again = load_spec(folder / "one.yaml")
    measured = (again.data, again.objectives, again.evaluation, again.reference_point)
    assert measured == (spec.data, spec.objectives, spec.evaluation, spec.reference_point)
    return trial_config_for(again, ()) == config
