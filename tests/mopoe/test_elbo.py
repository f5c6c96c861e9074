"""The generalized ELBO against a plain implementation, its special cases, and against an exact log p(X)."""

import math
from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor

from mopoe.config import Aggregation, TrialConfig
from mopoe.data.container import MultimodalData
from mopoe.distributions import kl_between
from mopoe.elbo import Draws, LossTerms, LossWeights, generalized_elbo
from mopoe.likelihoods import Normal
from mopoe.methods import MethodSpec
from mopoe.model import MoPoE, build_model
from mopoe.networks.base import Modality
from mopoe.random_streams import draw_components, stratified_components

SINGLETONS = (0.5, 0.5, 0.0)
FULL_SET = (0.0, 0.0, 1.0)


def elbo(
    model: MoPoE,
    x: dict[str, Tensor],
    component: Tensor | None,
    noise: Tensor,
    beta: float,
    *,
    unimodal: Tensor | None = None,
    likelihood: dict[str, float] | None = None,
) -> LossTerms:
    """Return the objective of complete samples without private latents."""
    draws = Draws(component_B=component, noise=noise, unimodal_MBZ=unimodal)
    return generalized_elbo(model, x, draws, LossWeights(beta=beta, likelihood=likelihood))


def double_model(data: MultimodalData, in_double: Callable[..., MoPoE], **settings: Any) -> MoPoE:
    """Return a small model in float64."""
    config = TrialConfig(latent_dim=3, channels=(2, 2, 2), seed=1)
    return in_double(build_model(config, data.modalities), **settings)


def batch(
    data: MultimodalData, component: list[int] | None = None
) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """Return nine samples, a component for each and their noise."""
    rng = torch.Generator().manual_seed(3)
    x = data.train.batch(slice(0, 9), torch.device("cpu"))
    drawn = torch.tensor(component or [0, 1, 2, 2, 1, 0, 0, 2, 1])
    return x, drawn, torch.randn(9, 3, generator=rng, dtype=torch.float64)


@pytest.mark.parametrize("prior_expert", ["full", "all", "none"])
@pytest.mark.parametrize("weights", [None, (0.3, 0.7), (0.1, 0.2, 0.7), FULL_SET, SINGLETONS])
@pytest.mark.parametrize("beta", [0.0, 1.0, 2.5])
def test_the_objective_equals_the_plain_one(
    tiny_data: MultimodalData,
    plain: Callable[..., Any],
    in_double: Callable[..., MoPoE],
    beta: float,
    weights: tuple[float, ...] | None,
    prior_expert: str,
) -> None:
    """Loss, parts and gradients equal a loop over subsets with `torch.distributions`, in float64."""
    model = double_model(tiny_data, in_double, subset_weights=weights, prior_expert=prior_expert)
    x, component, noise = batch(tiny_data)
    ours = elbo(model, x, component, noise, beta)
    theirs = plain(
        model, x, component, noise, beta=beta, weights=weights, prior_expert=prior_expert, scale=0.75
    )
    torch.testing.assert_close(ours.loss, theirs.loss, atol=0, rtol=1e-12)
    torch.testing.assert_close(ours.kl, theirs.kl, atol=0, rtol=1e-11)
    assert set(ours.reconstruction) == {"grey", "colour"}
    for name, value in ours.reconstruction.items():
        torch.testing.assert_close(value, theirs.reconstruction[name], atol=0, rtol=1e-12)
    parameters = tuple(model.parameters())
    mine = torch.autograd.grad(ours.loss, parameters)
    for a, b in zip(mine, torch.autograd.grad(theirs.loss, parameters), strict=True):
        torch.testing.assert_close(a, b, atol=1e-9, rtol=1e-9)
    if weights is None:
        assert all(float(g.abs().max()) > 1e-3 for g in mine)


