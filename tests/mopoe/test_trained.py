"""Trained models in use: by value against closed forms and the model's own parts; wrong input by sentence."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.distributions import MultivariateNormal
from training_runs import same_weights

import mopoe
from mopoe import checkpoint
from mopoe.data.registry import DATA_SETS, ModalitySpec
from mopoe.data.units import kinds
from mopoe.errors import CheckpointError, DataError
from mopoe.likelihoods import Categorical, Normal
from mopoe.trained import TrainedModel

SCALE = 0.5
Make = Callable[..., mopoe.Modality]


def loadings(m: int) -> Tensor:
    """Return orthogonal columns [4, 2]: the exact posterior then has independent latents."""
    q = torch.linalg.qr(torch.randn(4, 4, generator=torch.Generator().manual_seed(m)))[0]
    return q[:, :2] * torch.tensor([1.0, 0.6])


def linear(modality: Make, method: mopoe.MethodSpec, *, shift: float = 0.0) -> TrainedModel:
    """Return a linear-Gaussian model of two vectors, whose products with the prior are exact posteriors."""

    def part(m: int) -> mopoe.Modality:
        w = loadings(m)

        def encode(x: Tensor) -> tuple[Tensor, Tensor]:
            own = w.square().sum(0) / SCALE**2
            mu = x @ w / SCALE**2 / own
            return mu + shift, -own.log().expand_as(mu)

        return modality(encode, lambda z: z @ w.t(), Normal(SCALE))

    specs = [ModalitySpec(name=name, shape=(4,)) for name in "ab"]
    model = mopoe.MoPoE({name: part(m) for m, name in enumerate("ab")}, 2, method)
    return TrainedModel(model, specs, dict.fromkeys("ab", "float32"))


def vectors(n: int) -> dict[str, Tensor]:
    """Return n samples of both modalities."""
    x = torch.randn(2, n, 4, generator=torch.Generator().manual_seed(7))
    return {"a": x[0], "b": x[1]}


def joint() -> MultivariateNormal:
    """Return the exact density of both vectors, a before b."""
    w = torch.cat([loadings(0), loadings(1)]).double()
    return MultivariateNormal(torch.zeros(8).double(), w @ w.t() + SCALE**2 * torch.eye(8).double())


PRODUCT = mopoe.MethodSpec(prior_expert="all")
EXPERTS = mopoe.MethodSpec(prior_expert="none", mixture_of_experts=True, subset_weights=(1.0, 0.0))


def test_a_linear_model_imputes_the_conditional_mean(modality: Make) -> None:
    """The means exactly, from one batch or several; the mean over draws within four standard errors."""
    model, x = linear(modality, PRODUCT), vectors(5)
    covariance = joint().covariance_matrix
    exact = x["a"].double() @ torch.linalg.solve(covariance[:4, :4], covariance[:4, 4:])
    found = model.impute({"a": x["a"]})
    assert set(found) == {"b"}
    torch.testing.assert_close(found["b"].double(), exact, atol=1e-5, rtol=0)
    torch.testing.assert_close(model.impute({"a": x["a"]}, batch_size=2)["b"], found["b"])
    draws = model.impute({"a": x["a"]}, samples=4000, seed=3)["b"].double()
    assert draws.shape == (5, 4000, 4)
    assert ((draws.mean(1) - exact).abs() < 4 * draws.std(1) / math.sqrt(4000)).all()
    again = model.impute({"a": x["a"]}, 4000, 3, batch_size=2)["b"].double()
    torch.testing.assert_close(again, draws, atol=1e-5, rtol=0)  # both were computed in float32


def test_a_linear_models_log_likelihoods_are_the_exact_ones(modality: Make) -> None:
    """Joint, marginal and conditional; the mean and its standard error are those of the samples."""
    model, x = linear(modality, PRODUCT, shift=0.1), vectors(20)
    whole, covariance = torch.cat([x["a"], x["b"]], 1).double(), joint().covariance_matrix
    both = joint().log_prob(whole)
    of_a = MultivariateNormal(torch.zeros(4).double(), covariance[:4, :4]).log_prob(whole[:, :4])
    for found, exact in (
        (model.log_likelihood(x, samples=3000), both),
        (model.log_likelihood({"a": x["a"]}, samples=3000), of_a),
        (model.log_likelihood(x, given="a", samples=3000), both - of_a),
    ):
        torch.testing.assert_close(found.log_p, exact, atol=0.05, rtol=0)
        assert found.mean == pytest.approx(float(found.log_p.mean()))
        assert found.stderr == pytest.approx(float(found.log_p.std()) / math.sqrt(20))
        assert (found.looseness.abs() < 0.05).all()
    many = {name: t.repeat(4, 1) for name, t in x.items()}  # in several batches, each with noise of its own
    found = model.log_likelihood(many, ["a"], 300)
    torch.testing.assert_close(found.log_p, (both - of_a).repeat(4), atol=0.2, rtol=0)
    assert len(found.log_p.unique()) == 80


def test_the_embedding_is_the_exact_posterior_of_what_is_there(modality: Make) -> None:
    """Mean and standard deviation; what is NaN is left out, as if it had not been given."""
    model, x = linear(modality, PRODUCT), vectors(3)
    x["a"][1] = x["b"][2] = math.nan
    mean, deviation = model.embed(x, std=True)
    for n, names in enumerate(("ab", "b", "a")):
        precision = torch.eye(2)
        h = torch.zeros(2)
        for name in names:
            w = loadings("ab".index(name))
            precision, h = precision + w.t() @ w / SCALE**2, h + x[name][n] @ w / SCALE**2
        torch.testing.assert_close(mean[n], h / precision.diagonal(), atol=1e-5, rtol=0)
        torch.testing.assert_close(deviation[n], precision.diagonal().rsqrt(), atol=1e-5, rtol=0)
    assert set(model.impute(x)) == {"a", "b"}
    mvae = linear(modality, mopoe.MethodSpec(prior_expert="full"))  # the full set's product has the prior
    torch.testing.assert_close(mvae.embed(x)[1:2], mvae.embed({"b": x["b"][1:2]}))
    with pytest.raises(DataError, match=r"^sample 1 has none of the modalities$"):
        model.embed({"a": x["a"]})


def test_a_mixture_of_experts_weighs_those_that_are_there_equally(modality: Make) -> None:
    """Its moments and its imputed means are the mixture's; draws come from each expert in equal shares."""
    model, x = linear(modality, EXPERTS), vectors(2)
    parts = [model.embed({name: x[name]}, std=True) for name in "ab"]
    mean, deviation = model.embed(x, std=True)
    centre = (parts[0][0] + parts[1][0]) / 2
    square = sum((d.square() + (m - centre).square()) / 2 for m, d in parts)
    torch.testing.assert_close(mean, centre)
    torch.testing.assert_close(deviation, square.sqrt())
    only_b = {"a": torch.full((2, 4), math.nan), "b": x["b"]}
    torch.testing.assert_close(model.embed(only_b), parts[1][0])
    found = model.impute(only_b, samples=3000)["a"].double()
    exact = (parts[1][0] @ loadings(0).t()).double()
    assert ((found.mean(1) - exact).abs() < 4 * found.std(1) / math.sqrt(3000)).all()


