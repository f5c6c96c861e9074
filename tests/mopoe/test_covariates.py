"""Models that are conditioned on covariates: by value against closed forms, and in everything that measures.

In each case the modalities are W z + V c + noise, with orthogonal columns of W, so that all is known.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from safetensors import safe_open
from torch import Tensor
from torch.distributions import MultivariateNormal

import mopoe
from mopoe.checkpoint import read_progress
from mopoe.data.container import MultimodalData, Split
from mopoe.data.registry import COVARIATES, Covariate, ModalitySpec
from mopoe.errors import ConfigError, DataError
from mopoe.evaluation.classifiers import ClassifierConfig, Classifiers, load_classifiers
from mopoe.evaluation.coherence import joint_coherence
from mopoe.evaluation.evaluate import Evaluator
from mopoe.evaluation_config import EvaluationConfig
from mopoe.likelihoods import Normal
from mopoe.model import MoPoE
from mopoe.rehearsal import rehearse, training_bytes
from mopoe.trained import TrainedModel

SCALE = 0.5
AGE, SEX = Covariate(name="age", offset=50.0, scale=10.0), Covariate(name="sex", categories=("f", "m"))
GIVEN = {"age": [40, 50, 70], "sex": ["m", "f", "m"]}
C = torch.tensor([[-1.0, 0, 1], [0, 1, 0], [2, 0, 1]])
Make = Callable[..., mopoe.Modality]


def loadings(m: int) -> tuple[Tensor, Tensor]:
    """Return W, orthogonal columns [4, 2], and V [4, 3]."""
    rng = torch.Generator().manual_seed(m)
    q = torch.linalg.qr(torch.randn(4, 4, generator=rng))[0]
    return q[:, :2] * torch.tensor([1.0, 0.6]), torch.randn(4, 3, generator=rng)


def linear(modality: Make) -> TrainedModel:
    """Return a linear-Gaussian model whose products with the prior are exact posteriors."""

    def part(m: int) -> mopoe.Modality:
        w, v = loadings(m)

        def encode(xc: Tensor) -> tuple[Tensor, Tensor]:
            own = w.square().sum(0) / SCALE**2
            mu = (xc[:, :4] - xc[:, 4:] @ v.t()) @ w / SCALE**2 / own
            return mu, -own.log().expand_as(mu)

        return modality(encode, lambda zc: zc[:, :2] @ w.t() + zc[:, 2:] @ v.t(), Normal(SCALE))

    specs = [ModalitySpec(name=name, shape=(4,), covariates=(AGE, SEX)) for name in "ab"]
    parts = {name: part(m) for m, name in enumerate("ab")}
    model = MoPoE(parts, 2, mopoe.MethodSpec(prior_expert="all"), covariates=3)
    return TrainedModel(model, specs, dict.fromkeys("ab", "float32"))


def vectors() -> dict[str, Tensor]:
    """Return three samples of both modalities."""
    x = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(7))
    return {"a": x[0], "b": x[1]}


def exact() -> tuple[Tensor, Tensor]:
    """Return the mean [3, 8] and the covariance of both modalities given the covariates."""
    (w_a, v_a), (w_b, v_b) = (loadings(m) for m in range(2))
    w, v = torch.cat([w_a, w_b]).double(), torch.cat([v_a, v_b]).double()
    return C.double() @ v.t(), w @ w.t() + SCALE**2 * torch.eye(8).double()


def test_what_is_imputed_is_the_conditional_mean_given_the_covariates(modality: Make) -> None:
    """Whether they are a table, a mapping or an array, in the user's units; in several batches, and drawn."""
    model, x = linear(modality), vectors()
    mean, covariance = exact()
    gain = torch.linalg.solve(covariance[:4, :4], covariance[:4, 4:])
    expected = mean[:, 4:] + (x["a"].double() - mean[:, :4]) @ gain
    rows = np.array([[40, "m"], [50.0, "f"], [70, "m"]], dtype=object)
    for given in (GIVEN, pl.DataFrame(GIVEN), rows):
        found = model.impute({"a": x["a"]}, covariates=given, batch_size=2)["b"]
        torch.testing.assert_close(found.double(), expected, atol=1e-5, rtol=0)
    draws = model.impute({"a": x["a"]}, 4000, covariates=GIVEN)["b"].double()
    assert ((draws.mean(1) - expected).abs() < 4 * draws.std(1) / math.sqrt(4000)).all()
    moved = model.embed({"a": x["a"] + C @ loadings(0)[1].t()}, covariates=GIVEN)
    at_zero = model.embed(
        {"a": x["a"] + C[1] @ loadings(0)[1].t()}, covariates={"age": [50] * 3, "sex": "fff"}
    )
    torch.testing.assert_close(moved, at_zero)  # what the covariates explain is no matter of the latents


