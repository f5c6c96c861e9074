"""Options of networks: who takes them, in which type, what is refused, and models built with them."""

import json
import math
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from training_runs import SMALL, run

import mopoe
from mopoe.config import TrialConfig
from mopoe.data.registry import ModalitySpec
from mopoe.errors import CheckpointError, ConfigError
from mopoe.network_options import arguments, named, options, taken, typed_option
from mopoe.networks.base import Encoder, chain
from mopoe.trained import TrainedModel


class Colour(Enum):
    """A type of a user's own."""

    RED = "red"


@mopoe.plugin
def mlp(
    config: TrialConfig,
    modality: ModalitySpec,
    width: int,
    sizes: tuple[int, ...] = (),
    *,
    hidden: int = 7,
    dropout: float = 0.0,
    kind: Literal["relu", "tanh"] = "relu",
    colour: Colour = Colour.RED,
    plain=True,  # its default says the type
) -> mopoe.Modality:
    """Return networks of one hidden layer; `sizes`, `colour` and `plain` are there for their types."""
    n, layer = math.prod(modality.shape), {"relu": nn.ReLU, "tanh": nn.Tanh}[kind]
    trunk = [nn.Linear(n, hidden), layer(), nn.Dropout(dropout)]
    decoder = [nn.Linear(width, hidden), layer(), nn.Dropout(dropout), nn.Linear(hidden, n)]
    return chain(config, Encoder(trunk, hidden, width), decoder, mopoe.Normal(0.5), start=0.0)


@mopoe.plugin
def needy(config: TrialConfig, modality: ModalitySpec, width: int, *, size: int) -> None:
    """Name an option without a default."""


@mopoe.plugin
def unread(config: TrialConfig, modality: ModalitySpec, width: int, *, size: "Nowhere" = 1) -> None:  # type: ignore[name-defined] # noqa: F821 - what is tested
    """Name a type that does not exist."""


CPU = torch.device("cpu")


@mopoe.plugin
def modular(config: TrialConfig, modality: ModalitySpec, width: int, *, layer: torch.device = CPU) -> None:
    """Have an option that no file can give."""


def spec(name: str, function: str = "mlp", size: int = 4) -> ModalitySpec:
    """Return a modality of vectors whose networks a function of this module builds."""
    return ModalitySpec(name=name, shape=(size,), network=f"{__name__}:{function}")


SPECS = (spec("mri"), spec("pet"), ModalitySpec(name="ct", shape=(5,)))


def test_options_are_the_further_parameters_of_the_function() -> None:
    """By keyword or not, with their annotation, or the type of the default."""
    types = {"sizes": tuple[int, ...], "hidden": int, "dropout": float, "colour": Colour, "plain": bool}
    assert taken(SPECS[0]) == types | {"kind": Literal["relu", "tanh"]}
    assert {*taken(SPECS[2])} == {"dropout", "normalisation", "hidden_widths"}


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("network.dropout", 0, 0.0),
        ("network.mri.dropout", 1, 1.0),
        ("network.hidden", 64, 64),
        ("network.pet.sizes", [3, 4], (3, 4)),
        ("network.kind", "tanh", "tanh"),
        ("network.colour", "red", "red"),
        ("network.plain", False, False),
        ("network.ct.hidden_widths", None, None),
        ("network.ct.hidden_widths", (8, 4), (8, 4)),
    ],
)
def test_values_have_the_type_that_the_function_says(name: str, value: Any, expected: Any) -> None:
    """Whole numbers become floats where these are meant, and a list a tuple."""
    found = typed_option(name, value, SPECS)
    assert (found, type(found)) == (expected, type(expected))