def test_the_moments_of_draws_are_those_of_the_mixture(modality: Make) -> None:
    """With three vectors, two of which are observed by experts that disagree."""
    w = torch.eye(2)

    def part(mu: float) -> mopoe.Modality:
        at = torch.tensor([mu, -mu])
        return modality(
            lambda x: (at.expand(len(x), 2), x.new_full((len(x), 2), -2.0)), lambda z: z @ w, Normal()
        )

    parts = {"a": part(3.0), "b": part(-1.0), "c": part(0.0)}
    method = mopoe.MethodSpec(prior_expert="none", mixture_of_experts=True, subset_weights=(1.0, 0.0, 0.0))
    specs = [ModalitySpec(name=name, shape=(2,)) for name in "abc"]
    model = TrainedModel(mopoe.MoPoE(parts, 2, method), specs, dict.fromkeys("abc", "float32"))
    x = {name: torch.zeros(1, 2) for name in "ab"}
    mean, deviation = model.embed(x, std=True)
    draws = model.impute(x, samples=20_000)["c"][0]
    torch.testing.assert_close(model.impute(x)["c"], mean)
    torch.testing.assert_close(draws.mean(0), mean[0], atol=0.06, rtol=0)
    torch.testing.assert_close(draws.std(0), deviation[0], atol=0.04, rtol=0)