def test_one_hot_on_the_full_set_is_the_joint_elbo_of_mvae(
    tiny_data: MultimodalData, in_double: Callable[..., MoPoE]
) -> None:
    """The loss is -E_q[log p(X|z)] + beta KL(q || N(0, I)), q the product of all experts and the prior."""
    model = double_model(tiny_data, in_double, subset_weights=FULL_SET)
    rng = torch.Generator().manual_seed(0)
    component = stratified_components(model.weights_S, 9, rng)
    x, component, noise = batch(tiny_data, component.tolist())
    (mu_a, logvar_a), (mu_b, logvar_b) = (model.encoders[name](x[name]) for name in model.names)
    precision = 1 + (-logvar_a).exp() + (-logvar_b).exp()
    q = torch.distributions.Normal(
        (mu_a * (-logvar_a).exp() + mu_b * (-logvar_b).exp()) / precision, precision.rsqrt()
    )
    kl = torch.distributions.kl_divergence(q, torch.distributions.Normal(0.0, 1.0)).sum(1).mean()
    z = q.loc + q.scale * noise
    log_p = sum(
        torch.distributions.Laplace(model.decoders[n](z), 0.75).log_prob(x[n]).sum((1, 2, 3)).mean()
        for n in model.names
    )
    torch.testing.assert_close(
        elbo(model, x, component, noise, 2.0).loss, 2.0 * kl - log_p, rtol=1e-12, atol=0
    )


def test_singletons_alone_are_the_mixture_of_experts_objective(
    tiny_data: MultimodalData, in_double: Callable[..., MoPoE]
) -> None:
    """The KL is the mean over unimodal posteriors and each latent is one modality's."""
    model = double_model(tiny_data, in_double, subset_weights=SINGLETONS)
    rng = torch.Generator().manual_seed(0)
    drawn = stratified_components(model.weights_S, 9, rng).tolist()
    assert set(drawn) == {0, 1}
    x, component, noise = batch(tiny_data, drawn)
    q = [
        torch.distributions.Normal(mu, (logvar / 2).exp())
        for mu, logvar in (model.encoders[n](x[n]) for n in model.names)
    ]
    kl = (
        sum(
            torch.distributions.kl_divergence(e, torch.distributions.Normal(0.0, 1.0)).sum(1).mean()
            for e in q
        )
        / 2
    )
    z = torch.stack([q[s].loc[b] + q[s].scale[b] * noise[b] for b, s in enumerate(drawn)])
    log_p = sum(
        torch.distributions.Laplace(model.decoders[n](z), 0.75).log_prob(x[n]).sum((1, 2, 3)).mean()
        for n in model.names
    )
    torch.testing.assert_close(elbo(model, x, component, noise, 1.0).loss, kl - log_p, rtol=1e-12, atol=0)


def linear_model(modality: Callable[..., Modality], shift: float) -> tuple[MoPoE, dict[str, Tensor], float]:
    """Return x = z + noise of scale 0.5 in one dimension, 20,000 copies of one x and log p(x).

    The encoder is the exact posterior N(0.8 x, 0.2), moved by the shift.
    """
    model = MoPoE(
        {"x": modality(lambda x: (0.8 * x + shift, torch.full_like(x, 0.2).log()), lambda z: z, Normal(0.5))},
        1,
        MethodSpec(prior_expert="none"),
    )
    x = torch.full((20_000, 1), 0.7)
    return model, {"x": x}, float(torch.distributions.Normal(0.0, 1.25**0.5).log_prob(x[0]))


@pytest.mark.parametrize(("shift", "gap"), [(0.0, 0.0), (0.6, 0.9)])
def test_the_elbo_is_below_log_p_by_the_kl_to_the_true_posterior(
    modality: Callable[..., Modality], shift: float, gap: float
) -> None:
    """In a linear-Gaussian model the gap is KL(q || posterior): 0 if exact, shift^2 / 0.4 if moved."""
    model, x, exact = linear_model(modality, shift)
    noise = torch.randn(20_000, 1, generator=torch.Generator().manual_seed(4))
    terms = elbo(model, x, torch.zeros(20_000, dtype=torch.int64), noise, 1.0)
    # The standard deviation of log p(x | z) over z is below 2.
    assert -float(terms.loss) == pytest.approx(exact - gap, abs=4 * 2 / 20_000**0.5)


