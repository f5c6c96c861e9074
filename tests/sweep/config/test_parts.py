"""What the parts of a sweep's file mean together: methods, weights, conditions, rungs, grids, limits."""

import json

import pytest
from spec_texts import FULL, SHORT

from mopoe.config import TrialConfig
from sweep.config.sweep_spec import SweepSpec, trial_config_for
from sweep.errors import SpecError


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


CONDITIONAL = """\
name: x
data: {name: digits}
trials: 3
reference_point: {conditional_coherence: 0.1, log_likelihood: -9000}
search_space:
  method: {type: choice, values: [mopoe, moe, poe]}
  subset_weights: {type: simplex, over: [m1+m0, m0], when: {method: mopoe}}
  unimodal_elbos: {type: choice, values: [true, false], when: {method: poe}}
"""


def test_a_parameter_may_exist_only_under_a_value_of_another(load):
    """Weights belong to one method; under the others the setting is left at its default."""
    spec = load(CONDITIONAL)
    assert trial_config_for(spec, []).subset_weights[:6] == (0.5, 0, 0, 0, 0, 0.5)
    assert trial_config_for(spec, ["method=moe"]) == TrialConfig(method="moe")
    assert trial_config_for(spec, ["method=poe"]).unimodal_elbos is True
    assert SweepSpec.model_validate(json.loads(json.dumps(spec.plain()))) == spec


def test_known_points_are_filled_in_from_the_middle(load):
    """What a point leaves out is at the middle; what does not exist there is left out."""
    text = CONDITIONAL.replace("over: [m1+m0, m0]", "over: size")
    points = "[{method: poe}, {subset_weights: [1, 0, 0, 0, 0]}]"
    spec = load(text + f"start_with: {points}\n")
    assert spec.known_points == [
        {"method": "poe", "unimodal_elbos": "true"},
        {"method": "mopoe", **{f"subset_weights.{i}": 0.0 if i == 0 else 0.5 for i in range(4)}},
    ]
    assert load(text).known_points == []


def test_a_known_point_may_not_set_what_does_not_exist_there(refusal):
    """The message says when the parameter exists."""
    assert refusal(CONDITIONAL + "start_with: [{method: moe, unimodal_elbos: true}]\n") == (
        "x.yaml:9: start_with.0: unimodal_elbos exists only when method: poe; leave it out"
    )


def test_constants_and_choices_may_be_weights_by_label(load, refusal):
    """A mapping of labels, or a list of them for equal weights, becomes 2^M - 1 numbers."""

    def fixed(text):
        return load(SHORT + f"fixed: {{subset_weights: {text}}}\n").fixed["subset_weights"]

    places = {0: 0.2, 5: 0.8}
    assert fixed("{m0: 0.2, m1+m0: 0.8}") == tuple(places.get(i, 0.0) for i in range(31))
    assert fixed("[m4, m0+m1+m2+m3+m4]") == tuple({4: 0.5, 30: 0.5}.get(i, 0.0) for i in range(31))
    assert refusal(SHORT + "fixed: {subset_weights: {m0: 0.2, m9: 0.8}}\n") == (
        "x.yaml:6: fixed: there is no subset 'm9'; did you mean 'm4'? modalities: m0, m1, m2, m3, m4"
    )
    assert refusal(SHORT + "fixed: {subset_weights: {m0: 0.2, m1: 0.7}}\n") == (
        "x.yaml:6: fixed: subset_weights sums to 0.9, but must sum to 1"
    )
    weights = "{subset_weights: {type: choice, values: [null, [m0, m1], {m0: 1}]}}"
    values = load(SHORT.replace("{beta: {type: uniform, low: 1, high: 2}}", weights)).search_space
    assert [v and v[:3] for v in values["subset_weights"].values] == [None, (0.5, 0.5, 0.0), (1.0, 0.0, 0.0)]


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
        f"x.yaml:6: the grid has {2 * 65536 * 100000} points, but may have 1000000 at most"
    )
    endless = text.replace("sampler: grid", "sampler: gp").replace("latent_dim", "seed")
    assert refusal(endless + "{type: int, low: 0, high: 1000000000000}}\n") == (
        "x.yaml:6: search_space: seed has 1000000000001 values, but gp looks at each; at most 1000000; "
        "raise step, or take tpe"
    )
    when = "{type: int, low: 8, high: 9, when: {batch_size: 64}}}\n"
    assert refusal(text + when) == "x.yaml:5: sampler is 'grid', but a grid has no parameter with `when`"


def test_constraints_are_limits(load):
    """Each text becomes a limit on a measured quantity."""
    limits = load(SHORT + "constraints: {parameters: '<= 20e6', joint_coherence: '>= 0.1'}\n").limits
    assert [(x.name, x.at_most, x.bound) for x in limits] == [
        ("parameters", True, 20e6),
        ("joint_coherence", False, 0.1),
    ]
