"""Latents of posteriors and priors, and a mixture prior that is fitted to latents."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mopoe.config import Posterior, TrialConfig
from mopoe.data.container import Split
from mopoe.data.registry import ModalitySpec
from mopoe.errors import DataError
from mopoe.evaluation.classifiers import Classifiers, ImageClassifier
from mopoe.evaluation.coherence import ClassScores, conditional_coherence, joint_coherence
from mopoe.evaluation.generation import (
    FittedPrior,
    conditional_latents,
    fit_prior,
    generated_logits,
    prior_latents,
    source_latents,
)
from mopoe.kernels import library
from mopoe.likelihoods import Bernoulli, Normal
from mopoe.methods import MethodSpec
from mopoe.model import MoPoE, build_model
from mopoe.networks.base import Modality


@pytest.mark.parametrize("style_dim", [0, 2])
def test_one_source_gets_its_part(modality: Callable[..., Modality], style_dim: int) -> None:
    """Shared and private latents, at their positions in the split."""
    width = 3 + style_dim
    part = modality(lambda x: (x, x / 2), lambda z: z, Normal(1.0))
    model = MoPoE({"a": part, "b": part}, 3, MethodSpec(), style_dim=style_dim)
    rng = torch.Generator().manual_seed(0)
    split = Split({name: torch.randn(9, width, generator=rng) for name in "ab"}, torch.zeros(9))
    q = model.encode(split.batch(slice(4, 8), torch.device("cpu")))
    z_SBZ, style_MSBW = conditional_latents(model, q, 1, "test", 4, 8, same_noise=True)
    for s, mask in enumerate(model.masks):
        z, style, given = source_latents(model, split, mask, 1, "test", 4, 8)
        assert torch.equal(z, z_SBZ[s])
        assert given is None
        assert (style is None) == (style_MSBW is None) == (not style_dim)
        if style is not None and style_MSBW is not None:
            assert torch.equal(style, style_MSBW[:, s])
    z, style, given = source_latents(model, split, 0, 1, "test", 4, 8)
    expected = prior_latents(model, 1, "test", 4, 8)
    assert torch.equal(z, expected[0])
    assert given is None
    assert (style is None and not style_dim) or torch.equal(style, expected[1])  # type: ignore[arg-type]


@pytest.mark.parametrize("posterior", ["gaussian", "laplace"])
def test_generation_draws_private_latents_from_their_prior(
    modality: Callable[..., Modality], posterior: Posterior
) -> None:
    """The auxiliary prior of MMVAE+, of scale 20 here, is for training alone, as in its release.

    Other samples change nothing either.
    """
    part = modality(lambda x: (x, x / 2), lambda z: z, Normal(1.0))
    found = []
    for auxiliary, level in ((False, 0.0), (True, 0.0), (True, 3.0)):
        method = MethodSpec(mixture_of_experts=True, posterior=posterior, auxiliary_prior=auxiliary)
        model = MoPoE({"a": part, "b": part}, 3, method, style_dim=1)
        if model.auxiliary_log_scale_MW is not None:
            model.auxiliary_log_scale_MW.data.fill_(3.0)
        q = model.encode({name: torch.full((500, 4), level) for name in "ab"})
        found.append(conditional_latents(model, q, 1, "test", 0, 500)[1])
    first, *others = (style for style in found if style is not None)
    assert all(torch.equal(first, other) for other in others)
    assert len(others) == 2
    deviation = {"gaussian": 1.0, "laplace": 2**0.5}[posterior]
    assert float(first.std()) == pytest.approx(deviation, abs=0.05)


@pytest.fixture(params=[{}, {"style_dim": 2}, {"likelihood": "bernoulli"}])
def digits(request: pytest.FixtureRequest) -> tuple[MoPoE, dict[str, nn.Module]]:
    """Return a model of three modalities, and classifiers; only "bernoulli" has means that are no outputs."""
    modalities = tuple(ModalitySpec(name=f"m{i}", shape=(1, 28, 28)) for i in range(3))
    model = build_model(TrialConfig(latent_dim=5, channels=(4, 4, 4), **request.param), modalities).eval()
    return model, {m.name: ImageClassifier(1, 4).eval() for m in modalities}


def test_logits_are_those_of_the_generated_images(
    digits: tuple[MoPoE, dict[str, nn.Module]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where decoders and classifiers are joined, so that there are no images; to rounding in float64."""
    model, networks = digits[0].double(), {name: network.double() for name, network in digits[1].items()}
    z_RZ, style_MRW = torch.randn(70, 5).double(), torch.randn(3, 70, 2).double()
    with torch.inference_mode():
        expected = {name: networks[name](model.mean(name, z_RZ, style_MRW, None)) for name in model.names}
        model.bank()
        logits_of = generated_logits(model, Classifiers(networks=networks, accuracy={}, hash=""))
        with monkeypatch.context() as without:
            if library(torch.float64) and not isinstance(model.likelihood("m0"), Bernoulli):
                without.delattr(MoPoE, "mean")
            for name, logits in expected.items():
                assert torch.allclose(logits_of(name, z_RZ, style_MRW, None), logits, rtol=1e-10, atol=1e-12)
        networks["m1"].train()
        with pytest.raises(DataError, match="training mode"):
            logits_of("m1", z_RZ, style_MRW, None)