@pytest.mark.parametrize("how", ["product", "barycentre", "hellinger"])
def test_every_aggregation_gives_a_lower_bound(modality: Callable[..., Modality], how: Aggregation) -> None:
    """In a linear-Gaussian model of two modalities the gap is the mean KL(q_A || posterior) over subsets."""
    x = {"a": 0.7, "b": -0.4}
    parts = {
        name: modality(lambda x: (0.8 * x, torch.full_like(x, 0.2).log()), lambda z: z, Normal(0.5))
        for name in x
    }
    model = MoPoE(parts, 1, MethodSpec(prior_expert="none", aggregation=how))
    n = 200_000
    samples = {name: torch.full((n, 1), value) for name, value in x.items()}
    noise = torch.randn(n, 1, generator=torch.Generator().manual_seed(4))
    terms = elbo(model, samples, torch.arange(n) % 3, noise, 1.0)
    covariance = torch.tensor([[1.25, 1.0], [1.0, 1.25]])
    exact = torch.distributions.MultivariateNormal(torch.zeros(2), covariance).log_prob(
        torch.tensor([0.7, -0.4])
    )
    mu_SBZ, precision_SBZ = model.posteriors(model.encode({name: t[:1] for name, t in samples.items()}))
    posterior = torch.tensor([4 * 0.3 / 9]), torch.tensor([9.0])
    gap = kl_between(mu_SBZ, precision_SBZ, *posterior).mean()
    assert float(gap) > 0.01
    assert float(-terms.loss.detach()) == pytest.approx(float(exact - gap), abs=4 * 3 / n**0.5)


