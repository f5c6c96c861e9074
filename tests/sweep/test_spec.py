"""The YAML file as an object, and the sentence about every mistake in it."""

import json
import re
import subprocess
import sys
from dataclasses import fields, replace

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

import search_spaces
from mopoe.config import EvaluationConfig, TrialConfig
from mopoe.errors import ConfigError
from sweep.errors import SpecError
from sweep.space import Choice, Int, LogUniform, Simplex, Space, Uniform
from sweep.spec import DataSpec, ResourcesSpec, SweepSpec, load_spec, trial_config_for

FULL = """\
name: digits
data: {name: digits, seed: 1}
trials: 14
seed: 3
sampler: nsga2
objectives: [log_likelihood, joint_coherence]
reference_point:
  log_likelihood: -9000
  joint_coherence: 0.1
search_space:
  beta: {type: log_uniform, low: 0.25, high: 8}
  lr:
    type: uniform
    low: 1e-3
    high: 4e-3
  latent_dim: {type: int, low: 8, high: 64, log: true}
  batch_size: {type: choice, values: [64, 128]}
  subset_weights: {type: simplex, over: size}
fixed:
  epochs: 5
  channels: [16, 32, 64]
evaluation:
  coherence_samples: 300
  split: test
resources: {cpu: 2, gpu: 0.25, concurrent: 4}
"""
SHORT = """\
name: short
data: {name: digits}
trials: 3
reference_point: {conditional_coherence: 0.1, log_likelihood: -9000}
search_space: {beta: {type: uniform, low: 1, high: 2}}
"""
SETTINGS = ", ".join(f.name for f in fields(TrialConfig))
KINDS = "uniform, log_uniform, int, choice, simplex"
TOP = (
    "name, data, trials, seed, sampler, objectives, reference_point, search_space, fixed, "
    "evaluation, resources"
)
EVALUATION = (
    "split, every, coherence_samples, joint_samples, likelihood_samples, importance_samples, pictures, seed"
)
OBJECTIVES = "conditional_coherence, joint_coherence, log_likelihood"
WHOLE = "but must be a whole number"
WORD = "but must be a word (a number or date in quotes)"
MAPPING = "but must be a mapping of keys to values"
GPU = "but must be auto, a share between 0 and 1, or a whole number"
FOLDER = "but must be made of letters, digits, '.', '_' and '-', as it names a folder"
WEIGHTS = (
    "subset_weights has 2 numbers, but must have 5 (one per subset size) or 31 (one per subset)"
    " for 5 modalities"
)
DIFFER = "but must differ; put a constant under `fixed`"
FINITE = "but must be a finite number"


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Return a function that writes x.yaml in the current folder and loads it."""
    monkeypatch.chdir(tmp_path)

    def load(text, overrides=()):
        (tmp_path / "x.yaml").write_text(text)
        return load_spec("x.yaml", overrides)

    return load


@pytest.fixture
def refusal(load):
    """Return a function that gives the message of the SpecError of a text."""

    def refusal(text, overrides=()):
        with pytest.raises(SpecError) as caught:
            load(text, overrides)
        message = str(caught.value)
        assert "pydantic" not in message
        assert "_type" not in message
        return message

    return refusal


def test_a_full_file(load):
    """Every key arrives in its type."""
    spec = load(FULL)
    assert (spec.name, spec.trials, spec.seed, spec.sampler) == ("digits", 14, 3, "nsga2")
    assert spec.data.name == "digits"
    assert spec.data.options == {"seed": 1}
    assert spec.objectives == ("log_likelihood", "joint_coherence")
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
    assert spec.n_modalities == 5


def test_a_short_file_has_the_documented_defaults(load):
    """All that may be left out has its default."""
    spec = load(SHORT)
    assert (spec.seed, spec.sampler) == (0, "tpe")
    assert spec.objectives == ("conditional_coherence", "log_likelihood")
    assert spec.data.options == {"seed": 0}
    assert spec.fixed == {}
    assert spec.evaluation == EvaluationConfig()
    assert spec.resources == ResourcesSpec(cpu=1, gpu="auto", concurrent=None)


def test_choices_have_the_type_of_their_setting(load):
    """Whole numbers among the choices of a float are floats, so that a column of them has one type."""
    spec = load(FULL.replace("{type: log_uniform, low: 0.25, high: 8}", "{type: choice, values: [1, 2.5]}"))
    assert [type(value) for value in spec.search_space["beta"].values] == [float, float]
    assert spec.search_space["beta"] == Choice(values=(1.0, 2.5))


def test_one_objective_is_enough(load):
    """A sweep may have a single objective, with its own reference point."""
    spec = load(SHORT.replace("conditional_coherence: 0.1, ", "") + "objectives: [log_likelihood]\n")
    assert spec.objectives == ("log_likelihood",)


def test_a_path_need_not_exist_to_be_checked(load):
    """A file is checked without its data; the path is kept as it was written and decides the hash."""
    text = FULL.replace("{name: digits, seed: 1}", "{name: polymnist, path: no/MMNIST}")
    spec = load(text)
    assert spec.data.options == {"path": "no/MMNIST", "seed": 0}
    assert spec.plain()["data"] == {"name": "polymnist", "path": "no/MMNIST", "seed": 0}
    assert SweepSpec.model_validate(json.loads(json.dumps(spec.plain()))) == spec
    assert load(text, ["data.path=other"]).spec_hash != spec.spec_hash


@pytest.mark.parametrize("gpu", ["auto", 0, 0.5, 1, 4, 2.0])
def test_gpu_is_auto_a_share_or_a_whole_number(gpu):
    """These are the numbers that Ray accepts."""
    assert ResourcesSpec(gpu=gpu).gpu == gpu


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
    ],
)
def test_the_hash_ignores_what_decides_no_result(load, other):
    """Name, trials, resources, order, the spelling of numbers and written-out defaults do not matter."""
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
    ],
)
def test_the_hash_sees_what_decides_a_result(load, old, new):
    """Data, sampler, objectives, reference point, search space, constants and evaluation all matter."""
    assert load(FULL.replace(old, new)).spec_hash != load(FULL).spec_hash


def test_the_hash_is_the_same_in_another_process(load):
    """A sweep is resumed by it later, so it may not depend on Python's hash seed."""
    code = "from sweep.spec import load_spec; print(load_spec('x.yaml').spec_hash)"
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
    config = spec.trial_config(Space(spec.search_space, spec.n_modalities).settings(suggestion))
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
    with pytest.raises(ConfigError, match=r"^beta is -1.0, but must be a number of at least 0$"):
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
        ("beta", "'beta': not an assignment; write KEY=VALUE, for example trials=30"),
        ("beta=-1", "'beta=-1': beta is -1.0, but must be a number of at least 0"),
        ("latent_dim=6.5", "'latent_dim=6.5': latent_dim is 6.5, but must be a whole number"),
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
    with pytest.raises(SpecError) as caught:
        trial_config_for(spec, ["beta=2", assignment])
    assert str(caught.value) == message


