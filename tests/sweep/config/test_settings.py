"""The settings of trials in a file: constants, searched parameters, known points."""

import json
from pathlib import Path

import pytest
import yaml
from spec_texts import FULL, SHORT, mistakes

from mopoe.config import TrialConfig
from mopoe.errors import ConfigError
from search_spaces import parsed
from sweep.config.parameters import Choice
from sweep.config.sweep_spec import SweepSpec, load_spec, one_trial, spec_of, trial_config_for


def test_choices_have_the_type_of_their_setting(load):
    """Whole numbers among the choices of a float are floats, so that a column of them has one type."""
    spec = load(FULL.replace("{type: log_uniform, low: 0.25, high: 8}", "{type: choice, values: [1, 2.5]}"))
    assert [type(value) for value in spec.search_space["beta"].values] == [float, float]
    assert spec.search_space["beta"] == Choice(values=(1.0, 2.5))


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


def test_a_contradicting_assignment_is_refused(load):
    """A searched setting at its middle counts as given."""
    with pytest.raises(ConfigError) as caught:
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
        "x.yaml:9: start_with.0: unimodal_elbos is only used when method: poe; leave it out"
    )


def test_constants_and_choices_may_be_weights_by_label(load, refusal):
    """A mapping of labels, or a list of them for equal weights, becomes 2^M - 1 numbers."""

    def fixed(text):
        return load(SHORT + f"fixed: {{subset_weights: {text}}}\n").fixed["subset_weights"]

    places = {0: 0.2, 5: 0.8}
    assert fixed("{m0: 0.2, m1+m0: 0.8}") == tuple(places.get(i, 0.0) for i in range(31))
    assert fixed("[m4, m0+m1+m2+m3+m4]") == tuple({4: 0.5, 30: 0.5}.get(i, 0.0) for i in range(31))
    assert refusal(SHORT + "fixed: {subset_weights: {m0: 0.2, m9: 0.8}}\n") == (
        "x.yaml:6: fixed: there is no subset 'm9'; did you mean 'm4'? The modalities are m0, m1, m2, m3, m4"
    )
    assert refusal(SHORT + "fixed: {subset_weights: {m0: 0.2, m1: 0.7}}\n") == (
        "x.yaml:6: fixed: subset_weights sums to 0.9, but must sum to 1"
    )
    weights = "{subset_weights: {type: choice, values: [null, [m0, m1], {m0: 1}]}}"
    values = load(SHORT.replace("{beta: {type: uniform, low: 1, high: 2}}", weights)).search_space
    assert [v and v[:3] for v in values["subset_weights"].values] == [None, (0.5, 0.5, 0.0), (1.0, 0.0, 0.0)]


OPTIONS = """\
name: x
data: {name: digits}
trials: 3
reference_point: {conditional_coherence: 0.1, log_likelihood: -9000}
search_space:
  network.dropout: {type: choice, values: [0, 0.5]}
  network:
    m1: {normalisation: {type: choice, values: [none, layer]}}
    m2: {dropout: {type: uniform, low: 0, high: 0.5, when: {network.dropout: 0.5}}}
fixed:
  network: {normalisation: layer, m0: {normalisation: batch}}
"""


def test_options_of_networks_are_settings(load):
    """Nested or by their full names, in their types, and through JSON the same file with the same hash."""
    spec = load(OPTIONS)
    assert list(spec.search_space) == ["network.dropout", "network.m1.normalisation", "network.m2.dropout"]
    assert spec.search_space["network.dropout"].values == (0.0, 0.5)
    assert spec.fixed == {"network.normalisation": "layer", "network.m0.normalisation": "batch"}
    again = SweepSpec.model_validate(json.loads(json.dumps(spec.plain())))
    assert again == spec
    assert again.spec_hash == spec.spec_hash != load(OPTIONS.replace("batch", "none")).spec_hash
    kept = {"normalisation": "layer", "m0": {"normalisation": "batch"}}
    assert trial_config_for(spec, []) == TrialConfig(
        network=kept | {"dropout": 0.0, "m1": {"normalisation": "none"}}
    )
    assigned = ["network.dropout=0.5", "network={m1: {normalisation: layer}, m4: {dropout: 0}}"]
    assert (
        trial_config_for(spec, assigned).network
        == TrialConfig(
            network=kept
            | {"dropout": 0.5, "m1.normalisation": "layer", "m2.dropout": 0.25, "m4.dropout": 0.0}
        ).network
    )


