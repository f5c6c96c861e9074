"""The generalized ELBO against a plain implementation, its special cases, and against an exact log p(X)."""

import math
from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mopoe.bound import Bound
from mopoe.config import TrialConfig
from mopoe.data.container import MultimodalData
from mopoe.likelihoods import Normal
from mopoe.modality import Modality
from mopoe.model import MoPoE, build_model
from mopoe.noise import draw_components, stratified_components
from mopoe.objective import Draws, Terms, Weights, generalized_elbo

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
) -> Terms:
    """Return the objective of complete samples without private latents."""
    draws = Draws(component_B=component, noise=noise, unimodal_MBZ=unimodal)
    return generalized_elbo(model, x, draws, Weights(beta=beta, likelihood=likelihood))


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
        Bound(prior_expert="none"),
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
    model = double_model(tiny_data, in_double, subset_weights=FULL_SET, prior_expert="all")
    x, component, noise = batch(tiny_data, [2] * 9)
    unimodal = torch.randn(2, 9, 3, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    weights = {"grey": 3.0, "colour": 1.0}
    joint = elbo(model, x, component, noise, 2.0)
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


def private_model(bound: Bound | None = None, style_dim: int = 2) -> tuple[MoPoE, dict[str, Tensor]]:
    """Return a float64 model of two vectors, with three shared and some private latents, and five samples."""
    torch.manual_seed(6)
    width = 3 + style_dim
    parts = {}
    for name, d in (("a", 4), ("b", 2)):
        parts[name] = Modality(TwoHeads(d, width), nn.Linear(width, d), Normal(0.6))
    rng = torch.Generator().manual_seed(7)
    x = {name: torch.randn(5, d, generator=rng, dtype=torch.float64) for name, d in (("a", 4), ("b", 2))}
    return MoPoE(parts, 3, bound, style_dim=style_dim).double(), x


class TwoHeads(nn.Module):
    """A linear encoder."""

    def __init__(self, d: int, width: int) -> None:
        super().__init__()
        self.mu, self.logvar = nn.Linear(d, width), nn.Linear(d, width)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log-variance."""
        return self.mu(x), self.logvar(x)


def normal(mu: Tensor, logvar: Tensor) -> torch.distributions.Normal:
    """Return the density."""
    return torch.distributions.Normal(mu, (logvar / 2).exp())


def kl(q: torch.distributions.Normal, p: torch.distributions.Normal | None = None) -> Tensor:
    """Return the divergence per sample, by default from the standard normal."""
    p = p or torch.distributions.Normal(torch.zeros_like(q.loc), torch.ones_like(q.scale))
    return torch.distributions.kl_divergence(q, p).sum(-1)


@pytest.mark.parametrize("all_at_once", [False, True])
def test_private_latents_are_decoded_with_the_shared_ones_and_pay_their_own_kl(all_at_once: bool) -> None:  # noqa: FBT001 - a parameter
    """Each decoder sees its own modality's; the KL weights are beta times each one's, and appear once."""
    model, x = private_model()
    rng = torch.Generator().manual_seed(1)
    rows = 15 if all_at_once else 5
    style = torch.randn(2, rows, 2, generator=rng, dtype=torch.float64)
    shape = (3, 5, 3) if all_at_once else (5, 3)
    noise = torch.randn(shape, generator=rng, dtype=torch.float64)
    component = None if all_at_once else torch.tensor([0, 1, 2, 2, 0])
    draws = Draws(component_B=component, noise=noise, style_MBW=style)
    found = generalized_elbo(model, x, draws, Weights(beta=3.0, style=(0.5, 7.0)))
    heads = {name: model.encoders[name](x[name]) for name in "ab"}
    (mu_a, v_a), (mu_b, v_b) = ((mu[:, :3], logvar[:, :3]) for mu, logvar in heads.values())
    precision = 1 + (-v_a).exp() + (-v_b).exp()
    mu_ab = ((-v_a).exp() * mu_a + (-v_b).exp() * mu_b) / precision
    products = [normal(mu_a, v_a), normal(mu_b, v_b), normal(mu_ab, -precision.log())]
    private = [normal(mu[:, 3:], logvar[:, 3:]) for mu, logvar in heads.values()]
    expected = 3.0 * sum(kl(q) for q in products) / 3
    expected = expected + 3.0 * (0.5 * kl(private[0]) + 7.0 * kl(private[1]))
    per_sample = []
    for b in range(5):
        chosen = range(3) if component is None else [int(component[b])]
        value = torch.zeros((), dtype=torch.float64)
        for s in chosen:
            eps = noise[s, b] if all_at_once else noise[b]
            row = s * 5 + b if all_at_once else b
            z = products[s].loc[b] + products[s].scale[b] * eps
            for m, name in enumerate("ab"):
                w = private[m].loc[b] + private[m].scale[b] * style[m, row]
                mean = model.decoders[name](torch.cat([z, w]))
                scale = torch.full_like(mean, 0.6)
                value = value - torch.distributions.Normal(mean, scale).log_prob(x[name][b]).sum() / len(
                    chosen
                )
        per_sample.append(value)
    torch.testing.assert_close(found.loss, (expected + torch.stack(per_sample)).mean(), rtol=1e-12, atol=0)
    unweighted = sum(kl(q) for q in products) / 3 + kl(private[0]) + kl(private[1])
    torch.testing.assert_close(found.kl, unweighted.mean(), rtol=1e-12, atol=0)


def test_a_missing_modality_is_in_no_product_and_not_reconstructed() -> None:
    """Row by row: a sample that lacks b has the loss of a model of a alone, whatever stands in its place."""
    model, x = private_model(Bound(prior_expert="none"))
    alone = {
        name: MoPoE(
            {name: Modality(model.encoders[name], model.decoders[name], model.likelihood(name))},
            3,
            Bound(prior_expert="none"),
            style_dim=2,
        ).double()
        for name in "ab"
    }
    rng = torch.Generator().manual_seed(1)
    noise = torch.randn(5, 3, generator=rng, dtype=torch.float64)
    style = torch.randn(2, 5, 2, generator=rng, dtype=torch.float64)
    here = torch.tensor([[1, 0, 1, 1, 0], [1, 1, 0, 1, 1]], dtype=torch.bool)
    component = torch.tensor([0, 1, 2, 2, 2])
    weights = Weights(beta=2.0)
    losses = []
    for b in range(5):
        one = {name: values[b : b + 1] for name, values in x.items()}
        kept = [m for m in range(2) if here[m, b]]
        own = model if len(kept) == 2 else alone["ab"[kept[0]]]
        at = component[b : b + 1] if len(kept) == 2 else torch.tensor([0])
        draws = Draws(component_B=at, noise=noise[b : b + 1], style_MBW=style[kept, b : b + 1])
        losses.append(generalized_elbo(own, {n: one[n] for n in own.names}, draws, weights).loss)
    draws = Draws(component_B=component, noise=noise, style_MBW=style)
    found = generalized_elbo(model, x, draws, weights, here)
    torch.testing.assert_close(found.loss, torch.stack(losses).mean(), rtol=1e-12, atol=0)
    other = {name: values.where(here[m][:, None], 9.0) for m, (name, values) in enumerate(x.items())}
    again = generalized_elbo(model, other, draws, weights, here)
    torch.testing.assert_close(again.loss, found.loss, rtol=1e-12, atol=0)


@pytest.mark.parametrize("lacks", ["a", "b"])
def test_a_modality_that_is_not_given_is_missing_from_all_samples(lacks: str) -> None:
    """Leaving it out of x is the same as marking it missing; its networks get no gradient."""
    model, x = private_model()
    here = torch.tensor([[name != lacks] for name in "ab"]).expand(2, 5)
    rng = torch.Generator().manual_seed(1)
    draws = Draws(
        component_B=torch.tensor([0, 1, 2, 2, 0]).where(here[0], 1).where(here[1], 0),
        noise=torch.randn(5, 3, generator=rng, dtype=torch.float64),
        style_MBW=torch.randn(2, 5, 2, generator=rng, dtype=torch.float64),
    )
    kept = {name: values for name, values in x.items() if name != lacks}
    found = model.encode(kept)
    marked = model.encode(x, here)
    assert torch.equal(found.mu_MBZ, marked.mu_MBZ)
    assert torch.equal(found.precision_MBZ, marked.precision_MBZ)
    generalized_elbo(model, x, draws, Weights(beta=1.0), here).loss.backward()
    assert all(float(p.grad.abs().max()) == 0 for p in model.encoders[lacks].parameters())
    assert all(float(p.grad.abs().max()) == 0 for p in model.decoders[lacks].parameters())


def test_weights_of_possible_subsets_are_scaled_up() -> None:
    """Of 0.1, 0.3 and 0.6 the second is impossible without b; with nothing left the full set takes all."""
    model, _ = private_model(Bound(subset_weights=(0.1, 0.3, 0.6)))
    here = torch.tensor([[True, True, False], [True, False, True]])
    found = model.weights_given(here)
    expected = torch.tensor([[0.1, 0.1 / 0.7, 0], [0.3, 0, 0.3 / 0.9], [0.6, 0.6 / 0.7, 0.6 / 0.9]])
    torch.testing.assert_close(found, expected.double())
    only_a, _ = private_model(Bound(subset_weights=(1.0, 0.0, 0.0)))
    assert only_a.weights_given(here)[:, 2].tolist() == [0, 0, 1]


def test_mvtcae_trades_the_kl_for_the_total_correlation() -> None:
    """With share 0.4 of two modalities: 0.8 of the fit, 0.6 of the KL and 0.2 of each KL to a modality's."""
    model, x = private_model(
        Bound(subset_weights=(0.0, 0.0, 1.0), prior_expert="none", tc_ratio=0.4), style_dim=0
    )
    noise = torch.randn(5, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    found = elbo(model, x, torch.full((5,), 2), noise, 2.5)
    (mu_a, v_a), (mu_b, v_b) = (model.encoders[name](x[name]) for name in "ab")
    precision = (-v_a).exp() + (-v_b).exp()
    q = normal(((-v_a).exp() * mu_a + (-v_b).exp() * mu_b) / precision, -precision.log())
    fit = sum(found.reconstruction.values())
    tc = kl(q, normal(mu_a, v_a)) + kl(q, normal(mu_b, v_b))
    expected = 0.8 * fit + 2.5 * (0.6 * kl(q) + 0.2 * tc).mean()
    torch.testing.assert_close(found.loss, expected, rtol=1e-12, atol=0)


def test_learned_weights_follow_their_gradient() -> None:
    """The loss is that of fixed weights softmax(logits) minus their entropy; so is the logits' gradient."""
    model, x = private_model(Bound(learned_weights=True), style_dim=0)
    logits = torch.tensor([0.3, -0.5, 1.0], dtype=torch.float64)
    with torch.no_grad():
        model.weight_logits_S.copy_(logits)
    noise = torch.randn(3, 5, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    draws = Draws(component_B=None, noise=noise)

    def plain(logits_S: Tensor) -> float:
        pi = torch.softmax(logits_S, 0)
        fixed = MoPoE(
            {n: Modality(model.encoders[n], model.decoders[n], model.likelihood(n)) for n in "ab"},
            3,
            Bound(subset_weights=tuple(pi.tolist())),
        ).double()
        entropy = -float((pi * pi.log()).sum())
        return float(generalized_elbo(fixed, x, draws, Weights(beta=2.0)).loss.detach()) - 3.0 * entropy

    loss = generalized_elbo(model, x, draws, Weights(beta=2.0, entropy=3.0)).loss
    assert float(loss.detach()) == pytest.approx(plain(logits), rel=1e-12)
    (gradient,) = torch.autograd.grad(loss, model.weight_logits_S)
    for s in range(3):
        step = torch.zeros(3, dtype=torch.float64)
        step[s] = 1e-5
        assert float(gradient[s]) == pytest.approx(
            (plain(logits + step) - plain(logits - step)) / 2e-5, rel=1e-6
        )


def test_a_mixture_of_experts_picks_one_of_the_observed_modalities() -> None:
    """Numbers below a half pick the first of two, others the second; a product has neither's mean."""
    model, x = private_model(Bound(subset_weights=(0.5, 0.5, 0.0), mixture_of_experts=True), style_dim=0)
    q = model.encode(x)
    pick = torch.tensor([[0.9] * 5, [0.1] * 5, [0.0, 0.49, 0.51, 0.99, 0.2]])
    mu, precision = model.conditionals(q, pick)
    chosen = [[0] * 5, [1] * 5, [0, 0, 1, 1, 0]]
    for s, row in enumerate(chosen):
        for b, m in enumerate(row):
            assert torch.equal(mu[s, b], q.mu_MBZ[m, b])
            assert torch.equal(precision[s, b], q.precision_MBZ[m, b])
    product_mu, _ = model.conditionals(q, None)
    assert not torch.allclose(product_mu[2], mu[2])
