"""Keys of a sweep's file that contradict each other or the data set."""

import re
from dataclasses import replace

import pytest
from spec_texts import FULL, SHORT, mistakes

from mopoe.data.registry import DATA_SETS

MISTAKES = r"""
-9000 => -9000\n  conditional_coherence: 0
:9: reference_point: unknown key 'conditional_coherence'; did you mean 'joint_coherence'? possible: log_likelihood, joint_coherence

trials: 14 => trials: 14\nscheduler: {type: halving, grace: 5}
:4: scheduler: grace is 5, but trials have 5 epochs and a rung must lie below

trials: 14 => trials: 14\nscheduler: {type: halving, eta: 3, brackets: 2}
:4: scheduler: brackets is 2, but rungs are at: 2

trials: 14 => trials: 14\nscheduler: {type: halving, grace: 1, eta: 3, brackets: 3}
:4: scheduler: brackets is 3, but rungs are at: 1, 3

trials: 14 => trials: 14\nscheduler: {type: asha}
:4: scheduler: key 'objective' is missing; asha compares one of: log_likelihood, joint_coherence

trials: 14 => trials: 14\nscheduler: {type: median, objective: conditional_coherence}
:4: scheduler: objective is 'conditional_coherence'; did you mean 'joint_coherence'? possible: log_likelihood, joint_coherence

[log_likelihood, joint_coherence] => [log_likelihood, frechet]
:6: objectives: 'frechet' is a final metric; add `final_metrics: [frechet]` under `evaluation`

trials: 14 => trials: 14\nconstraints: {representation.1: ">= 0.5"}
:4: constraints: 'representation.1' is a final metric; add `final_metrics: [representation]` under `evaluation`

  split: test =>   subset_sizes: [1, 4]\nconstraints: {coherence.2: ">= 0.5"}
:25: constraints: 'coherence.2' is of subsets of 2 modalities, but evaluation.subset_sizes is [1, 4]

  split: test =>   subset_sizes: [1]\nconstraints: {coherence.6: ">= 0.5"}
:25: constraints: 'coherence.6' names no subset; possible: m0, m1, m2, m3, m4, 1, 2, 3, 4, 5

trials: 14 => trials: 14\nscheduler: {type: halving, objective: log_likelihood}
:4: scheduler: objective is 'log_likelihood', but halving compares all objectives; leave it out

type: choice, values: [64, 128] => type: choice, values: [64, 128], when: {method: moe}
:17: search_space.batch_size.when: when needs a choice that is listed before batch_size; possible: none

{type: simplex, over: size} => {type: simplex, over: size, when: {batch_size: 32}}
:18: search_space.subset_weights.when: batch_size is 32; possible: 64, 128

  batch_size: {type: choice, values: [64, 128]} =>   method: {type: choice, values: [mopoe, moe]}
:17: search_space.method.values: subset_weights is given, but method moe fixes the subsets' weights; leave one out

trials: 14 => trials: 14\nreplicates: {folds: 5}
:4: replicates: folds are of tables or data of your own, but the splits of 'digits' are given

trials: 14 => trials: 14\nreplicates: {folds: 5, seeds: 2}
:4: replicates: seeds is 2 and folds is 5, but a config has several seeds or several folds; leave one out

trials: 14 => trials: 14\nstart_with: [{beta: 9}]
:4: start_with: beta is 9.0, but must be between 0.25 and 8.0

trials: 14 => trials: 14\nstart_with: [{latent_dim: 2}]
:4: start_with: latent_dim is 2, but must be between 8 and 64

sampler: nsga2 => sampler: grid
:11: search_space.beta: type is 'log_uniform', but a grid needs int or choice

  epochs: 5 =>   lr: 0.001
:12: search_space: 'lr' is also under `fixed`; keep one of the two

low: 8, high: 64, log: true => low: -8, high: 64
:16: search_space.latent_dim: latent_dim is -8, but must be a whole number between 1 and 65,536

{type: simplex, over: size} => {type: uniform, low: 0, high: 1}
:18: search_space.subset_weights: type is 'uniform', but subset_weights needs simplex or choice

{type: log_uniform, low: 0.25, high: 8} => {type: simplex, over: size}
:11: search_space.beta: type is 'simplex', but beta needs uniform or log_uniform or choice

{type: log_uniform, low: 0.25, high: 8} => {type: int, low: 1, high: 8}
:11: search_space.beta: type is 'int', but beta needs uniform or log_uniform or choice

{type: int, low: 8, high: 64, log: true} => {type: uniform, low: 8, high: 64}
:16: search_space.latent_dim: type is 'uniform', but latent_dim needs int or choice

  batch_size: {type: choice, values: [64, 128]} =>   prior_expert: {type: int, low: 1, high: 2}
:17: search_space.prior_expert: type is 'int', but prior_expert needs choice

{type: simplex, over: size} => {type: choice, values: [null, [1, 0]]}
:18: search_space.subset_weights.values: subset_weights has 2 numbers, but must have 5 (one per subset size) or 31 (one per subset) for 5 modalities
"""  # noqa: E501 - sentences as they are printed