def test_log_likelihoods_are_the_exact_ones_given_the_covariates(modality: Make) -> None:
    """Joint, marginal and conditional."""
    model, x = linear(modality), vectors()
    mean, covariance = exact()
    whole = torch.cat([x["a"], x["b"]], 1).double()
    both = MultivariateNormal(mean, covariance).log_prob(whole)
    of_a = MultivariateNormal(mean[:, :4], covariance[:4, :4]).log_prob(whole[:, :4])
    for found, expected in (
        (model.log_likelihood(x, samples=3000, covariates=GIVEN), both),
        (model.log_likelihood({"a": x["a"]}, samples=3000, covariates=GIVEN), of_a),
        (model.log_likelihood(x, given="a", samples=3000, covariates=GIVEN), both - of_a),
    ):
        torch.testing.assert_close(found.log_p, expected, atol=0.05, rtol=0)


def test_what_is_generated_has_the_mean_that_the_covariates_give(modality: Make) -> None:
    """A row of covariates for each sample."""
    model, n = linear(modality), 2000
    made = model.generate(2 * n, covariates={"age": [40] * n + [70] * n, "sex": ["m"] * 2 * n})
    mean, _ = exact()
    for rows, of in ((slice(n), 0), (slice(n, None), 2)):
        x = np.concatenate([made["a"], made["b"]], 1)[rows]
        assert (np.abs(x.mean(0) - mean[of].numpy()) < 4 * x.std(0) / math.sqrt(n)).all()
    assert "given age, sex" in repr(model)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (None, "the model is conditioned on 'age', 'sex'; give a value of each for every sample"),
        ({"age": [1, 2, 3]}, "there is no covariate 'sex'; possible: age"),
        ({**GIVEN, "age": [1, 2]}, "covariate 'age' has 2 values, but there are 3 samples"),
        ({**GIVEN, "age": [1, math.nan, 3]}, "covariate 'age' is missing for sample 1"),
        ({**GIVEN, "sex": ["m", None, "m"]}, "covariate 'sex' is missing for sample 1"),
        (
            {**GIVEN, "age": [1, "old", 3]},
            "covariate 'age' is 'old' for sample 1, but must be a finite number",
        ),
        (
            {**GIVEN, "age": [math.inf, 2, 3]},
            "covariate 'age' is inf for sample 0, but must be a finite number",
        ),
        (
            {**GIVEN, "sex": ["m", "f", "F"]},
            "covariate 'sex' is 'F' for sample 2, as for no training sample; possible: f, m",
        ),
        ([[1, 2], [3]], "covariates must be an array with the columns age, sex"),
        (7, "covariates must be an array with the columns age, sex"),
        (np.zeros((3, 1)), "covariates must be an array with the columns age, sex"),
    ],
)
def test_wrong_covariates_get_one_sentence(modality: Make, given: object, sentence: str) -> None:
    """Of every method alike."""
    model, x = linear(modality), vectors()
    for ask in (
        lambda: model.embed({"a": x["a"]}, covariates=given),
        lambda: model.impute({"a": x["a"]}, covariates=given),
        lambda: model.generate(3, covariates=given),
        lambda: model.log_likelihood(x, covariates=given),
    ):
        with pytest.raises(DataError) as error:
            ask()
        assert str(error.value) == sentence


def test_a_model_refuses_to_decode_or_encode_without_its_covariates(modality: Make) -> None:
    """In one sentence with their shape; and a model without any refuses them."""
    trained = linear(modality)
    model, z, x = trained.model, torch.zeros(3, 2), vectors()
    for ask in (
        lambda: model.encode(x),
        lambda: model.decode(z),
        lambda: model.means(z),
        lambda: model.mean("a", z),
        lambda: model.log_prob(z, x),
    ):
        with pytest.raises(
            ConfigError, match=r"^the model is conditioned on covariates \[3, 3\], but they are not"
        ):
            ask()
    with pytest.raises(ConfigError, match=r"covariates \[3, 3\], but they have shape \[3, 1\]$"):
        model.decode(z, None, torch.zeros(3, 1))
    trained.covariates = ()
    with pytest.raises(DataError, match=r"^covariates are given, but the model has none$"):
        trained.embed(x, covariates=GIVEN)


