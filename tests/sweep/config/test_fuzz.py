"""Any value anywhere in a sweep's file gives a spec or a sentence, never a traceback."""

import json
from pathlib import Path

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from spec_texts import (
    FULL,
)

from mopoe.errors import ConfigError
from search_spaces import Document
from sweep.config.sweep_spec import SweepSpec, spec_of

MORE = """\
scheduler: {type: halving}
constraints: {seconds: '<= 60'}
start_with: [{beta: 1, network: {dropout: 0.1}}, {subset_weights: [m0]}]
warm_start: [elsewhere]
"""
WORDS = [
    "name",
    "data",
    "seed",
    "trials",
    "objectives",
    "search_space",
    "beta",
    "subset_weights",
    "fixed",
    "type",
    "low",
    "values",
    "over",
    "evaluation",
    "split",
    "intermediate",
    "subset_sizes",
    "final_metrics",
    "resources",
    "gpu",
    "reference_point",
    "sampler",
    "scheduler",
    "constraints",
    "start_with",
    "warm_start",
    "when",
    "batch_size",
    "network",
    "network.dropout",
    "m0",
    "x",
]
KEYS = st.sampled_from([*WORDS, 3, None, True])
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-3, 70)
    | st.floats()
    | st.sampled_from(["auto", "int", "digits", "simplex", "choice", "size", "log_likelihood", ""])
    | st.sampled_from(["halving", "asha", "grid", "m0", "m0+m9", "<= 5", "batch_size", 64])
    | st.dates()
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=300, deadline=None)
@given(keys=st.lists(KEYS, min_size=1, max_size=3), value=VALUES)
def test_any_value_anywhere_is_a_spec_or_a_spec_error(keys, value):
    """No replaced value makes the loader fail in another way, and what it accepts survives storing."""
    content = yaml.safe_load(FULL.replace("over: size", "over: [m0, m1], when: {batch_size: 64}") + MORE)
    content["search_space"]["network"] = {"dropout": {"type": "uniform", "low": 0, "high": 0.5}}
    content["fixed"]["network"] = {"normalisation": "layer", "m0": {"normalisation": "batch"}}
    place = content
    for key in keys[:-1]:
        place = place[key] if isinstance(place.get(key), dict) else place
    place[keys[-1]] = value
    try:
        spec = spec_of(Document(path=Path("any.yaml"), data=content, root=None))
    except ConfigError as error:
        assert str(error).startswith("any.yaml: ")  # noqa: PT017 - both outcomes are right
    else:
        assert SweepSpec.model_validate(json.loads(json.dumps(spec.plain()))) == spec