@pytest.mark.parametrize(("old", "new", "message"), mistakes(MISTAKES))
def test_a_contradiction_is_one_sentence_with_its_line(refusal, old, new, message):
    """It stands where the key is that should change, and says what is possible."""
    assert FULL.count(old) == 1
    assert refusal(FULL.replace(old, new)) == f"x.yaml{message}"


def test_a_final_metric_is_not_compared_at_a_rung(load, refusal):
    """Beside an objective that is, it may be an objective; the line to add names those that are there."""
    text = FULL.replace("joint_coherence: 0.1", "frechet.prior: 9").replace(
        "joint_coherence]", "frechet.prior]"
    )
    asked = ("evaluation.final_metrics=[frechet, representation]",)
    halving = "scheduler: {type: halving, grace: 1}\n"
    assert refusal(text + halving, asked) == (
        "x.yaml:26: scheduler: halving compares trials at rungs, but frechet.prior is measured after the "
        "last epoch alone"
    )
    asha = "scheduler: {type: asha, grace: 1, objective: log_likelihood}\n"
    assert load(text + asha, asked).quantities == ("frechet.prior",)
    more = ("evaluation.final_metrics=[representation, fid]",)
    assert "add `final_metrics: [representation, fid, frechet]` under" in refusal(text, more)


def test_one_modality_has_nothing_to_generate_from(refusal, monkeypatch):
    """Its conditional coherence would never be a number; other objectives are fine."""
    one = replace(DATA_SETS["digits"], modalities=DATA_SETS["digits"].modalities[:1])
    monkeypatch.setitem(DATA_SETS, "digits", one)
    assert refusal(SHORT) == (
        "x.yaml: 'conditional_coherence' generates a modality from others, but the data set has only one"
    )


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
            (
                ":18: search_space.mixture_path: mixture_path is 2.0, but must be a number between -1 and 1, "
                "or null"
            ),
        ),
        (
            "  subset_weights: {type: simplex, over: size}\n",
            "  mixture: {type: choice, values: [stratified, none]}\n",
            (
                ":18: search_space.mixture.values: mixture is 'none'; possible: stratified, categorical, "
                "batch_split, all"
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


def test_a_grid_has_enough_points_and_not_too_many(load, refusal):
    """More trials than points would repeat some; a grid of millions could not be shuffled."""
    grid = "sampler: grid\nsearch_space: {batch_size: {type: choice, values: [64, 128]}, latent_dim: "
    text = SHORT.replace("search_space: {beta: {type: uniform, low: 1, high: 2}}", grid)
    assert load(text + "{type: int, low: 8, high: 9}}\n").sampler == "grid"
    assert refusal(text + "{type: choice, values: [8]}}\n") == (
        "x.yaml:3: trials is 3, but the grid has 2 points"
    )
    wide = "{type: int, low: 1, high: 65536}, epochs: {type: int, low: 1, high: 100000}}\n"
    assert refusal(text + wide) == (
        f"x.yaml:6: the grid has {2 * 65536 * 100000} points, but at most 1000000 are possible"
    )
    endless = text.replace("sampler: grid", "sampler: gp").replace("latent_dim", "seed")
    assert refusal(endless + "{type: int, low: 0, high: 1000000000000}}\n") == (
        "x.yaml:6: search_space: seed has 1000000000001 values, but sampler gp enumerates them and takes at "
        "most 1000000; raise step, or use sampler tpe"
    )
    when = "{type: int, low: 8, high: 9, when: {batch_size: 64}}}\n"
    assert refusal(text + when) == "x.yaml:5: sampler is 'grid', but a grid does not support `when`"


def test_an_empty_search_space_is_refused(refusal):
    """A sweep without a searched parameter would run the same trial again and again."""
    text = SHORT.replace("{beta: {type: uniform, low: 1, high: 2}}", "{}")
    assert refusal(text) == "x.yaml:5: search_space is an empty mapping, but must be non-empty"
    text = SHORT.replace("{beta: {type: uniform, low: 1, high: 2}}", "")
    assert refusal(text) == "x.yaml:5: search_space is null, but must be a mapping of settings to parameters"


def test_the_reference_point_is_required(refusal):
    """There is no default: what is a poor likelihood depends on the data."""
    text = re.sub("reference_point.*\n", "", SHORT)
    assert refusal(text) == "x.yaml: key 'reference_point' is missing"