def test_overrides_replace_values_of_the_file(load):
    """As texts or as a mapping, at the top or below, existing in the file or not."""
    texts = ["trials=30", "evaluation.every=2", "resources.gpu=0.5", "search_space.beta.low=1e-1"]
    spec = load(FULL, texts)
    assert (spec.trials, spec.evaluation.every, spec.resources.gpu) == (30, 2, 0.5)
    assert spec.search_space["beta"] == LogUniform(low=0.1, high=8)
    assert load(FULL, dict(text.split("=") for text in texts)) == spec


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("trials=-3", "'trials=-3': trials is -3, but must be at least 1"),
        ("trials", "'trials': not an assignment; write KEY=VALUE, for example trials=30"),
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


MISTAKES = [
    # unknown keys, at each level
    (
        "trials: 14",
        "trails: 14",
        f":3: unknown key 'trails'; did you mean 'trials'? possible: {TOP}\nx.yaml: key 'trials' is missing",
    ),
    ("trials: 14", "trials: 14\n7: x", f":4: unknown key 7; possible: {TOP}"),
    ("seed: 1}", "sed: 1}", ":2: data: unknown key 'sed'; did you mean 'seed'? possible: name, seed"),
    ("  beta:", "  bta:", f":11: search_space: unknown key 'bta'; did you mean 'beta'? possible: {SETTINGS}"),
    ("  beta: {", "  5: {", f":11: search_space: unknown key 5; possible: {SETTINGS}"),
    (
        "    low: 1e-3",
        "    low: 1e-3\n    hihg: 1",
        ":15: search_space.lr: unknown key 'hihg'; did you mean 'high'? possible: low, high, type",
    ),
    (
        "over: size",
        "over: size, low: 1",
        ":18: search_space.subset_weights: unknown key 'low'; possible: type, over",
    ),
    (
        "  epochs: 5",
        "  epoch: 5",
        f":20: fixed: unknown key 'epoch'; did you mean 'epochs'? possible: {SETTINGS}",
    ),
    ("  epochs: 5", "  1: 5", f":20: fixed: unknown key 1; possible: {SETTINGS}"),
    (
        "  split:",
        "  splt:",
        f":24: evaluation: unknown key 'splt'; did you mean 'split'? possible: {EVALUATION}",
    ),
    (
        "cpu: 2",
        "cpus: 2",
        ":25: resources: unknown key 'cpus'; did you mean 'cpu'? possible: cpu, gpu, concurrent",
    ),
    (
        "  joint_coherence: 0.1",
        "  joint_coherenc: 0.1",
        ":7: reference_point: key 'joint_coherence' is missing; every objective has one",
    ),
    (
        "-9000",
        "-9000\n  conditional_coherence: 0",
        (
            ":9: reference_point: unknown key 'conditional_coherence'; did you mean 'joint_coherence'? "
            "possible: log_likelihood, joint_coherence"
        ),
    ),
    ("  joint_coherence: 0.1", "  3: 0.1", f":9: reference_point: unknown key 3; possible: {OBJECTIVES}"),
    # missing keys
    ("name: digits\n", "", ": key 'name' is missing"),
    ("{name: digits, seed: 1}", "{seed: 1}", ":2: data: key 'name' is missing"),
    ("low: 0.25, ", "", ":11: search_space.beta: key 'low' is missing"),
    ("type: log_uniform, ", "", f":11: search_space.beta: key 'type' is missing; possible: {KINDS}"),
    (", values: [64, 128]", "", ":17: search_space.batch_size: key 'values' is missing"),
    (", over: size", "", ":18: search_space.subset_weights: key 'over' is missing"),
    # wrong types
    ("trials: 14", "trials: '14'", f":3: trials is '14', {WHOLE}"),
    ("trials: 14", "trials: true", f":3: trials is true, {WHOLE}"),
    ("trials: 14", "trials: 14.0", f":3: trials is 14.0, {WHOLE}"),
    ("trials: 14", "trials:", f":3: trials is null, {WHOLE}"),
    ("name: digits\n", "name: 3\n", f":1: name is 3, {WORD}"),
    ("name: digits\n", "name: a/b\n", f":1: name is 'a/b', {FOLDER}"),
    ("name: digits\n", "name: ..\n", f":1: name is '..', {FOLDER}"),
    ("{name: digits, seed: 1}", "digits", f":2: data is 'digits', {MAPPING}"),
    ("{name: digits, seed: 1}", "{name: 3}", f":2: data: name is 3, {WORD}"),
    ("seed: 1}", "seed: x}", f":2: data: seed is 'x', {WHOLE}"),
    ("seed: 1}", "seed: true}", f":2: data: seed is true, {WHOLE}"),
    # an option without a default
    (
        "name: digits, seed: 1}",
        "name: polymnist, seed: 1}",
        (
            ":2: data: key 'path' is missing; the folder MMNIST, or a file made by "
            "`sweep data build polymnist`"
        ),
    ),
    ("name: digits, seed: 1}", "name: polymnist, path: 3}", f":2: data: path is 3, {WORD}"),
    ("name: digits, seed: 1}", "name: polymnist, path:}", f":2: data: path is null, {WORD}"),
    (
        "name: digits, seed: 1}",
        "name: polymnist, pth: x}",
        ":2: data: unknown key 'pth'; did you mean 'path'? possible: name, path, seed",
    ),
    (
        "[log_likelihood, joint_coherence]",
        "log_likelihood",
        ":6: objectives is 'log_likelihood', but must be a list",
    ),
    ("[log_likelihood, joint_coherence]", "[log_likelihood, 3]", f":6: objectives: entry 2 is 3, {WORD}"),
    ("-9000", "'-9000'", ":8: reference_point: log_likelihood is '-9000', but must be a number"),
    (
        "{type: log_uniform, low: 0.25, high: 8}",
        "2.5",
        (
            ":11: search_space: beta is 2.5, but must be a mapping such as {type: uniform, low: 1, high: "
            "2}; constants go to `fixed`"
        ),
    ),
    ("high: 8}", "high: eight}", ":11: search_space.beta: high is 'eight', but must be a number"),
    ("low: 8,", "low: 8.5,", f":16: search_space.latent_dim: low is 8.5, {WHOLE}"),
    ("log: true", "log: 1", ":16: search_space.latent_dim: log is 1, but must be true or false"),
    ("[64, 128]", "64", ":17: search_space.batch_size: values is 64, but must be a list"),
    (
        "  coherence_samples: 300",
        "  coherence_samples: 3e2",
        f":23: evaluation: coherence_samples is 300.0, {WHOLE}",
    ),
    ("  split: test", "  split: 3", f":24: evaluation: split is 3, {WORD}"),
    ("resources: {cpu: 2, gpu: 0.25, concurrent: 4}", "resources: 2", f":25: resources is 2, {MAPPING}"),
    ("concurrent: 4", "concurrent: 1.5", f":25: resources: concurrent is 1.5, {WHOLE}"),
    ("gpu: 0.25", "gpu: all", f":25: resources: gpu is 'all', {GPU}"),
    ("gpu: 0.25", "gpu: true", f":25: resources: gpu is true, {GPU}"),
    # impossible numbers
    ("trials: 14", "trials: -1", ":3: trials is -1, but must be at least 1"),
    ("trials: 14", "trials: 0", ":3: trials is 0, but must be at least 1"),
    ("seed: 3", "seed: 4294967296", ":4: seed is 4294967296, but must be below 4294967296"),
    ("seed: 3", "seed: -1", ":4: seed is -1, but must be at least 0"),
    ("-9000", ".nan", f":8: reference_point: log_likelihood is nan, {FINITE}"),
    ("-9000", "-.inf", f":8: reference_point: log_likelihood is -inf, {FINITE}"),
    ("high: 8}", "high: .inf}", f":11: search_space.beta: high is inf, {FINITE}"),
    ("low: 0.25", "low: 8", f":11: search_space.beta: low and high are both 8.0, {DIFFER}"),
    (
        "    low: 1e-3",
        "    low: 5e-3",
        ":14: search_space.lr: low is 0.005, but must be below high (0.004); swap them?",
    ),
    ("low: 0.25", "low: 0", ":11: search_space.beta: low is 0.0, but must be above 0 for log_uniform"),
    ("low: 8,", "low: 0,", ":16: search_space.latent_dim: low is 0, but must be at least 1 with log: true"),
    (
        "log: true",
        "log: true, step: 2",
        ":16: search_space.latent_dim: step is 2, but must be 1 with log: true",
    ),
    ("log: true", "step: 0", ":16: search_space.latent_dim: step is 0, but must be at least 1"),
    (
        "log: true",
        "step: 10",
        (
            ":16: search_space.latent_dim: high is 64, but must be low plus a multiple of step; near: 58 "
            "and 68"
        ),
    ),
    ("cpu: 2", "cpu: 0", ":25: resources: cpu is 0, but must be above 0.0"),
    ("gpu: 0.25", "gpu: -1", f":25: resources: gpu is -1, {GPU}"),
    ("gpu: 0.25", "gpu: 1.5", f":25: resources: gpu is 1.5, {GPU}"),
    ("gpu: 0.25", "gpu: .inf", f":25: resources: gpu is inf, {GPU}"),
    ("concurrent: 4", "concurrent: 0", ":25: resources: concurrent is 0, but must be at least 1"),
    # names that do not exist
    ("nsga2", "nsga", ":5: sampler is 'nsga'; did you mean 'nsga2'? possible: tpe, random, nsga2, qmc"),
    ("nsga2", "3", ":5: sampler is 3; possible: tpe, random, nsga2, qmc"),
    (
        "joint_coherence]",
        "joint_cohernce]",
        (
            ":6: objectives: unknown objective 'joint_cohernce'; did you mean 'joint_coherence'? "
            f"possible: {OBJECTIVES}"
        ),
    ),
    (
        "{name: digits, seed: 1}",
        "{name: digit}",
        ":2: data: there is no data set 'digit'; there are: digits, polymnist. Did you mean 'digits'?",
    ),
    (
        "type: log_uniform",
        "type: log_unifrm",
        f":11: search_space.beta: type is 'log_unifrm'; did you mean 'log_uniform'? possible: {KINDS}",
    ),
    ("type: log_uniform", "type: [1]", f":11: search_space.beta: type is a list; possible: {KINDS}"),
    (
        "over: size",
        "over: sizes",
        ":18: search_space.subset_weights: over is 'sizes'; did you mean 'size'? possible: size, subset",
    ),
    (
        "  split: test",
        "  split: tst",
        ":24: evaluation: split is tst, but must be one of train, validation, test",
    ),
    # empty or repeated
    ("[log_likelihood, joint_coherence]", "[]", ":6: objectives is an empty list, but must be non-empty"),
    ("joint_coherence]", "log_likelihood]", ":6: objectives: 'log_likelihood' is there twice; keep one"),
    ("[64, 128]", "[]", ":17: search_space.batch_size: values is an empty list, but must be non-empty"),
    ("[64, 128]", "[64, 64]", ":17: search_space.batch_size: values has 64 twice; keep one"),
    ("seed: 3", "trials: 3", ":4:1: invalid YAML: key 'trials' is there twice, in lines 3 and 4; keep one"),
    ("  epochs: 5", "  lr: 0.001", ":12: search_space: 'lr' is also under `fixed`; keep one of the two"),
    # values that make no trial
    ("  epochs: 5", "  epochs: 0", ":20: fixed: epochs is 0, but must be at least 1"),
    ("  epochs: 5", "  epochs: 5.0", f":20: fixed: epochs is 5.0, {WHOLE}"),
    (
        "  epochs: 5",
        "  prior_expert: most",
        ":20: fixed: prior_expert is most, but must be one of full, all, none",
    ),
    ("[16, 32, 64]", "[16, 32]", ":21: fixed: channels is [16, 32], but must be three numbers of at least 1"),
    (
        "low: 8, high: 64, log: true",
        "low: -8, high: 64",
        ":16: search_space.latent_dim: latent_dim is -8, but must be at least 1",
    ),
    ("[64, 128]", "[64, 0]", ":17: search_space.batch_size.values: batch_size is 0, but must be at least 1"),
    ("[64, 128]", "[64, 1.5]", f":17: search_space.batch_size.values: batch_size is 1.5, {WHOLE}"),
    (
        "  coherence_samples: 300",
        "  coherence_samples: 0",
        ":23: evaluation: coherence_samples is 0, but must be at least 1",
    ),
    # parameters that do not fit their setting
    (
        "{type: simplex, over: size}",
        "{type: uniform, low: 0, high: 1}",
        ":18: search_space.subset_weights: type is 'uniform', but subset_weights needs simplex or choice",
    ),
    (
        "{type: log_uniform, low: 0.25, high: 8}",
        "{type: simplex, over: size}",
        ":11: search_space.beta: type is 'simplex', but beta needs uniform or log_uniform or choice",
    ),
    (
        "{type: log_uniform, low: 0.25, high: 8}",
        "{type: int, low: 1, high: 8}",
        ":11: search_space.beta: type is 'int', but beta needs uniform or log_uniform or choice",
    ),
    (
        "{type: int, low: 8, high: 64, log: true}",
        "{type: uniform, low: 8, high: 64}",
        ":16: search_space.latent_dim: type is 'uniform', but latent_dim needs int or choice",
    ),
    (
        "  batch_size: {type: choice, values: [64, 128]}",
        "  prior_expert: {type: int, low: 1, high: 2}",
        ":17: search_space.prior_expert: type is 'int', but prior_expert needs choice",
    ),
    (
        "{type: simplex, over: size}",
        "{type: choice, values: [null, [1, 0]]}",
        f":18: search_space.subset_weights.values: {WEIGHTS}",
    ),
]