def shifted(
    *, conditioned: bool = True, sites: tuple[float, ...] = (-2.0, 2.0), missing: bool = False
) -> MultimodalData:
    """Return two vectors of 5 and counts of 3 with one shared factor, which the site shifts; 2 classes."""
    rng, n = np.random.default_rng(0), 600
    z, site = rng.normal(size=n), rng.integers(len(sites), size=n)
    shift = np.array(sites)[site]
    one, two = (np.outer(z, rng.normal(size=5)) + np.outer(shift, rng.normal(size=5)) for _ in range(2))
    noise = rng.normal(size=(2, n, 5)) * 0.3
    counts = rng.poisson(np.exp(1 + 0.5 * z[:, None] + 0.3 * shift[:, None] + np.zeros(3)))
    present = torch.from_numpy(rng.random((n, 3)) > 0.3)
    present[:, 0] |= ~present.any(1)
    arrays = {"one": one + noise[0], "two": two + noise[1], "counts": counts}
    data = mopoe.data_from_arrays(arrays | {"labels": (z > 0).astype(int)}, likelihoods={"counts": "poisson"})
    order = {
        name: s.x["one"][:, 0]
        for name, s in (("train", data.train), ("validation", data.validation), ("test", data.test))
    }
    row = {round(float(v), 5): i for i, v in enumerate(torch.from_numpy(arrays["one"])[:, 0].float())}
    at = {name: torch.tensor([row[round(float(v), 5)] for v in x]) for name, x in order.items()}
    hot = torch.eye(len(sites))[torch.from_numpy(site)]
    covariates = (Covariate(name="site", categories=tuple("abc"[: len(sites)])),) if conditioned else ()
    splits = {}
    for name, i in at.items():
        split = data.split(name)
        x = {**split.x, COVARIATES: hot[i]} if conditioned else split.x
        splits[name] = replace(split, x=x, present=present[i] if missing else None)
    specs = tuple(replace(m, covariates=covariates) for m in data.modalities)
    return replace(data, modalities=specs, fingerprint=f"shifted {conditioned} {missing}", **splits)


CONFIG = mopoe.TrialConfig(
    latent_dim=2,
    epochs=12,
    batch_size=32,
    lr=5e-3,
    initialisation="he",
    hidden_widths=(16,),
    likelihood_weights="none",
)
EVALUATION = EvaluationConfig(
    coherence_samples=60,
    joint_samples=130,
    likelihood_samples=60,
    importance_samples=56,
    final_metrics=("representation", "frechet", "conditional_likelihood", "mixture_prior"),
)


@pytest.fixture(scope="module")
def judges() -> dict[bool, Classifiers]:
    """The classifiers of the data with missing modalities and without."""
    return {m: load_classifiers(shifted(missing=m), ClassifierConfig(epochs=1)) for m in (False, True)}


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"style_dim": 1, "mixture": "all", "epochs": 1},
        {"method": "moe", "posterior": "laplace", "estimator": "dreg", "samples": 2, "epochs": 1},
        {"method": "poe", "missing": 0.3, "epochs": 1},
        {"method": "mvtcae", "epochs": 1},
        {"method": "mmjsd", "epochs": 1},
    ],
)
@pytest.mark.parametrize("missing", [False, True])
def test_everything_is_measured_with_covariates(
    judges: dict[bool, Classifiers], settings: dict[str, object], *, missing: bool
) -> None:
    """Each method trains and is measured in every way: no number is missing, and none has an error."""
    data, config = shifted(missing=missing), replace(CONFIG, **settings | {"epochs": 1})
    rehearse(config, data, judges[missing])
    assert training_bytes(config, data)
    evaluator = Evaluator(data, judges[missing], EVALUATION, epochs=1)
    reports = []
    mopoe.train(config, data, reports.append, evaluate=evaluator)
    found = reports[0].evaluation.subset_metrics
    assert {
        "nll",
        "frechet",
        "mmd",
        "representation",
        "joint_coherence_mixture",
        "log_likelihood_conditional",
    } <= {m.metric for m in found}
    assert [m for m in found if m.error or not math.isfinite(m.value)] in (
        [],
        [m for m in found if m.metric == "pictures"],
    )


