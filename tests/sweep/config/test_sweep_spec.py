"""The YAML file as an object: values, defaults, overrides, hashes, single trials."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError
from spec_texts import COUNT, EVALUATION, FULL, SETTINGS, SHORT, WEIGHTS

import search_spaces
from mopoe.config import TrialConfig
from mopoe.errors import ConfigError
from mopoe.evaluation_config import EvaluationConfig
from sweep.config import checks
from sweep.config.objectives import names
from sweep.config.parameters import Choice, Int, LogUniform, Simplex, Uniform
from sweep.config.schema import ResourcesSpec
from sweep.config.space import Space
from sweep.config.sweep_spec import SweepSpec, load_spec, one_trial, trial_config_for


def test_a_full_file(load):
    """Every key arrives in its type."""
    spec = load(FULL)
    assert (spec.name, spec.trials, spec.seed, spec.sampler) == ("digits", 14, 3, "nsga2")
    assert spec.data.name == "digits"
    assert spec.data.options == {"seed": 1}
    assert names(spec.objectives) == ("log_likelihood", "joint_coherence")
    assert spec.reference_point == {"log_likelihood": -9000.0, "joint_coherence": 0.1}
    assert spec.search_space == {
        "beta": LogUniform(low=0.25, high=8),
        "lr": Uniform(low=0.001, high=0.004),
        "latent_dim": Int(low=8, high=64, log=True),
        "batch_size": Choice(values=(64, 128)),
        "subset_weights": Simplex(over="size"),
    }
    assert spec.fixed == {"epochs": 5, "channels": (16, 32, 64)}
    assert spec.evaluation == EvaluationConfig(coherence_samples=300, split="test")
    assert spec.resources == ResourcesSpec(cpu=2, gpu=0.25, concurrent=4)
    assert spec.modalities == ("m0", "m1", "m2", "m3", "m4")


def test_a_short_file_has_the_documented_defaults(load):
    """All that may be left out has its default."""
    spec = load(SHORT)
    assert (spec.seed, spec.sampler) == (0, "tpe")
    assert names(spec.objectives) == ("conditional_coherence", "log_likelihood")
    assert spec.data.options == {"seed": 0}
    assert spec.fixed == {}
    assert spec.evaluation == EvaluationConfig()
    assert spec.resources == ResourcesSpec(cpu=1, gpu="auto", concurrent=None)


def test_one_objective_is_enough(load):
    """A sweep may have a single objective, with its own reference point."""
    spec = load(SHORT.replace("conditional_coherence: 0.1, ", "") + "objectives: [log_likelihood]\n")
    assert names(spec.objectives) == ("log_likelihood",)


def test_a_spec_is_frozen(load):
    """No key can be changed after validation."""
    with pytest.raises(ValidationError, match="frozen"):
        load(SHORT).trials = 5


@pytest.mark.parametrize("text", [FULL, SHORT])
def test_plain_is_json_and_gives_the_spec_back(load, text):
    """What is stored with a sweep rebuilds its spec, defaults and all."""
    spec = load(text)
    plain = spec.plain()
    assert SweepSpec.model_validate(json.loads(json.dumps(plain))) == spec
    assert plain["data"] == {"name": "digits", "seed": spec.data.options["seed"]}
    assert plain["evaluation"]["importance_samples"] == 62


def test_a_shipped_file_is_found_by_name(tmp_path, monkeypatch):
    """`digits` stands for the file of that name in the package."""
    (tmp_path / "digits.yaml").write_text(SHORT)
    monkeypatch.setattr(search_spaces, "_SHIPPED", tmp_path)
    assert load_spec("digits").name == "short"


@pytest.mark.parametrize(
    "other",
    [
        FULL.replace("name: digits\n", "name: other\n", 1),
        FULL.replace("trials: 14", "trials: 40"),
        FULL.replace("gpu: 0.25, concurrent: 4", "gpu: 1"),
        FULL.replace("-9000", "-9e3").replace("low: 0.25", "low: 2.5e-1"),
        FULL.replace("  epochs: 5\n  channels: [16, 32, 64]", "  channels: [16, 32, 64]\n  epochs: 5"),
        FULL + "# the end\n",
        FULL.replace("split: test", "split: test\n  pictures: 8"),
        FULL.replace("epochs: 5", "epochs: 5\n  prior_expert: full"),
        FULL + "budget: {hours: 6}\n",
        FULL + "scheduler: {type: none}\nconstraints: {}\nstart_with: []\nwarm_start: []\n",
        FULL.replace("over: size", "over: size, when: null"),
    ],
)
def test_the_hash_ignores_what_decides_no_result(load, other):
    """Name, trials, budget, resources, order, the spelling of numbers and defaults do not matter."""
    assert other != FULL
    assert load(other).spec_hash == load(FULL).spec_hash


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("seed: 1", "seed: 2"),
        ("seed: 3", "seed: 4"),
        ("nsga2", "tpe"),
        ("[log_likelihood, joint_coherence]", "[joint_coherence, log_likelihood]"),
        ("-9000", "-9001"),
        ("high: 8}", "high: 9}"),
        ("over: size", "over: subset"),
        ("epochs: 5", "epochs: 6"),
        ("split: test", "split: validation"),
        ("seed: 3", "seed: 3\nscheduler: {type: halving}"),
        ("seed: 3", "seed: 3\nconstraints: {seconds: '<= 60'}"),
        ("seed: 3", "seed: 3\nstart_with: [{beta: 1}]"),
        ("over: size", "over: size, when: {batch_size: 64}"),
    ],
)
def test_the_hash_sees_what_decides_a_result(load, old, new):
    """Data, sampler, objectives, reference point, search space, constants and evaluation all matter."""
    assert load(FULL.replace(old, new)).spec_hash != load(FULL).spec_hash


def test_the_hash_is_what_it_was(load):
    """Results folders hold these: a changed schema may not make another sweep of them."""
    more = "scheduler: {type: halving}\nconstraints: {seconds: '<= 60'}\nstart_with: [{beta: 1}]\n"
    assert load(FULL).spec_hash == "ac8e374e2a04"
    assert load(SHORT).spec_hash == "d0a46891cb4e"
    assert load(FULL + more).spec_hash == "2e30b5281495"
    assert load_spec("digits").spec_hash == "fa22319210e3"
    assert load_spec("polymnist").spec_hash == "8b331f360801"


def test_the_hash_sees_folds(load, monkeypatch):
    """Unlike seeds, they decide what a trial is trained on; without them a stored file does not name them."""
    monkeypatch.setattr(checks, "DATA_SETS", {})  # as if digits were data of one's own
    found = {load(FULL + f"replicates: {{{more}}}\n").spec_hash for more in ("", "folds: 3", "folds: 4")}
    assert len(found) == 3
    assert load(FULL).spec_hash in found
    assert load(FULL + "replicates: {seeds: 3}\n").spec_hash in found
    assert "folds" not in load(FULL).plain()["replicates"]
    spec = load(FULL + "replicates: {folds: 3}\n")
    assert SweepSpec.model_validate(spec.plain()) == spec


def test_the_hash_is_the_same_in_another_process(load):
    """A sweep is resumed by it later, so it may not depend on Python's hash seed."""
    code = "from sweep.config.sweep_spec import load_spec; print(load_spec('x.yaml').spec_hash)"
    here = load(FULL).spec_hash
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == here
    assert re.fullmatch("[0-9a-f]{12}", here)