@pytest.mark.parametrize(("old", "new", "message"), MISTAKES)
def test_a_mistake_is_one_sentence_with_its_line(refusal, old, new, message):
    """The message says where, what was found and what is possible, and nothing of the libraries below."""
    assert FULL.count(old) == 1
    assert refusal(FULL.replace(old, new)) == f"x.yaml{message}"


def test_fixed_weights_fit_the_number_of_modalities(load, refusal):
    """Five modalities have 5 sizes and 31 subsets, and weights sum to one."""

    def text(weights):
        return SHORT + f"fixed: {{subset_weights: {weights}}}\n"

    assert load(text([0.2] * 5)).fixed == {"subset_weights": (0.2,) * 5}
    assert len(load(text([1] + [0] * 30)).fixed["subset_weights"]) == 31
    assert load(text("null")).fixed == {"subset_weights": None}
    assert refusal(text([0.5, 0.5])) == (
        "x.yaml:6: fixed: subset_weights has 2 numbers, but must have 5 (one per subset size) or 31 (one per "
        "subset) for 5 modalities"
    )
    assert refusal(text([0.5] * 5)) == "x.yaml:6: fixed: subset_weights sums to 2.5, but must sum to 1"


def test_methods_and_mixtures_are_searchable(load):
    """Each fits the type of parameter of its kind."""
    space = """search_space:
  mixture_path: {type: uniform, low: -1, high: 1}
  mixture: {type: choice, values: [stratified, all]}
  likelihood_weights: {type: choice, values: [none, dimensions]}
  beta_warmup_epochs: {type: int, low: 0, high: 4}
"""
    head = SHORT[: SHORT.index("search_space")]
    config = trial_config_for(load(head + space), ["mixture=all"])
    assert (config.mixture_path, config.mixture, config.beta_warmup_epochs) == (0.0, "all", 2)
    methods = load(head + "search_space: {method: {type: choice, values: [mopoe, moe, poe]}}")
    assert trial_config_for(methods, ["method=poe", "unimodal_elbos=false"]).unimodal_elbos is False


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "  subset_weights: {type: simplex, over: size}\n",
            "  mixture_path: {type: log_uniform, low: 0.1, high: 1}\n",
            ":18: search_space.mixture_path: type is 'log_uniform', but mixture_path needs uniform or choice",
        ),
        (
            "  subset_weights: {type: simplex, over: size}\n",
            "  mixture_path: {type: uniform, low: -1, high: 2}\n",
            ":18: search_space.mixture_path: mixture_path is 2.0, but must be between -1 and 1",
        ),
        (
            "  subset_weights: {type: simplex, over: size}\n",
            "  mixture: {type: choice, values: [stratified, none]}\n",
            (
                ":18: search_space.mixture.values: mixture is none, but must be one of stratified, "
                "categorical, batch_split, all"
            ),
        ),
        (
            "  epochs: 5",
            "  method: moe",
            (
                ":18: search_space: subset_weights is given, but method moe fixes the subsets' weights; "
                "leave one out"
            ),
        ),
        (
            "  epochs: 5",
            "  mixture_path: 0.5",
            ":18: search_space: subset_weights and mixture_path are both given; leave one out",
        ),
        (
            "  epochs: 5",
            "  unimodal_elbos: 1",
            ":20: fixed: unimodal_elbos is 1, but must be true or false",
        ),
    ],
)
def test_settings_of_the_objective_that_do_not_fit_are_refused(refusal, old, new, message):
    """Each mistake, also of two settings that contradict each other, is one sentence with its line."""
    assert old in FULL
    assert refusal(FULL.replace(old, new)) == "x.yaml" + message