POSSIBLE = "possible: sizes, hidden, dropout, kind, colour, plain"
NOWHERE = "is of a modality that does not exist"
WIDTHS = "a list of whole numbers between 1 and 16,384, or null"
MORE = ", normalisation, hidden_widths"


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        (
            "network.drpout",
            0.1,
            f"no modality's network has an option 'drpout'; did you mean 'dropout'? {POSSIBLE}{MORE}",
        ),
        (
            "network.pet.hiden",
            3,
            f"the network of 'pet' has no option 'hiden'; did you mean 'hidden'? {POSSIBLE}",
        ),
        (
            "network.pte.hidden",
            3,
            f"network.pte.hidden {NOWHERE}; did you mean 'pet'? possible: mri, pet, ct",
        ),
        ("network.hidden", 1.0, "network.hidden is 1.0, but must be a whole number"),
        ("network.hidden", True, "network.hidden is true, but must be a whole number"),
        ("network.hidden", "3", "network.hidden is '3', but must be a whole number"),
        ("network.hidden", None, "network.hidden is null, but must be a whole number"),
        ("network.plain", 1, "network.plain is 1, but must be true or false"),
        ("network.kind", "rely", "network.kind is 'rely', but must be one of relu, tanh"),
        ("network.colour", "blue", "network.colour is 'blue', but must be of the type Colour"),
        ("network.ct.dropout", 1, "network.ct.dropout is 1, but must be a number between 0 and 0.99"),
        ("network.dropout", 1, "network.dropout is 1, but must be a number between 0 and 0.99"),
        (
            "network.hidden_widths",
            [8, 0],
            f"network.hidden_widths is [8, 0], but must be {WIDTHS}",
        ),
    ],
)
def test_what_no_function_takes_is_refused(name: str, value: Any, sentence: str) -> None:
    """With what there is; of an option that several take, every one must take the value."""
    with pytest.raises(ConfigError) as error:
        typed_option(name, value, SPECS)
    assert str(error.value) == sentence
    config = TrialConfig(latent_dim=2, network={name.removeprefix("network."): value})
    with pytest.raises(ConfigError) as error:
        mopoe.build_model(config, SPECS)
    assert str(error.value) == sentence


@pytest.mark.parametrize(
    ("function", "sentence"),
    [
        ("needy", r"^the option 'size' of '.*:needy' has no default; give it one$"),
        (
            "unread",
            r"^modality 'm': the annotations of '.*:unread' cannot be read \(NameError: name 'Nowhere' ",
        ),
        (
            "modular",
            r"^network.layer is annotated as <class 'torch.device'>, which no value of a file can be$",
        ),
        ("absent", r"^modality 'm' has the network '.*:absent', but it cannot be imported "),
    ],
)
def test_functions_that_cannot_have_the_option_are_refused(function: str, sentence: str) -> None:
    """The sentence says what to change in the function."""
    with pytest.raises(ConfigError, match=sentence):
        typed_option("network.layer", 1, [spec("m", function)])


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (3, "network is 3, but must be a mapping of options to values, or of modalities to such mappings"),
        ({3: 1}, "'network.3' names no option; it must be network.OPTION or network.MODALITY.OPTION"),
        ({"a/b": 1}, "'network.a/b' names no option; it must be network.OPTION or network.MODALITY.OPTION"),
        (
            {"a": {"b": {"c": 1}}},
            "'network.a.b.c' names no option; it must be network.OPTION or network.MODALITY.OPTION",
        ),
        ({"a": {"b": 1}, "a.b": 2}, "network.a.b is given twice; keep one of the two"),
        (
            {"a": math.nan},
            "network.a is nan, but must be a number, a word, true, false, null, or a list of these",
        ),
        (
            {"a": [[1]]},
            "network.a is a list, but must be a number, a word, true, false, null, or a list of these",
        ),
    ],
)
def test_what_no_config_can_hold_is_refused(given: Any, sentence: str) -> None:
    """Whatever networks there are."""
    with pytest.raises(ConfigError) as error:
        TrialConfig(network=given)
    assert str(error.value) == sentence


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-9, 9)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
)
NAMES = st.from_regex(r"[A-Za-z_]\w{0,5}", fullmatch=True).filter(str.isascii)
MAPPINGS = st.dictionaries(NAMES, SCALARS | st.lists(SCALARS, max_size=3) | st.dictionaries(NAMES, SCALARS))