@pytest.mark.parametrize("weights", [None, (0.1, 0.2, 0.7), (0.4, 0.0, 0.6)])
def test_all_subsets_at_once_are_the_mean_over_every_way_to_draw(
    tiny_data: MultimodalData, in_double: Callable[..., MoPoE], weights: tuple[float, ...] | None
) -> None:
    """Two samples have nine pairs of components: their losses and gradients, weighted, are those of `all`."""
    model = double_model(tiny_data, in_double, subset_weights=weights)
    x, _, noise = batch(tiny_data)
    x, noise = {name: values[:2] for name, values in x.items()}, noise[:2]
    n_active = 2 if weights == (0.4, 0.0, 0.6) else 3
    every = elbo(model, x, None, noise.expand(n_active, 2, 3), 2.0)
    share = model.weights_S.tolist()
    mean = sum(
        share[a] * share[b] * elbo(model, x, torch.tensor([a, b]), noise, 2.0).loss
        for a, b in product(range(3), repeat=2)
    )
    torch.testing.assert_close(every.loss, mean, atol=0, rtol=1e-12)
    torch.testing.assert_close(every.loss, sum(every.reconstruction.values()) + 2 * every.kl)
    parameters = tuple(model.parameters())
    for a, b in zip(
        torch.autograd.grad(every.loss, parameters), torch.autograd.grad(mean, parameters), strict=True
    ):
        torch.testing.assert_close(a, b, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("kind", ["stratified", "categorical"])
def test_draws_average_to_all_subsets(
    tiny_data: MultimodalData, in_double: Callable[..., MoPoE], kind: Any
) -> None:
    """Over 300 draws with one noise the mean loss is that of `all`, within 4.5 standard errors."""
    model = double_model(tiny_data, in_double, subset_weights=(0.1, 0.3, 0.6))
    x, _, noise = batch(tiny_data)
    rng = torch.Generator().manual_seed(11)
    with torch.no_grad():
        exact = float(elbo(model, x, None, noise.expand(3, 9, 3), 1.0).loss)
        drawn = [
            float(elbo(model, x, draw_components(kind, model.weights_S, 9, rng), noise, 1.0).loss)
            for _ in range(300)
        ]
    losses = torch.tensor(drawn, dtype=torch.float64)
    stderr = float(losses.std()) / math.sqrt(300)
    assert 0 < stderr < 0.05 * exact
    assert float(losses.mean()) == pytest.approx(exact, abs=4.5 * stderr)


def test_mvae_adds_one_elbo_per_modality(tiny_data: MultimodalData, in_double: Callable[..., MoPoE]) -> None:
    """With the prior in every product; each reconstructs its own modality, weighted as in the joint term."""
    settings = {"subset_weights": FULL_SET, "prior_expert": "all"}
    model = double_model(tiny_data, in_double, **settings, unimodal_elbos=True)
    plain_model = double_model(tiny_data, in_double, **settings)
    x, component, noise = batch(tiny_data, [2] * 9)
    unimodal = torch.randn(2, 9, 3, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    weights = {"grey": 3.0, "colour": 1.0}
    joint = elbo(plain_model, x, component, noise, 2.0, unimodal=unimodal)
    assert joint.loss == elbo(plain_model, x, component, noise, 2.0).loss  # the method decides, not the noise
    with pytest.raises(AssertionError, match="the method has unimodal ELBOs, but there is no noise for them"):
        elbo(model, x, component, noise, 2.0)
    both = elbo(model, x, component, noise, 2.0, unimodal=unimodal, likelihood=weights)
    expected = 2.0 * joint.kl
    for name, eps in zip(model.names, unimodal, strict=True):
        mu, logvar = model.encoders[name](x[name])
        variance = 1 / (1 + 1 / logvar.exp())
        q = torch.distributions.Normal(variance * mu / logvar.exp(), variance.sqrt())
        z = q.loc + q.scale * eps
        log_p = torch.distributions.Laplace(model.decoders[name](z), 0.75).log_prob(x[name])
        kl = torch.distributions.kl_divergence(q, torch.distributions.Normal(0.0, 1.0))
        expected = expected + weights[name] * (joint.reconstruction[name] - log_p.sum() / 9)
        expected = expected + 2.0 * kl.sum() / 9
    torch.testing.assert_close(both.loss, expected, atol=0, rtol=1e-12)
    # What is reported is the joint term, without weights.
    assert (both.kl, both.reconstruction) == (joint.kl, joint.reconstruction)


def test_likelihood_weights_count_in_the_loss_alone(
    tiny_data: MultimodalData, in_double: Callable[..., MoPoE]
) -> None:
    """The loss is the weighted sum; the reconstruction stays in nats."""
    model = double_model(tiny_data, in_double)
    x, component, noise = batch(tiny_data)
    plain = elbo(model, x, component, noise, 2.5)
    weighted = elbo(model, x, component, noise, 2.5, likelihood={"grey": 3.0, "colour": 1.0})
    assert weighted.reconstruction == plain.reconstruction
    torch.testing.assert_close(weighted.loss, plain.loss + 2 * plain.reconstruction["grey"])


def test_autocast_does_not_coarsen_posteriors_and_kl(modality: Callable[..., Modality]) -> None:
    """Under bf16 the objective of encoders and decoders without a matrix product is that of float32."""
    parts = {
        name: modality(lambda x, s=s: (s * x, x - s), lambda z: z, Normal(0.5))
        for name, s in (("a", 1), ("b", 3))
    }
    model = MoPoE(parts, 4)
    rng = torch.Generator().manual_seed(2)
    x = {name: torch.randn(6, 4, generator=rng) for name in parts}
    noise = torch.randn(6, 4, generator=rng)
    component = torch.tensor([0, 1, 2, 2, 1, 0])
    plain = elbo(model, x, component, noise, 1.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        coarse = elbo(model, x, component, noise, 1.0)
    assert coarse.kl.dtype == coarse.loss.dtype == torch.float32
    assert (float(coarse.kl), float(coarse.loss)) == (float(plain.kl), float(plain.loss))