def test_a_contradicting_assignment_is_refused(load):
    """A searched setting at its middle counts as given."""
    with pytest.raises(SpecError) as caught:
        trial_config_for(load(FULL), ["method=poe"])
    assert str(caught.value) == (
        "subset_weights is given, but method poe fixes the subsets' weights; leave one out"
    )
    assert trial_config_for(load(FULL), ["method=poe", "subset_weights=null"]).method == "poe"


def test_an_empty_search_space_is_refused(refusal):
    """A sweep without a searched parameter would run the same trial again and again."""
    text = SHORT.replace("{beta: {type: uniform, low: 1, high: 2}}", "{}")
    assert refusal(text) == "x.yaml:5: search_space is an empty mapping, but must be non-empty"
    text = SHORT.replace("{beta: {type: uniform, low: 1, high: 2}}", "")
    assert refusal(text) == "x.yaml:5: search_space is null, but must be a mapping of keys to values"


def test_the_reference_point_is_required(refusal):
    """There is no default: what is a poor likelihood depends on the data."""
    text = re.sub("reference_point.*\n", "", SHORT)
    assert refusal(text) == "x.yaml: key 'reference_point' is missing"


def test_at_most_three_mistakes_are_told(refusal):
    """One line each, unknown keys first, as they are often the cause of the others."""
    text = SHORT.replace("trials: 3", "trals: 3\nseed: x\nsampler: y").replace("short", "7")
    assert refusal(text).splitlines() == [
        f"x.yaml:3: unknown key 'trals'; did you mean 'trials'? possible: {TOP}",
        "x.yaml:1: name is 7, but must be a word (a number or date in quotes)",
        "x.yaml: key 'trials' is missing",
    ]