def test_searched_options_are_axes_and_columns(load):
    """By their full names; what does not exist in a trial is neither."""
    space = load(OPTIONS).space
    assert space.kinds() == {
        "network.dropout": float,
        "network.m1.normalisation": str,
        "network.m2.dropout": float,
    }
    settings = {"network.dropout": 0.5, "network.m1.normalisation": "layer", "network.m2.dropout": 0.125}
    assert space.suggestion(settings) == space.columns(settings) == settings
    assert list(space.distributions()) == list(settings)
    assert space.columns(settings | {"network.dropout": 0.0}) == {
        "network.dropout": 0.0,
        "network.m1.normalisation": "layer",
    }


def test_the_trial_of_a_search_of_options_is_a_file(load, tmp_path):
    """Whose one searched setting is the first; a trial that lacks it has beta there."""
    spec = load(OPTIONS)
    for config in (
        trial_config_for(spec, ["network.dropout=0.5"]),
        TrialConfig(network={"m0": {"dropout": 0.1}}),
    ):
        plain = one_trial(spec, config, "one")
        (searched,) = plain["search_space"]
        assert searched == ("network.dropout" if "dropout" in dict(config.network) else "beta")
        (tmp_path / "one.yaml").write_text(yaml.safe_dump(plain))
        assert trial_config_for(load_spec(tmp_path / "one.yaml"), ()) == config


MISTAKES = r"""
network.dropout: { => network.drpout: {
:6: search_space: no modality's network has an option 'drpout'; <DROPOUT>

    m1: =>     m9:
:8: search_space: network.m9.normalisation <NOWHERE>; <MODALITIES>

[none, layer] => [none, laier]
:8: search_space.network.m1.normalisation.values: network.m1.normalisation is 'laier', <NORMALISATION>

high: 0.5, => high: 1.5,
:9: search_space.network.m2.dropout: network.m2.dropout is 1.5, but must be a number between 0 and 0.99

{dropout: {type => {hidden_widths: {type
:9: search_space.network.m2.hidden_widths: network.m2.hidden_widths is 0.0, <HIDDEN_WIDTHS>

network.dropout: 0.5} => network.dropout: 0.4}
:9: search_space.network.m2.dropout.when: network.dropout is 0.4; did you mean '0.5'? possible: 0.0, 0.5

    m1: =>     dropout: 1\n    m1:
:5: network.dropout is given twice; keep one of the two

normalisation: layer, => dropout: 0.1,
:6: search_space: 'network.dropout' is also under `fixed`; keep one of the two

normalisation: layer, m0 => normalisation: 1, m0
:11: fixed: network.normalisation is 1, <NORMALISATION>

m0: {normalisation: batch} => m0: {drpout: 1}
:11: fixed: the network of 'm0' has no option 'drpout'; <DROPOUT>

{normalisation: layer, m0: {normalisation: batch}} => layer
:11: fixed: network is 'layer', <NETWORK>
"""


@pytest.mark.parametrize(("old", "new", "message"), mistakes(MISTAKES))
def test_a_mistake_in_an_option_is_one_sentence_with_its_line(refusal, old, new, message):
    """The names are those of the functions' signatures, and the types their annotations."""
    assert old in OPTIONS
    assert refusal(OPTIONS.replace(old, new, 1)) == f"x.yaml{message}"


def test_all_options_together_are_no_parameter(refusal):
    """Each is one."""
    text = SHORT.replace("beta: {type: uniform, low: 1, high: 2}", "network: {type: choice, values: [1]}")
    assert (
        refusal(text)
        == "x.yaml:5: search_space: network has options, each searched by itself, as network.hidden"
    )


def test_no_function_is_asked_while_a_results_folder_is_read(load):
    """What a file says of options is taken as it is, for it was checked before it ran."""
    document = parsed(OPTIONS.replace("digits}", "'nowhere:load'}"), Path("x.yaml"))
    spec = spec_of(document, modalities=("m0", "m1", "m2"))
    assert spec.fixed == {"network.normalisation": "layer", "network.m0.normalisation": "batch"}
    assert (
        spec.plain()["search_space"]
        == load(OPTIONS.replace("[0, 0.5]", "[0.0, 0.5]")).plain()["search_space"]
    )