def test_coherence_is_that_of_networks_one_by_one(digits: tuple[MoPoE, dict[str, nn.Module]]) -> None:
    """For every sample, pair and draw, whatever is computed together."""
    model, classifiers = digits[0], Classifiers(networks=digits[1], accuracy={}, hash="")
    rng = torch.Generator().manual_seed(0)
    x = {name: torch.rand(40, 1, 28, 28, generator=rng) for name in model.names}
    split = Split(x, torch.arange(40) % 4)
    found = []
    for prepare in (model.unbank, model.bank):
        prepare()
        of_pairs = conditional_coherence(model, split, classifiers, 40, 0).scores
        assert isinstance(of_pairs, ClassScores)
        of_draws = joint_coherence(model, classifiers, 40, 0).predicted_MN
        assert of_draws is not None
        found.append((of_pairs.correct_NSM, of_draws))
    assert torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][1], found[1][1])


def test_noise_far_out_picks_a_modality_too(
    modality: Callable[..., Modality], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under a mixture of experts: 6 standard deviations pick the last one, -6 the first."""
    part = modality(lambda x: (x, x * 0), lambda z: z, Normal(1.0))
    model = MoPoE({"a": part, "b": part}, 3, MethodSpec(mixture_of_experts=True))
    q = model.encode({"a": torch.full((2, 3), 100.0), "b": torch.full((2, 3), 200.0)})
    far = torch.tensor([-6.0, 6.0]).view(2, 1, 1)
    monkeypatch.setattr(
        "mopoe.evaluation.generation.sample_noise",
        lambda seed, purpose, start, stop, shape, device: (
            far.expand(2, *shape[:1], 1).reshape(2, *shape[:1])
            if purpose.endswith("pick")
            else torch.zeros(2, *shape)
        ),
    )
    z_SBZ, _ = conditional_latents(model, q, 0, "test", 0, 2)
    assert z_SBZ[-1, :, 0].tolist() == [100.0, 200.0]


MEANS = torch.tensor([[-3.0, 1.0], [2.0, 4.0], [3.0, -3.0]])
SHARES = torch.tensor([0.5, 0.3, 0.2])
ROOTS = torch.tensor([[[0.5, 0.0], [0.3, 0.4]], [[0.8, 0.0], [0.0, 0.2]], [[0.3, 0.0], [-0.3, 0.6]]])
LOGVAR = -4.0


def in_order(prior: FittedPrior) -> tuple[Tensor, Tensor, Tensor]:
    """Return weights, means and covariances by falling weight."""
    order = prior.weights_C.argsort(descending=True)
    root = prior.cholesky_CZZ[order]
    return prior.weights_C[order], prior.mean_CZ[order], root @ root.mT


def model_and_split(modality: Callable[..., Modality], n: int) -> tuple[MoPoE, Split]:
    """Return a model whose posterior's mean is the data, and data of a known mixture."""
    part = modality(lambda x: (x, torch.full_like(x, LOGVAR)), lambda z: z, Normal(1.0))
    rng = torch.Generator().manual_seed(0)
    c = torch.multinomial(SHARES, n, replacement=True, generator=rng)
    x = MEANS[c] + (ROOTS[c] @ torch.randn(n, 2, 1, generator=rng)).squeeze(-1)
    return MoPoE({"a": part}, 2, MethodSpec(prior_expert="none")), Split({"a": x}, torch.zeros(n))


def test_it_recovers_a_known_mixture(modality: Callable[..., Modality]) -> None:
    """Weights, means and covariances of the aggregate posterior: each posterior's variance is added."""
    model, split = model_and_split(modality, 4000)
    weights, means, covariances = in_order(fit_prior(model, split, 4000, components=3))
    torch.testing.assert_close(weights, SHARES, atol=0.03, rtol=0)
    torch.testing.assert_close(means, MEANS, atol=0.1, rtol=0)
    expected = ROOTS @ ROOTS.mT + torch.eye(2) * torch.tensor(LOGVAR).exp()
    torch.testing.assert_close(covariances, expected, atol=0.06, rtol=0)


def test_samples_have_its_moments_and_depend_on_their_position() -> None:
    """By component: share, mean and covariance; any cut of the latents is the same; other seeds differ."""
    prior = FittedPrior(SHARES, MEANS, ROOTS)
    z = prior.sample(6000, 0)
    nearest = torch.cdist(z, MEANS).argmin(1)
    for c in range(3):
        mine = z[nearest == c]
        assert len(mine) / 6000 == pytest.approx(float(SHARES[c]), abs=0.03)
        torch.testing.assert_close(mine.mean(0), MEANS[c], atol=0.06, rtol=0)
        torch.testing.assert_close(torch.cov(mine.t()), ROOTS[c] @ ROOTS[c].t(), atol=0.06, rtol=0)
    torch.testing.assert_close(prior.sample(7, 0, start=20), z[20:27])
    assert not torch.equal(prior.sample(7, 1), z[:7])


def test_one_seed_gives_one_fit(modality: Callable[..., Modality]) -> None:
    """Equal seeds agree to the bit, others draw other samples; one component has the samples' mean."""
    model, split = model_and_split(modality, 500)
    a, b, c = (fit_prior(model, split, 300, 2, seed) for seed in (1, 1, 2))
    assert torch.equal(a.mean_CZ, b.mean_CZ)
    assert not torch.equal(a.mean_CZ, c.mean_CZ)
    one = fit_prior(model, split, 10**6, 1)
    torch.testing.assert_close(one.mean_CZ[0], split.x["a"].mean(0), atol=0.05, rtol=0)


def test_it_lifts_joint_coherence(known: Callable[..., Any]) -> None:
    """Latents of N(0, I) decode to any class; those fitted to the posterior are where classes are."""
    case = known((0.0, 0.0))
    z = fit_prior(case.model, case.data.train, 1200, 4).sample(400, 0)
    apart = (z[:, :4].topk(2).values * torch.tensor([1.0, -1.0])).sum(1)
    assert float(apart.min()) > 0.5
    means = case.model.means(z)
    assert torch.equal(means["m0"], means["m1"])
    assert joint_coherence(case.model, case.classifiers, 400, 0).plain() == (1.0, 0.0)


def test_too_few_samples_are_refused(modality: Callable[..., Modality]) -> None:
    """Fewer than components."""
    model, split = model_and_split(modality, 9)
    with pytest.raises(DataError, match=r"^9 samples are too few to fit a mixture of 10 Gaussians$"):
        fit_prior(model, split, 100)