def test_trial_config_is_the_constants_and_the_settings(load):
    """The suggestion of a searcher becomes the config that is trained."""
    spec = load(FULL)
    suggestion = {
        "beta": 2.5,
        "lr": 0.002,
        "latent_dim": 16,
        "batch_size": 128,
        **{f"subset_weights.{i}": 1.0 for i in range(4)},
    }
    config = spec.trial_config(Space(spec.search_space, spec.modalities).settings(suggestion))
    assert config == TrialConfig(
        beta=2.5,
        lr=0.002,
        latent_dim=16,
        batch_size=128,
        subset_weights=(0.0, 0.0, 0.0, 0.0, 1.0),
        epochs=5,
        channels=(16, 32, 64),
    )
    assert spec.trial_config({"seed": 7, "epochs": 2}).epochs == 2
    with pytest.raises(ConfigError, match=r"^beta is -1, but must be a number between 0 and 1,000,000$"):
        spec.trial_config({"beta": -1})


def test_a_single_trial_is_the_middle_of_the_space_and_the_assignments(load):
    """Constants, middles, then assignments, which may leave the space and replace constants."""
    spec = load(FULL)
    default = trial_config_for(spec, [])
    assert default == TrialConfig(
        beta=2**0.5,
        lr=0.0025,
        latent_dim=23,
        batch_size=64,
        subset_weights=(0.2,) * 5,
        epochs=5,
        channels=(16, 32, 64),
    )
    changed = trial_config_for(spec, ["beta=100", "latent_dim=64", "epochs=1", "subset_weights=null"])
    assert changed == replace(default, beta=100.0, latent_dim=64, epochs=1, subset_weights=None)
    assert trial_config_for(spec, ["lr=1e-2", "lr = 0.5"]).lr == 0.5
    assert trial_config_for(spec, ["subset_weights=[0,0,0,0,1]"]).subset_weights == (0, 0, 0, 0, 1)


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("bta=2", f"'bta=2': unknown key 'bta'; did you mean 'beta'? possible: {SETTINGS}"),
        ("beta", "'beta' is not an assignment; write KEY=VALUE, for example trials=30"),
        ("beta=-1", "'beta=-1': beta is -1, but must be a number between 0 and 1,000,000"),
        (
            "latent_dim=6.5",
            "'latent_dim=6.5': latent_dim is 6.5, but must be a whole number between 1 and 65,536",
        ),
        ("channels=[1", "'channels=[1': invalid YAML: expected ',' or ']', but got '<stream end>'"),
        (
            "subset_weights=[0.5, 0.5]",
            f"'subset_weights=[0.5, 0.5]': {WEIGHTS}",
        ),
    ],
)
def test_an_impossible_assignment_is_refused(load, assignment, message):
    """The message starts with the assignment."""
    spec = load(FULL)
    with pytest.raises(ConfigError) as caught:
        trial_config_for(spec, ["beta=2", assignment])
    assert str(caught.value) == message