@pytest.fixture(scope="module")
def trained(tiny_data: mopoe.MultimodalData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of a model with private latents that was trained for one epoch."""
    path = tmp_path_factory.mktemp("trained") / "c.safetensors"
    config = mopoe.TrialConfig(epochs=1, batch_size=11, latent_dim=3, style_dim=2, channels=(2, 2, 2))
    mopoe.train(config, tiny_data, lambda _: None, checkpoint=path)
    return path


def test_a_checkpoint_knows_its_modalities(trained: Path, tiny_data: mopoe.MultimodalData) -> None:
    """Names, shapes, networks and kinds, although no data set of this name exists."""
    progress = checkpoint.read_progress(trained)
    assert progress.modalities == tiny_data.modalities
    assert progress.kinds == kinds(tiny_data) == {"grey": "uint8", "colour": "uint8"}
    model = mopoe.load(str(trained))
    assert {name: u.spec for name, u in model.modalities.items()} == {m.name: m for m in tiny_data.modalities}
    assert repr(model) == "<trained model of grey uint8 [1, 28, 28], colour uint8 [3, 28, 28]; 3 latents>"


def test_images_go_in_and_out_as_bytes(trained: Path, tiny_data: mopoe.MultimodalData) -> None:
    """Embedding and means equal encode, posteriors and means of the model on numbers from 0 to 1."""
    model, split = mopoe.load(trained), tiny_data.test
    x = {"grey": split.x["grey"].numpy()}
    with torch.no_grad():
        batch = split.batch(slice(0, 12), torch.device("cpu"))
        mu, precision = model.model.posteriors(model.model.encode({"grey": batch["grey"]}))
        means = model.model.means(mu[0])
    mean, deviation = model.embed(x, std=True, batch_size=5)
    np.testing.assert_allclose(mean, mu[0].numpy(), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(deviation, precision[0].rsqrt().numpy(), rtol=1e-4)
    found = model.impute(x)
    assert list(found) == ["colour"]
    np.testing.assert_allclose(
        found["colour"], (means["colour"].numpy() * 255).clip(0, 255), rtol=1e-4, atol=1e-2
    )
    # What is imputed may be given back, although it is no whole numbers.
    again = {"colour": found["colour"].clip(0, 255)}
    assert model.impute(again)["grey"].shape == (12, 1, 28, 28)
    scores = model.log_likelihood({name: t.numpy() for name, t in split.x.items()}, samples=30, seed=4)
    from mopoe.evaluation.log_likelihood import log_likelihood

    expected = log_likelihood(model.model, split, 12, 30, 4)
    np.testing.assert_allclose(scores.log_p, expected.log_p_N.numpy(), rtol=1e-5)
    np.testing.assert_allclose(scores.ess, expected.ess_N.numpy(), rtol=1e-3)


def test_generated_samples_are_functions_of_the_seed_and_their_position(trained: Path) -> None:
    """Of all modalities, in 0 to 255, with private latents from their prior; draws have them, too."""
    model = mopoe.load(trained)
    few, more = model.generate(3, seed=1), model.generate(7, seed=1, batch_size=2)
    assert {name: a.shape for name, a in more.items()} == {"grey": (7, 1, 28, 28), "colour": (7, 3, 28, 28)}
    np.testing.assert_allclose(few["grey"], more["grey"][:3], rtol=1e-4, atol=1e-2)
    assert np.abs(few["grey"] - model.generate(3, seed=2)["grey"]).max() > 0
    draws = model.impute({"grey": more["grey"].clip(0, 255)}, samples=3)["colour"]
    assert draws.shape == (7, 3, 3, 28, 28)
    assert draws.std(1).max() > 0


def test_symbols_are_checked_and_imputed_as_probabilities(modality: Make) -> None:
    """The number of symbols is that of the decoder's outputs."""

    def part(likelihood: mopoe.Likelihood, decode: Callable[[Tensor], Tensor]) -> mopoe.Modality:
        return modality(
            lambda x: (x.flatten(1)[:, :2].float(), x.new_zeros(len(x), 2).float()), decode, likelihood
        )

    parts = {
        "text": part(Categorical(), lambda z: z[:, :1, None].expand(-1, 5, 3) * torch.arange(5.0)[:, None]),
        "number": part(Normal(), lambda z: z),
    }
    specs = [ModalitySpec(name="text", shape=(3,)), ModalitySpec(name="number", shape=(2,))]
    model = TrainedModel(mopoe.MoPoE(parts, 2), specs, {"text": "int8", "number": "float32"})
    found = model.impute({"number": np.zeros((4, 2))})["text"]
    assert found.shape == (4, 5, 3)
    np.testing.assert_allclose(found.sum(1), 1, rtol=1e-6)
    with pytest.raises(
        DataError, match=r"^'text' holds values from 0 to 5, but must have numbers of symbols, 0 to 4$"
    ):
        model.embed({"text": np.array([[0, 1, 5]])})
    with pytest.raises(DataError, match=r"'text' holds values from 0\.5 to 2"):
        model.embed({"text": np.array([[0.5, 1, 2]])})


IMAGE, SMALL = np.full((2, 1, 28, 28), 9, np.uint8), np.zeros((2, 28, 28))
HOLE = np.where(np.arange(784).reshape(1, 1, 28, 28) == 5, np.nan, 9.0)


@pytest.mark.parametrize(
    ("x", "sentence"),
    [
        ({}, "the modalities given need equal numbers of samples, at least one, but nothing is given"),
        ({"gray": IMAGE}, "there is no modality 'gray'; did you mean 'grey'?"),
        ({"grey": SMALL}, "'grey' has samples of shape [28, 28], but must have [1, 28, 28]"),
        (
            {"grey": HOLE},
            "'grey' holds a number that is not finite; a sample is missing if every number of it is NaN",
        ),
        ({"grey": IMAGE - 10.0}, "'grey' holds values from -1 to -1, but must have 0 to 255"),
        (
            {"grey": IMAGE / 255},
            "'grey' holds values from 0.0352941 to 0.0352941, but its images are from 0 to 255; multiply by",
        ),
        ({"grey": [["a"]]}, "'grey' is not an array of numbers ("),
        (
            {"grey": IMAGE, "colour": np.zeros((1, 3, 28, 28), np.uint8)},
            "the modalities given need equal numbers of samples, at least one, but grey has 2, colour has 1",
        ),
    ],
)
def test_wrong_input_gets_one_sentence(trained: Path, x: dict[str, object], sentence: str) -> None:
    """Of every method alike, as all read their input in one way."""
    model = mopoe.load(trained)
    for method in (model.embed, model.impute, model.log_likelihood):
        with pytest.raises(DataError) as error:
            method(x)
        assert str(error.value).startswith(sentence)


def test_what_cannot_be_asked_gets_one_sentence(trained: Path) -> None:
    """Nothing to impute, no draws, a condition that is not given, and missing samples in a likelihood."""
    model = mopoe.load(trained)
    both = {"grey": IMAGE, "colour": np.zeros((2, 3, 28, 28), np.uint8)}
    with pytest.raises(DataError, match=r"^every modality is given for every sample, so there is nothing to"):
        model.impute(both)
    with pytest.raises(DataError, match=r"^samples is 0, but must be at least 1, or None for means$"):
        model.impute({"grey": IMAGE}, samples=0)
    for given in ("gray", ["grey", "colour"]):
        with pytest.raises(DataError, match=r"but must name some, and not all, of grey, colour$"):
            model.log_likelihood(both, given=given)
    with pytest.raises(
        DataError, match=r"^samples are missing, but a log-likelihood is that of complete ones$"
    ):
        model.log_likelihood(both | {"grey": IMAGE * np.array([1, np.nan]).reshape(2, 1, 1, 1)})


def test_a_checkpoint_of_the_first_format_is_read(tmp_path: Path) -> None:
    """If its data set comes with this release; else a sentence says what to do instead."""
    config = mopoe.TrialConfig(latent_dim=3, channels=(2, 2, 2))
    model = mopoe.build_model(config, DATA_SETS["digits"].modalities)
    tensors = {f"model/{name}": t.detach().contiguous() for name, t in model.state_dict().items()}
    for name in ("digits", "arrays"):
        values = {"format": 1, "config": config.to_dict(), "data": name, "data_options": {}, "epoch": 1}
        text = json.dumps(values)
        digest = checkpoint.digest(text, tensors)
        save_file(tensors, tmp_path / name, {"progress": text, "digest": digest})
    found = mopoe.load(tmp_path / "digits")
    assert {name: (u.kind, u.spec.shape) for name, u in found.modalities.items()} == {
        f"m{m}": ("uint8", (3, 28, 28)) for m in range(5)
    }
    with pytest.raises(
        CheckpointError, match=r"and 'arrays' is no data set of this release; use mopoe\.load_model"
    ):
        mopoe.load(tmp_path / "arrays")


def test_a_checkpoint_of_the_first_format_is_continued(
    tiny_data: mopoe.MultimodalData, tmp_path: Path
) -> None:
    """It then holds the modalities of the data that it is continued with, and the numbers of one go."""
    config = mopoe.TrialConfig(epochs=1, batch_size=11, latent_dim=3, channels=(2, 2, 2))
    path = tmp_path / "c"
    mopoe.train(config, tiny_data, lambda _: None, checkpoint=path)
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        values = json.loads(file.metadata()["progress"])
    text = json.dumps({k: v for k, v in values.items() if k not in ("modalities", "kinds")} | {"format": 1})
    save_file(tensors, path, {"progress": text, "digest": checkpoint.digest(text, tensors)})
    longer = replace(config, epochs=2)
    continued = mopoe.train(longer, tiny_data, lambda _: None, checkpoint=path)
    assert same_weights(continued, mopoe.train(longer, tiny_data, lambda _: None))
    assert checkpoint.read_progress(path).modalities == tiny_data.modalities


def test_modalities_survive_the_file_with_every_field(tmp_path: Path) -> None:
    """A specification comes back equal: fields that are added later need nothing but their annotation."""
    config = mopoe.TrialConfig(latent_dim=3, channels=(2, 2, 2))
    specs = (ModalitySpec(name="a", shape=(3, 28, 28), network="own:net"), ModalitySpec(name="b", shape=()))
    progress = checkpoint.Progress(
        config=config, data="x", data_options={}, modalities=specs, kinds={"a": "uint8", "b": "float32"}
    )
    model = torch.nn.Linear(1, 1)
    checkpoint.save(tmp_path / "c", progress, model, torch.optim.Adam(model.parameters()))
    assert checkpoint.read_progress(tmp_path / "c") == progress
