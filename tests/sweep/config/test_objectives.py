"""Objectives: names and directions, as a file and a results folder have them."""

import json

import numpy as np
import pytest
from spec_texts import FULL, OBJECTIVES, SHORT

from mopoe.errors import ConfigError
from sweep.config.objectives import Objective, gains, names
from sweep.config.sweep_spec import SweepSpec

LINE = "objectives: [log_likelihood, joint_coherence]"
LOW = "{name: nll, direction: minimize}"


def both(first, second):
    """Return the file with these two objectives."""
    names = [entry.partition(",")[0].removeprefix("{name: ") for entry in (first, second)]
    corner = "\n".join(f"  {name}: 0" for name in names)
    text = FULL.replace("  log_likelihood: -9000\n  joint_coherence: 0.1", corner)
    return text.replace(LINE, f"objectives: [{first}, {second}]")


def test_a_file_names_what_is_maximised_and_what_is_minimised(load):
    """Every quantity has its direction, which a mapping may say too."""
    spec = load(both(LOW, "{name: joint_coherence, direction: maximize}"))
    assert spec.objectives == (Objective(name="nll", direction="minimize"), Objective(name="joint_coherence"))
    assert [o.maximize for o in spec.objectives] == [False, True]
    assert [o.unit for o in spec.objectives] == ["nats", ""]
    assert names(spec.objectives) == ("nll", "joint_coherence")
    assert load(both("nll", "joint_coherence")).spec_hash == spec.spec_hash
    distances = load(both("mmd.prior", "kid"), ["evaluation.final_metrics=[frechet, fid]"]).objectives
    assert [o.maximize for o in distances] == [False, False]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (
            "log_liklihood",
            f": unknown quantity 'log_liklihood'; did you mean 'log_likelihood'? possible: {OBJECTIVES}",
        ),
        (
            "{name: log_likelihood, direction: minimize}",
            ".0: direction is 'minimize', but larger values of log_likelihood are better; leave it out",
        ),
        (
            "{name: nll, direction: maximize}",
            ".0: direction is 'maximize', but smaller values of nll are better; leave it out",
        ),
        ("nll, kl, ess, explained", " is a list, but must be a list of one to four objectives"),
        ("{name: elbo}", f": unknown quantity 'elbo'; possible: {OBJECTIVES}"),
        (
            "{name: log_likelihood, direction: minimise}",
            ".0: direction is 'minimise'; did you mean 'minimize'? possible: maximize, minimize",
        ),
        (
            "{name: log_likelihood, directoin: minimize}",
            ".0: unknown key 'directoin'; did you mean 'direction'? possible: name, direction",
        ),
        ("{direction: minimize}", ".0: key 'name' is missing"),
        ("{name: 3}", ".0: name is 3, but must be a word (a number or date in quotes)"),
        (
            "{name: [log_likelihood]}",
            ".0: name is ['log_likelihood'], but must be a word (a number or date in quotes)",
        ),
        (
            "[log_likelihood]",
            ": entry 1 is ['log_likelihood'], but must be a name, or {name: NAME, direction: minimize}",
        ),
        ("{name: joint_coherence, direction: maximize}", ": 'joint_coherence' appears twice; keep one"),
    ],
)
def test_what_is_no_objective_is_refused_with_its_line(refusal, entry, message):
    """Both spellings of one objective are that objective twice."""
    assert refusal(FULL.replace(LINE, f"objectives: [{entry}, joint_coherence]")) == (
        f"x.yaml:6: objectives{message}"
    )


def test_objectives_are_stored_as_a_file_may_have_them(load):
    """A name alone stays a name, so that the hash of a sweep that maximises is what it was."""
    spec = load(both("nll", "joint_coherence"))
    plain = json.loads(json.dumps(spec.plain()))
    assert plain["objectives"] == [{"name": "nll", "direction": "minimize"}, "joint_coherence"]
    assert SweepSpec.model_validate(plain) == spec
    longer = FULL.replace(LINE, "objectives: [{name: log_likelihood}, joint_coherence]")
    assert load(longer).spec_hash == load(FULL).spec_hash != spec.spec_hash


@pytest.mark.parametrize(("maximize", "direction"), [(True, "maximize"), (False, "minimize")])
def test_the_manifest_of_before_is_read(load, maximize, direction):
    """It said whether an objective is maximised, which then was free."""
    stored = load(SHORT).plain() | {
        "objectives": [{"name": "log_likelihood", "maximize": maximize}],
        "reference_point": {"log_likelihood": -9000.0},
    }
    assert SweepSpec.model_validate(stored, context=("m0", "m1")).objectives == (
        Objective(name="log_likelihood", direction=direction),
    )


def test_gains_are_larger_where_values_are_better():
    """Of any number of points; the columns are the objectives."""
    objectives = (Objective(name="a"), Objective(name="b", direction="minimize"))
    assert gains(np.ones((3, 2)), objectives).tolist() == [[1.0, -1.0]] * 3
    assert gains([0.5, 30], objectives).tolist() == [0.5, -30.0]


def test_an_objective_made_in_python_is_checked():
    """With the sentence of a file."""
    with pytest.raises(ConfigError, match=r"^direction is 'up'; possible: maximize, minimize$"):
        Objective(name="a", direction="up")