def test_a_covariate_that_shifts_all_is_worth_its_likelihood_and_leaves_the_latents() -> None:
    """After the same training: held-out log p is higher by nats, and a probe for the site is near chance."""
    scores, probes = {}, {}
    for conditioned in (True, False):
        data = shifted(conditioned=conditioned)
        model = mopoe.train(CONFIG, data, bool)
        trained = TrainedModel(model, data.modalities, mopoe.data.units.kinds(data))
        known = shifted()
        site = {name: known.split(name).x[COVARIATES].argmax(1) for name in ("train", "test")}
        z = {}
        for name, s in (("train", data.train), ("test", data.test)):
            given = {"site": ["ab"[i] for i in site[name]]} if conditioned else None
            x = {k: t.numpy() for k, t in s.x.items() if k != COVARIATES}
            z[name] = trained.embed(x, covariates=given)
            if name == "test":
                scores[conditioned] = trained.log_likelihood(x, samples=70, covariates=given).mean
        from sklearn.linear_model import LogisticRegression

        probes[conditioned] = (
            LogisticRegression().fit(z["train"], site["train"]).score(z["test"], site["test"])
        )
    assert scores[True] > scores[False] + 2
    assert probes[True] < 0.7
    assert probes[False] > 0.9


def test_a_checkpoint_knows_its_covariates_and_is_as_ever_without(tmp_path: Path) -> None:
    """The trained model that is loaded reads them in the user's units; a file without has no word of them."""
    x = {"one": np.ones((2, 5))}
    for conditioned in (True, False):
        data, path = shifted(conditioned=conditioned), tmp_path / f"{conditioned}"
        model = mopoe.train(replace(CONFIG, epochs=1), data, bool, checkpoint=path).eval()
        assert read_progress(path).modalities == data.modalities
        with safe_open(path, framework="pt") as file:
            assert ("covariates" in file.metadata()["progress"]) == conditioned
        found = mopoe.load(path).embed(x, covariates={"site": ["b", "a"]} if conditioned else None)
        batch = {"one": torch.ones(2, 5), COVARIATES: torch.tensor([[0.0, 1], [1, 0]])}
        mu, _ = model.posteriors(model.encode(batch), slice(0, 1))
        np.testing.assert_allclose(found, mu[0].detach(), rtol=1e-4, atol=1e-6)


def test_joint_coherence_uses_the_samples_covariates_in_turn() -> None:
    """The prior's draw at position i is decoded with the covariates of sample i modulo their number."""
    config = replace(CONFIG, epochs=1)
    data = shifted()
    model = mopoe.train(config, data, bool).eval()
    seen = []

    class Judge(torch.nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(x)
            return x[:, :2]

    judges = Classifiers(networks={n: Judge().eval() for n in model.names}, accuracy={}, hash="x")
    c = data.validation.x[COVARIATES]
    joint_coherence(model, judges, 1500, 0, covariates_NC=c)
    from mopoe.evaluation.generation import prior_latents

    z, _ = prior_latents(model, 0, "joint coherence", 0, 1500)
    with torch.no_grad():
        expected = model.mean("one", z, None, c.repeat(1500 // len(c) + 1, 1)[:1500])
    torch.testing.assert_close(torch.cat(seen[:: len(model.names)]), expected)


def test_images_and_symbols_are_refused() -> None:
    """Their default networks read no covariates; the sentence names the modality."""
    for spec in (
        ModalitySpec(name="pixels", shape=(1, 8, 8)),
        ModalitySpec(name="words", shape=(6,), symbols=3),
    ):
        with pytest.raises(
            ConfigError, match=rf"^modality '{spec.name}' is no vector of numbers, so its default"
        ):
            mopoe.build_model(CONFIG, (replace(spec, covariates=(AGE,)),))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda s: replace(s, x={k: t for k, t in s.x.items() if k != COVARIATES}), "but must be float32"),
        (
            lambda s: replace(s, x={**s.x, COVARIATES: s.x[COVARIATES][:, :1]}),
            "float32 .*, 1., but must be float32",
        ),
        (
            lambda s: replace(s, x={**s.x, COVARIATES: s.x[COVARIATES] / 0}),
            "'covariates' has a number that is not",
        ),
    ],
)
def test_a_users_data_set_has_covariates_of_the_right_shape(
    change: Callable[[Split], Split], sentence: str
) -> None:
    """As its modalities say, in every split and finite."""
    from mopoe.data.arrays import checked

    data = shifted()
    assert checked(data, "mine", {}, ()).modalities == data.modalities
    with pytest.raises(DataError, match=f"^validation: .*{sentence}"):
        checked(replace(data, validation=change(data.validation)), "mine", {}, ())