def test_a_bad_file_is_a_spec_error(refusal, tmp_path):
    """The reader's sentences arrive as they are."""
    assert refusal("") == "x.yaml is empty, but must have keys and values such as `trials: 14`"
    assert refusal("- a\n") == "x.yaml:1: the file is a list, but must be a mapping of keys to values"
    assert refusal("a: [1\nb: 2\n") == "x.yaml:2:2: invalid YAML: expected ',' or ']', but got ':'"
    with pytest.raises(SpecError, match=r"^there is no file missing\.yaml; "):
        load_spec("missing.yaml")
    with pytest.raises(
        SpecError, match=rf"^{re.escape(str(tmp_path))} is a folder, but must be a YAML file$"
    ):
        load_spec(tmp_path)


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
    "resources",
    "gpu",
    "reference_point",
    "x",
]
KEYS = st.sampled_from([*WORDS, 3, None, True])
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-3, 70)
    | st.floats()
    | st.sampled_from(["auto", "int", "digits", "simplex", "choice", "size", "log_likelihood", ""])
    | st.dates()
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=300, deadline=None)
@given(keys=st.lists(KEYS, min_size=1, max_size=3), value=VALUES)
def test_any_value_anywhere_is_a_spec_or_a_spec_error(tmp_path_factory, keys, value):
    """No replaced value makes the loader fail in another way, and what it accepts survives storing."""
    content = yaml.safe_load(FULL)
    place = content
    for key in keys[:-1]:
        place = place[key] if isinstance(place.get(key), dict) else place
    place[keys[-1]] = value
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_text(yaml.safe_dump(content))
    try:
        spec = load_spec(path)
    except SpecError as error:
        assert str(error).startswith(str(path))  # noqa: PT017 - both outcomes are right
    else:
        assert SweepSpec.model_validate(json.loads(json.dumps(spec.plain()))) == spec


def test_a_text_that_is_no_unicode_is_still_a_sentence(refusal):
    """What pydantic alone knows to refuse has no sentence of its own, but a place and a value."""
    assert refusal(SHORT.replace("short", '"\\ud800"')) == (
        "x.yaml:1: name is '\\ud800', but must be of another form"
    )


def test_a_spec_built_in_python_is_checked_as_well():
    """The checks belong to the object, not to the file."""
    assert DataSpec(name="digits").options == {"seed": 0}
    with pytest.raises(ValidationError, match="there is no data set 'x'"):
        DataSpec(name="x")


def test_importing_the_spec_loads_nothing_heavy():
    """Checking a file needs neither torch, ray, optuna, pyarrow, numpy nor scipy."""
    heavy = ("torch", "ray", "optuna", "pyarrow", "polars", "numpy", "scipy")
    code = f"import sys, sweep.spec, sweep.space; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
