"""Which config is worth a further seed: by closed forms, by brute force, and where nothing is to be told."""

import math

import numpy as np
import pytest
from trial_records import NAMES, record

from sweep.config.sweep_spec import load_spec
from sweep.search.allocation import next_repeat


@pytest.fixture(scope="module")
def make_spec(tmp_path_factory, tiny_sweep):
    """Return a function that gives a sweep with these objectives and this corner."""
    path = tmp_path_factory.mktemp("allocation") / "x.yaml"
    path.write_text(tiny_sweep)

    def make(corner=(0.0, 0.0), seeds=5):
        names = [f"objectives=[{', '.join(NAMES[: len(corner)])}]", f"replicates.seeds={seeds}"]
        point = ", ".join(f"{name}: {value}" for name, value in zip(NAMES, corner, strict=False))
        return load_spec(path, [*names, "replicates.when=uncertain", f"reference_point={{{point}}}"])

    return make


def seeds_of(values):
    """Return seeds that have ended by config, and those that have begun."""
    ended = {
        config: [record(f"{config}-s{r}", *(*point, 0.0)[:2]) for r, point in enumerate(points)]
        for config, points in values.items()
    }
    return ended, {config: {seed.trial_id for seed in seeds} for config, seeds in ended.items()}


def test_of_one_objective_the_gain_is_the_knowledge_gradient(make_spec):
    """E max(best, y + s z) - max(best, y) for the runner-up: s phi(u) - d Phi(-u), with u = d / s."""
    spec = make_spec(corner=(0.0,))
    values = {"a": [(2.0,)] * 5, "b": [(2.1,), (1.7,)], "c": [(0.1,), (0.5,)]}
    repeat = next_repeat(*seeds_of(values), spec, new=False)
    means = [2.0, 1.9, 0.3]
    # Pooled over 4 + 1 + 1 degrees of freedom, and the prior's two: a quarter of the variance of the means.
    variance = (2 * 0.2**2 + 2 * 0.2**2 + 2 * 0.25 * np.var(means, ddof=1)) / (6 + 2)
    s, d = math.sqrt(variance / (2 * 3)), 2.0 - 1.9
    u = d / s
    exact = s * math.exp(-u * u / 2) / math.sqrt(2 * math.pi) - d * math.erfc(u / math.sqrt(2)) / 2
    assert repeat.config == "b"
    assert repeat.volume == pytest.approx(2.0)
    assert repeat.gain == pytest.approx(exact, rel=0.25)  # 32 draws


def test_the_gain_of_a_new_config_is_what_one_has_added(make_spec):
    """Means on a front of three: 1 and 2 and 1 of a hypervolume of 6, and nothing by the dominated one."""
    spec = make_spec()
    means = {"a": (1.0, 3.0), "b": (2.0, 2.0), "c": (3.0, 1.0), "d": (0.5, 0.5)}
    values = {name: [(x - 9, y - 9), (x + 9, y + 9)] for name, (x, y) in means.items()}
    one, other = (next_repeat(*seeds_of(values), spec, new=new) for new in (True, False))
    assert other.volume == 6
    assert other.gain_of_new == 0
    assert one.gain_of_new == pytest.approx((1 + 1 + 1 + 0) / 4)


def test_the_closest_contender_comes_first(make_spec):
    """A config just behind the front is worth a seed, one far behind or with all its seeds is not."""
    spec = make_spec(seeds=3)
    values = {
        "a": [(5.0, 5.1), (5.0, 4.9), (5.0, 5.0)],
        "near": [(4.9, 4.9)],
        "far": [(1.0, 1.0)],
        "b": [(1.0, 6.0), (1.1, 6.0), (0.9, 6.0)],
    }
    assert next_repeat(*seeds_of(values), spec, new=False).config == "near"


def test_seeds_that_run_count(make_spec):
    """A config whose further seeds run already has no more to come."""
    spec = make_spec(seeds=3)
    values = {"a": [(5.0, 5.0)] * 3, "near": [(4.9, 4.9)], "b": [(1.0, 6.0), (1.5, 6.0), (0.5, 6.0)]}
    ended, begun = seeds_of(values)
    assert next_repeat(ended, begun, spec, new=False).config == "near"
    assert next_repeat(ended, begun | {"near": {"near-s0", "near-s1", "near-s2"}}, spec, new=False) is None


def test_seeds_that_agree_end_the_sweep(make_spec):
    """Then nothing is left to be learnt, and of fewer than three configs too little is known."""
    spec = make_spec(seeds=9)
    values = {"a": [(5.0, 1.0)] * 8, "b": [(3.0, 3.0)] * 8, "c": [(1.0, 5.0)] * 8}
    assert next_repeat(*seeds_of(values), spec, new=False) is None
    assert next_repeat(*seeds_of({"a": [(5.0, 1.0)], "b": [(3.0, 3.0)]}), spec, new=False) is None