def test_overrides_replace_values_of_the_file(load):
    """At the top or below, existing in the file or not."""
    texts = ["trials=30", "evaluation.every=2", "resources.gpu=0.5", "search_space.beta.low=1e-1"]
    spec = load(FULL, texts)
    assert (spec.trials, spec.evaluation.every, spec.resources.gpu) == (30, 2, 0.5)
    assert spec.search_space["beta"] == LogUniform(low=0.1, high=8)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("trials=-3", f"'trials=-3': trials is -3, {COUNT}"),
        ("trials", "'trials' is not an assignment; write KEY=VALUE, for example trials=30"),
        ("trials.x=3", "'trials.x=3': trials is not a mapping and has no key 'x'"),
        (
            "search_space.lr.low=9",
            (
                "'search_space.lr.low=9': search_space.lr: low is 9.0, but must be below high (0.004); "
                "swap them?"
            ),
        ),
        (
            "search_space.beta.high=0.1",
            "x.yaml:11: search_space.beta: low is 0.25, but must be below high (0.1); swap them?",
        ),
        ("fixed.beta=2", "x.yaml:11: search_space: 'beta' is also under `fixed`; keep one of the two"),
        (
            "evaluation.evry=",
            (
                "'evaluation.evry=': evaluation: unknown key 'evry'; did you mean 'every'? "
                f"possible: {EVALUATION}"
            ),
        ),
    ],
)
def test_an_impossible_override_is_refused(refusal, override, message):
    """The message starts with the override, or with the line that it made impossible."""
    assert refusal(FULL, [override]) == message


def test_importing_the_spec_loads_nothing_heavy():
    """Checking a file needs neither torch, ray, optuna, pyarrow, numpy nor scipy."""
    heavy = ("torch", "ray", "optuna", "pyarrow", "polars", "numpy", "scipy")
    load = "import sys, sweep.config.sweep_spec, sweep.config.space"
    code = f"{load}; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


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


def test_constraints_are_limits(load):
    """Each text becomes a limit on a measured quantity."""
    limits = load(SHORT + "constraints: {parameters: '<= 20e6', joint_coherence: '>= 0.1'}\n").limits
    assert [(x.name, x.at_most, x.bound) for x in limits] == [
        ("parameters", True, 20e6),
        ("joint_coherence", False, 0.1),
    ]


def test_keys_of_before_are_still_read(load):
    """A file may say `evaluation.extras` and `at_rungs` for `final_metrics` and `intermediate`."""
    before = "\nevaluation: {extras: [frechet], at_rungs: {joint_samples: 9}}\n"
    now = "\nevaluation: {final_metrics: [frechet], intermediate: {joint_samples: 9}}\n"
    assert load(SHORT + before) == load(SHORT + now)
    assert load(SHORT + before).plain()["evaluation"]["final_metrics"] == ["frechet"]