@given(mapping=MAPPINGS)
def test_a_config_gives_its_options_back(mapping: dict[str, Any]) -> None:
    """Through JSON with their full names, nested or not, in any order; and equal configs are one config."""
    config = TrialConfig(network=mapping)
    again = TrialConfig.from_dict(json.loads(config.to_json()))
    assert again == config == TrialConfig.from_dict({"network": dict(reversed(mapping.items()))})
    assert (again.config_id, hash(again)) == (config.config_id, hash(config))
    assert options(config.network) == replace(config, beta=1).network == config.network
    assert (config.config_id == TrialConfig().config_id) == (not config.network)
    assert dict(named({"network": mapping})).keys() == {f"network.{name}" for name, _ in config.network}


def test_a_modality_takes_what_is_for_all_unless_it_has_its_own() -> None:
    """And what it does not take is for the others."""
    given = options({"hidden": 3, "dropout": 0.5, "pet": {"hidden": 4}, "ct": {"normalisation": "layer"}})
    mri, pet, ct = (arguments(given, m) for m in SPECS)
    assert mri == {"hidden": 3, "dropout": 0.5}
    assert pet == {"hidden": 4, "dropout": 0.5}
    assert ct == {"dropout": 0.5, "normalisation": "layer"}
    assert arguments(options({"colour": "red"}), SPECS[0]) == {"colour": Colour.RED}
    model = mopoe.build_model(TrialConfig(latent_dim=2, network=dict(given)), SPECS)
    sizes = {
        n: [m.out_features for m in e.modules() if isinstance(m, nn.Linear)]
        for n, e in model.encoders.items()
    }
    assert sizes == {"mri": [3, 2, 2], "pet": [4, 2, 2], "ct": [128, 2, 2]}


def arrays(n: int) -> dict[str, np.ndarray]:
    """Return n samples of three vectors that one hidden number decides."""
    z = np.random.default_rng(0).normal(size=(n, 1)).astype(np.float32)
    return {m.name: z * np.ones(m.shape, np.float32) for m in SPECS}


OPTIONS = {
    "hidden": 6,
    "dropout": 0.4,
    "kind": "tanh",
    "ct": {"normalisation": "batch", "hidden_widths": [5]},
}


def trained(folder: Path) -> tuple[Path, mopoe.MoPoE, mopoe.MultimodalData]:
    """Return the checkpoint, the model and the data of a trial with options."""
    data = mopoe.data_from_arrays(arrays(40), networks=dict.fromkeys(("mri", "pet"), f"{__name__}:mlp"))
    path = folder / "c.safetensors"
    model, _ = run(replace(SMALL, epochs=1, network=OPTIONS), data, checkpoint=path)
    return path, model, data


def test_a_checkpoint_gives_the_model_back(tmp_path: Path) -> None:
    """With its sizes and running statistics: the same likelihoods, and imputed by hand the same numbers."""
    path, model, data = trained(tmp_path)
    found, used = (
        mopoe.load(path),
        TrainedModel(model, data.modalities, dict.fromkeys(model.names, "float32")),
    )
    x = arrays(9)
    assert np.array_equal(found.log_likelihood(x, samples=14).log_p, used.log_likelihood(x, samples=14).log_p)
    with torch.no_grad():
        experts = [model.eval().encoders[name](torch.tensor(x[name])) for name in ("mri", "pet")]
        precision = sum((-logvar).exp() for _, logvar in experts)
        z = sum(mu * (-logvar).exp() for mu, logvar in experts) / precision
        expected = model.decoders["ct"](z).numpy()
    np.testing.assert_allclose(
        found.impute({n: x[n] for n in ("mri", "pet")})["ct"], expected, rtol=1e-5, atol=1e-6
    )


