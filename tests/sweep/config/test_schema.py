"""The sections of a file: data, rungs, resources, evaluation."""

import json
import re

import pytest
from pydantic import ValidationError
from spec_texts import AT_RUNGS, COUNT, FULL, MAPPING, SHORT

from mopoe.errors import ConfigError
from mopoe.evaluation_config import EvaluationConfig, IntermediateConfig
from sweep.config.schema import DataSpec, ResourcesSpec
from sweep.config.sweep_spec import SweepSpec


@pytest.mark.parametrize(
    ("asked", "cpus", "gpus", "expected"),
    [
        ({}, 2, 0, 2),
        ({"cpu": 0.5}, 2, 0, 4),
        ({"gpu": 0.25}, 16, 2, 8),
        ({"cpu": 4.0}, 1, 0, 1),
        ({}, 4, 1, 1),
        ({"gpu": 0.0}, 4, 1, 4),
        ({"concurrent": 3}, 16, 0, 3),
    ],
)
def test_slots(asked, cpus, gpus, expected):
    """As many trials as the scarcest resource allows, one even if none fits yet, or what the file says."""
    assert ResourcesSpec(**asked).slots(cpus, gpus) == expected


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"cpu": 64}, "resources.cpu is 64, but this machine has 8; lower it, or run the sweep on a cluster"),
        (
            {"gpu": 0.5},
            "resources.gpu is 0.5, but this machine has 0; lower it, or run the sweep on a cluster",
        ),
        ({"cpu": 8}, None),
    ],
)
def test_a_machine_without_room_is_told(asked, sentence):
    """Before any trial waits for a place that never comes."""
    resources = ResourcesSpec(**asked)
    if sentence is None:
        resources.check_room(8, 0)
    else:
        with pytest.raises(ConfigError, match=f"^{re.escape(sentence)}$"):
            resources.check_room(8, 0)


@pytest.mark.parametrize("gpu", ["auto", 0, 0.5, 1, 1.0])
def test_gpu_is_auto_or_a_share(gpu):
    """A trial uses one at most."""
    assert ResourcesSpec(gpu=gpu).gpu == gpu


def test_a_path_need_not_exist_to_be_checked(load):
    """A file is checked without its data; the path is kept as it was written and decides the hash."""
    text = FULL.replace("{name: digits, seed: 1}", "{name: polymnist, path: no/MMNIST}")
    spec = load(text)
    assert spec.data.options == {"path": "no/MMNIST", "seed": 0}
    assert spec.plain()["data"] == {"name": "polymnist", "path": "no/MMNIST", "seed": 0}
    assert SweepSpec.model_validate(json.loads(json.dumps(spec.plain()))) == spec
    assert load(text, ["data.path=other"]).spec_hash != spec.spec_hash


def test_an_evaluation_has_amounts_for_rungs_and_extras_for_the_end(load):
    """What is not given has its default, and all of it survives storing."""
    text = FULL.replace(
        "split: test", "subset_sizes: [1, 4]\n  final_metrics: [frechet]\n  intermediate: {joint_samples: 9}"
    )
    spec = load(text)
    assert spec.evaluation == EvaluationConfig(
        coherence_samples=300,
        subset_sizes=(1, 4),
        final_metrics=("frechet",),
        intermediate=IntermediateConfig(joint_samples=9),
    )
    assert SweepSpec.model_validate(json.loads(json.dumps(spec.plain()))) == spec
    changed = load(text, ["evaluation.intermediate.importance_samples=4"]).evaluation.intermediate
    assert changed == IntermediateConfig(joint_samples=9, importance_samples=4)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("intermediate: 3", f":24: evaluation: intermediate is 3, {MAPPING}"),
        (
            "intermediate: {joint_sample: 3}",
            (
                ":24: evaluation.intermediate: unknown key 'joint_sample'; did you mean 'joint_samples'? "
                f"possible: {AT_RUNGS}"
            ),
        ),
        ("own_targets: 1", ":24: evaluation: own_targets is 1, but must be true or false"),
        (
            "intermediate: {joint_samples: 2.5}",
            f":24: evaluation.intermediate: joint_samples is 2.5, {COUNT}",
        ),
        (
            "intermediate: {joint_samples: 0}",
            f":24: evaluation.intermediate: joint_samples is 0, {COUNT}",
        ),
        (
            "final_metrics: frechet",
            (
                ":24: evaluation: final_metrics is 'frechet', but must be a list of some of representation, "
                "frechet, conditional_likelihood, mixture_prior, fid; a list is written as [frechet]"
            ),
        ),
        (
            "final_metrics: [representation, frechte]",
            (
                ":24: evaluation.final_metrics: entry 2 is 'frechte'; did you mean 'frechet'? "
                "possible: representation, frechet, conditional_likelihood, mixture_prior, fid"
            ),
        ),
        (
            "subset_sizes: [1, '2']",
            ":24: evaluation.subset_sizes: entry 2 is '2', but must be a whole number of at least 1",
        ),
        (
            "intermediate: {subset_sizes: [1, 6]}",
            (
                ":24: evaluation.intermediate: subset_sizes is [1, 6], but must hold sizes from 1 to 5, "
                "at least one below 5, so that a target is left"
            ),
        ),
        (
            "subset_sizes: [5]",
            (
                ":24: evaluation: subset_sizes is [5], but must hold sizes from 1 to 5, "
                "at least one below 5, so that a target is left"
            ),
        ),
    ],
)
def test_an_impossible_evaluation_is_refused_where_it_stands(refusal, lines, message):
    """Also within the amounts for rungs, and in lists."""
    assert refusal(FULL.replace("split: test", lines)) == f"x.yaml{message}"


def test_a_spec_built_in_python_is_checked_as_well():
    """The checks belong to the object, not to the file."""
    assert DataSpec(name="digits").options == {"seed": 0}
    with pytest.raises(ValidationError, match="there is no data set 'x'"):
        DataSpec(name="x")


def test_rungs_lie_below_the_longest_budget(load):
    """They are grace times powers of eta; a searched number of epochs counts with its largest value."""
    halving = "scheduler: {type: halving, eta: 3}\n"
    assert load(SHORT + halving).rungs == (2, 6, 18, 54, 162)
    assert load(SHORT + halving + "fixed: {epochs: 18}\n").rungs == (2, 6)
    searched = SHORT.replace("{beta: ", "{epochs: {type: int, low: 2, high: 7}, beta: ")
    assert load(searched + halving).rungs == (2, 6)
    assert load(
        searched.replace("{type: int, low: 2, high: 7}", "{type: choice, values: [9, 3]}") + halving
    ).rungs == (
        2,
        6,
    )
    assert load(SHORT).rungs == ()