def test_a_trial_does_not_go_on_with_other_options(tmp_path: Path) -> None:
    """Whether they were not there before or are not there now."""
    path, _, data = trained(tmp_path)
    other = OPTIONS | {"dropout": 0.3}
    del other["kind"]
    with pytest.raises(CheckpointError) as error:
        run(replace(SMALL, epochs=2, network=other | {"plain": True}), data, checkpoint=path)
    assert str(error.value) == (
        f"{path}: belongs to a trial with other settings: network.dropout was 0.4 and is now 0.3; "
        "network.kind was tanh and is now its default; network.plain was its default and is now True"
    )


def test_a_model_is_measured_without_dropout_and_by_running_statistics(tmp_path: Path) -> None:
    """Whatever mode it is in; and what it has learned of the data stays as it is."""
    _, model, data = trained(tmp_path)
    config = mopoe.EvaluationConfig(
        coherence_samples=4, likelihood_samples=4, importance_samples=14, pictures=0
    )
    evaluator = mopoe.Evaluator(data, mopoe.load_classifiers(data), config, epochs=1)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    a, b = (replace(evaluator.measure(m), seconds=0.0) for m in (model.eval(), model.train()))
    assert a == b
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


SCALE = 0.5


@mopoe.plugin
def linear(
    config: TrialConfig, modality: ModalitySpec, width: int, *, seed: int = 0, shift: float = 0.0
) -> mopoe.Modality:
    """Return a decoder x = W z + shift of orthogonal columns, and the encoder of its exact posterior."""
    size = math.prod(modality.shape)
    weight = torch.linalg.qr(torch.randn(size, size, generator=torch.Generator().manual_seed(seed)))[0]
    weight = weight[:, :width] * torch.linspace(1, 0.5, width)
    own = weight.square().sum(0) / SCALE**2
    encoder, decoder = Encoder([], size, width), nn.Linear(width, size)
    values = {
        encoder.mu.weight: (weight / SCALE**2 / own).t(),
        encoder.mu.bias: -shift * (weight / SCALE**2 / own).sum(0),
        encoder.logvar.weight: torch.zeros(width, size),
        encoder.logvar.bias: -own.log(),
        decoder.weight: weight,
        decoder.bias: torch.full((size,), shift),
    }
    with torch.no_grad():
        for parameter, value in values.items():
            parameter.copy_(value)
    return mopoe.Modality(encoder, decoder, mopoe.Normal(SCALE))


def conditional_mean(loading: Tensor, shift: Tensor, x_A: Tensor, n_A: int) -> Tensor:
    """Return E[x_B | x_A] of x = W z + shift + noise, of which the first n_A elements are given."""
    covariance = loading @ loading.t() + SCALE**2 * torch.eye(len(loading))
    gain = covariance[n_A:, :n_A] @ torch.linalg.inv(covariance[:n_A, :n_A])
    return shift[n_A:] + (x_A - shift[:n_A]) @ gain.t()


def test_a_linear_gaussian_model_imputes_the_conditional_mean() -> None:
    """Networks of one's own by options: what is imputed from one or two modalities is the closed form."""
    specs = tuple(spec(name, "linear", size) for name, size in (("a", 4), ("b", 5), ("c", 6)))
    network = {"seed": 3, "shift": 0.7, "b": {"seed": 4}, "c": {"seed": 5, "shift": -1}}
    config = TrialConfig(latent_dim=2, prior_expert="all", network=network)
    model = TrainedModel(mopoe.build_model(config, specs), specs, dict.fromkeys("abc", "float32"))
    parts = {m.name: model.model.decoders[m.name] for m in specs}
    x = {
        m.name: torch.randn(7, *m.shape, generator=torch.Generator().manual_seed(len(m.name))) for m in specs
    }
    for observed in ("a", "b", "ab", "bc"):
        order = [*observed, *(name for name in "abc" if name not in observed)]
        loading = torch.cat([parts[name].weight.detach() for name in order])
        shift = torch.cat([parts[name].bias.detach() for name in order])
        given = torch.cat([x[name] for name in observed], 1)
        expected = conditional_mean(loading, shift, given, given.shape[1])
        found = model.impute({name: x[name] for name in observed})
        torch.testing.assert_close(torch.cat([found[n] for n in order[len(observed) :]], 1), expected)
