"""What a bound may add to the objective: private latents, MMVAE+, missing modalities, MVTCAE, mmJSD."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from mopoe.config import TrialConfig
from mopoe.elbo import Draws, LossWeights, generalized_elbo, importance_weighted_bound
from mopoe.evaluation.generation import picked_posteriors
from mopoe.likelihoods import Normal
from mopoe.methods import MethodSpec, resolve_method
from mopoe.model import MoPoE
from mopoe.networks.base import Modality


def private_model(method: MethodSpec | None = None, style_dim: int = 2) -> tuple[MoPoE, dict[str, Tensor]]:
    """Return a float64 model of two vectors, with three shared and some private latents, and five samples."""
    torch.manual_seed(6)
    width = 3 + style_dim
    parts = {}
    for name, d in (("a", 4), ("b", 2)):
        parts[name] = Modality(TwoHeads(d, width), nn.Linear(width, d), Normal(0.6))
    rng = torch.Generator().manual_seed(7)
    x = {name: torch.randn(5, d, generator=rng, dtype=torch.float64) for name, d in (("a", 4), ("b", 2))}
    return MoPoE(parts, 3, method, style_dim=style_dim).double(), x


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
@pytest.mark.parametrize("auxiliary", [False, True])
def test_private_latents_are_decoded_with_the_shared_ones_and_pay_their_own_kl(
    all_at_once: bool,  # noqa: FBT001 - a parameter
    auxiliary: bool,  # noqa: FBT001 - a parameter
) -> None:
    """Each decoder sees its own modality's; the KL weights are beta times each one's, and appear once.

    With an auxiliary prior those outside of the subset come from it, and pay nothing: of the three subsets
    two have each modality. Gradients are the plain ones, that of the auxiliary scale too.
    """
    model, x = private_model(MethodSpec(auxiliary_prior=auxiliary))
    scale_MW = torch.ones(2, 2, dtype=torch.float64)
    if auxiliary:
        assert model.auxiliary_log_scale_MW is not None
        model.auxiliary_log_scale_MW.data.copy_(torch.tensor([[0.3, 2.0], [1.5, 0.8]]).log())
        scale_MW = model.auxiliary_log_scale_MW.exp()
    paid = 2 / 3 if auxiliary else 1
    rng = torch.Generator().manual_seed(1)
    rows = 15 if all_at_once else 5
    style = torch.randn(2, rows, 2, generator=rng, dtype=torch.float64)
    shape = (3, 5, 3) if all_at_once else (5, 3)
    noise = torch.randn(shape, generator=rng, dtype=torch.float64)
    component = None if all_at_once else torch.tensor([0, 1, 2, 2, 0])
    draws = Draws(component_B=component, noise=noise, style_MBW=style)
    found = generalized_elbo(model, x, draws, LossWeights(beta=3.0, style=(0.5, 7.0)))
    heads = {name: model.encoders[name](x[name]) for name in "ab"}
    (mu_a, v_a), (mu_b, v_b) = ((mu[:, :3], logvar[:, :3]) for mu, logvar in heads.values())
    precision = 1 + (-v_a).exp() + (-v_b).exp()
    mu_ab = ((-v_a).exp() * mu_a + (-v_b).exp() * mu_b) / precision
    products = [normal(mu_a, v_a), normal(mu_b, v_b), normal(mu_ab, -precision.log())]
    private = [normal(mu[:, 3:], logvar[:, 3:]) for mu, logvar in heads.values()]
    expected = 3.0 * sum(kl(q) for q in products) / 3
    expected = expected + 3.0 * paid * (0.5 * kl(private[0]) + 7.0 * kl(private[1]))
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
                if auxiliary and s == 1 - m:
                    w = scale_MW[m] * style[m, row]
                mean = model.decoders[name](torch.cat([z, w]))
                scale = torch.full_like(mean, 0.6)
                value = value - torch.distributions.Normal(mean, scale).log_prob(x[name][b]).sum() / len(
                    chosen
                )
        per_sample.append(value)
    plain = (expected + torch.stack(per_sample)).mean()
    torch.testing.assert_close(found.loss, plain, rtol=1e-12, atol=0)
    parameters = tuple(model.parameters())
    gradients = (torch.autograd.grad(loss, parameters, retain_graph=True) for loss in (found.loss, plain))
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)
    unweighted = sum(kl(q) for q in products) / 3 + paid * (kl(private[0]) + kl(private[1]))
    torch.testing.assert_close(found.kl, unweighted.mean(), rtol=1e-12, atol=0)


@pytest.mark.parametrize("auxiliary", [False, True])
def test_a_missing_modality_is_in_no_product_and_not_reconstructed(
    auxiliary: bool,  # noqa: FBT001 - a parameter
) -> None:
    """Row by row: a sample that lacks b has the loss of a model of a alone, whatever stands in its place.

    An auxiliary prior changes nothing of that: what is left is in every subset that is left.
    """
    method = MethodSpec(prior_expert="none", auxiliary_prior=auxiliary)
    model, x = private_model(method)
    alone = {
        name: MoPoE(
            {name: Modality(model.encoders[name], model.decoders[name], model.likelihood(name))},
            3,
            method,
            style_dim=2,
        ).double()
        for name in "ab"
    }
    rng = torch.Generator().manual_seed(1)
    noise = torch.randn(5, 3, generator=rng, dtype=torch.float64)
    style = torch.randn(2, 5, 2, generator=rng, dtype=torch.float64)
    here = torch.tensor([[1, 0, 1, 1, 0], [1, 1, 0, 1, 1]], dtype=torch.bool)
    component = torch.tensor([0, 1, 2, 2, 2])
    weights = LossWeights(beta=2.0)
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
    generalized_elbo(model, x, draws, LossWeights(beta=1.0), here).loss.backward()
    assert all(float(p.grad.abs().max()) == 0 for p in model.encoders[lacks].parameters())
    assert all(float(p.grad.abs().max()) == 0 for p in model.decoders[lacks].parameters())


def test_weights_of_possible_subsets_are_scaled_up() -> None:
    """Of 0.1, 0.3 and 0.6 the second is impossible without b; with nothing left the full set takes all."""
    model, _ = private_model(MethodSpec(subset_weights=(0.1, 0.3, 0.6)))
    here = torch.tensor([[True, True, False], [True, False, True]])
    found = model.weights_given(here)
    expected = torch.tensor([[0.1, 0.1 / 0.7, 0], [0.3, 0, 0.3 / 0.9], [0.6, 0.6 / 0.7, 0.6 / 0.9]])
    torch.testing.assert_close(found, expected.double())
    only_a, _ = private_model(MethodSpec(subset_weights=(1.0, 0.0, 0.0)))
    assert only_a.weights_given(here)[:, 2].tolist() == [0, 0, 1]


def test_mvtcae_trades_the_kl_for_the_total_correlation() -> None:
    """With share 0.4 of two modalities: 0.8 of the fit, 0.6 of the KL and 0.2 of each KL to a modality's."""
    model, x = private_model(
        MethodSpec(subset_weights=(0.0, 0.0, 1.0), prior_expert="none", tc_ratio=0.4), style_dim=0
    )
    noise = torch.randn(5, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    draws = Draws(component_B=torch.full((5,), 2), noise=noise)
    found = generalized_elbo(model, x, draws, LossWeights(beta=2.5))
    (mu_a, v_a), (mu_b, v_b) = (model.encoders[name](x[name]) for name in "ab")
    precision = (-v_a).exp() + (-v_b).exp()
    q = normal(((-v_a).exp() * mu_a + (-v_b).exp() * mu_b) / precision, -precision.log())
    fit = sum(found.reconstruction.values())
    tc = kl(q, normal(mu_a, v_a)) + kl(q, normal(mu_b, v_b))
    expected = 0.8 * fit + 2.5 * (0.6 * kl(q) + 0.2 * tc).mean()
    torch.testing.assert_close(found.loss, expected, rtol=1e-12, atol=0)


def test_mvtcae_is_no_bound_of_the_log_likelihood() -> None:
    """x_m = z + noise of scale 1/2, both 3, and encoders N(0.889 x_m, 0.2): its loss is far below -log p(X).

    The ELBO of the same posterior is not.
    """
    heads = TwoHeads(1, 1)
    for layer, weight, bias in ((heads.mu, 8 / 9, 0.0), (heads.logvar, 0.0, math.log(0.2))):
        nn.init.constant_(layer.weight, weight)
        nn.init.constant_(layer.bias, bias)
    parts = {name: Modality(heads, nn.Identity(), Normal(0.5)) for name in "ab"}
    method = MethodSpec(subset_weights=(0.0, 0.0, 1.0), prior_expert="none", tc_ratio=5 / 6)
    model, n = MoPoE(parts, 1, method).double(), 20_000
    x = {name: torch.full((n, 1), 3.0, dtype=torch.float64) for name in "ab"}
    noise = torch.randn(n, 1, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    draws = Draws(component_B=torch.full((n,), 2), noise=noise)
    found = generalized_elbo(model, x, draws, LossWeights(beta=1.0)).summed(1)
    # The product is N(8/3, 0.1): each KL to a modality's is log(2) / 2 - 1/4, and the rest in closed form.
    fit = math.log(2 * math.pi / 4) + 2 * (1 / 9 + 0.1) / (2 / 4)
    own = (0.1 + (8 / 3) ** 2 - 1 - math.log(0.1)) / 2
    loss = (2 - 5 / 6) / 2 * fit + own / 6 + 5 / 12 * 2 * (math.log(2) / 2 - 1 / 4)
    assert float(found.loss) == pytest.approx(loss, abs=0.02)
    covariance = torch.tensor([[1.25, 1.0], [1.0, 1.25]], dtype=torch.float64)
    normal_ab = torch.distributions.MultivariateNormal(torch.zeros(2, dtype=torch.float64), covariance)
    truth = -float(normal_ab.log_prob(torch.full((2,), 3.0, dtype=torch.float64)))
    assert loss < truth - 3
    assert fit + own > truth
    assert float(found.kl + sum(found.reconstruction.values())) == pytest.approx(fit + own, abs=0.02)


def mmjsd(model: MoPoE, x: dict[str, Tensor], here: Tensor) -> Tensor:
    """Return mmJSD's divergence of each sample, one by one and by `torch.distributions`."""
    found = []
    for i in range(here.shape[1]):
        known = [
            normal(mu[i], v[i])
            for m, (mu, v) in enumerate(model.encoders[n](x[n]) for n in "ab")
            if here[m, i]
        ]
        several = [*known, normal(torch.zeros(3).double(), torch.zeros(3).double())]
        shares = [q.scale**-2 / len(several) for q in several]
        precision = sum(shares)
        mean = sum(share * q.loc for share, q in zip(shares, several, strict=True)) / precision
        dynamic = normal(mean, -precision.log())
        found.append(sum(kl(q, dynamic) for q in several) / len(several))
    return torch.stack(found)


@pytest.mark.parametrize("missing", [False, True])
def test_mmjsd_has_a_dynamic_prior(missing: bool) -> None:  # noqa: FBT001 - a parameter
    """Its divergence takes the KL's place, over what is present; values and gradients are the plain ones."""
    model, x = private_model(resolve_method(TrialConfig(method="mmjsd"), 2), style_dim=0)
    here = torch.tensor([[1, 1, 1, 0, 1], [1, 0, 1, 1, 1]], dtype=torch.bool) | (not missing)
    noise = torch.randn(5, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    draws = Draws(component_B=torch.tensor([0, 0, 1, 1, 0]), noise=noise)
    found = generalized_elbo(model, x, draws, LossWeights(beta=2.5), here if missing else None)
    plain = mmjsd(model, x, here).mean()
    torch.testing.assert_close(found.kl, plain, rtol=1e-12, atol=0)
    fit = sum(found.reconstruction.values())
    torch.testing.assert_close(found.loss, fit + 2.5 * plain, rtol=1e-12, atol=0)
    heads = tuple(model.encoders.parameters())
    for a, b in zip(
        *(torch.autograd.grad(t, heads, retain_graph=True) for t in (found.kl, plain)), strict=True
    ):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


def test_mmjsd_is_no_bound_of_the_log_likelihood() -> None:
    """With one modality and the exact posterior its loss is below -log p(x) by the KL it lacks."""
    heads = TwoHeads(1, 1)
    for layer, weight, bias in ((heads.mu, 0.8, 0.0), (heads.logvar, 0.0, math.log(0.2))):
        nn.init.constant_(layer.weight, weight)
        nn.init.constant_(layer.bias, bias)
    method = resolve_method(TrialConfig(method="mmjsd"), 1)
    model, n = MoPoE({"a": Modality(heads, nn.Identity(), Normal(0.5))}, 1, method).double(), 20_000
    x = {"a": torch.full((n, 1), 1.0, dtype=torch.float64)}
    noise = torch.randn(n, 1, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    draws = Draws(component_B=torch.zeros(n, dtype=torch.int64), noise=noise)
    found = generalized_elbo(model, x, draws, LossWeights(beta=1.0)).summed(1)
    # q = N(0.8, 0.2) and p = N(0, 1) have the geometric mean N(2/3, 1/3).
    to_mean, of_prior = (0.2 + (0.8 - 2 / 3) ** 2) * 3 - 1 - math.log(0.6), (1 + 4 / 9) * 3 - 1 - math.log(3)
    divergence = (to_mean + of_prior) / 4
    own = (0.2 + 0.8**2 - 1 - math.log(0.2)) / 2
    truth = -float(torch.distributions.Normal(0.0, 1.25**0.5).log_prob(torch.tensor(1.0)))
    assert float(found.kl) == pytest.approx(divergence, rel=1e-6)
    assert float(found.loss) == pytest.approx(truth - own + divergence, abs=0.02)
    assert divergence < own - 0.1


@pytest.mark.parametrize(("scale", "bound"), [(1.0, True), (0.1, False)])
@pytest.mark.parametrize("estimator", ["elbo", "iwae"])
def test_mmvae_plus_is_a_bound_if_the_auxiliary_prior_is_the_prior(
    estimator: str,
    scale: float,
    bound: bool,  # noqa: FBT001 - a parameter
) -> None:
    """x_m = z + w_m + noise of scale 1/2, both 0, q(z | x_m) = N(0, 1/9) and q(w_m | x_m) = N(0, 1/5).

    The loss is in closed form. With w of the other modality from N(0, 1) it is above -log p(X), but with one
    from N(0, 0.1^2) below: that other model explains the data better.
    """
    heads = TwoHeads(1, 2)
    for layer, bias in ((heads.mu, (0.0, 0.0)), (heads.logvar, (math.log(1 / 9), math.log(1 / 5)))):
        nn.init.zeros_(layer.weight)
        layer.bias.data.copy_(torch.tensor(bias))
    total = nn.Linear(2, 1, bias=False)
    nn.init.ones_(total.weight)
    parts = {name: Modality(heads, total, Normal(0.5)) for name in "ab"}
    method = resolve_method(TrialConfig(method="moe", style_dim=1, style_outside="auxiliary"), 2)
    model, n = MoPoE(parts, 1, method, style_dim=1).double(), 40_000
    assert model.auxiliary_log_scale_MW is not None
    nn.init.constant_(model.auxiliary_log_scale_MW, math.log(scale))
    rng = torch.Generator().manual_seed(2)
    x = {name: torch.zeros(n, 1, dtype=torch.float64) for name in "ab"}
    noise, private = (torch.randn(shape, generator=rng, dtype=torch.float64) for shape in ((n, 1), (2, n, 1)))
    component_B = torch.arange(n) % 2
    if estimator == "elbo":
        draws = Draws(component_B=component_B, noise=noise, style_MBW=private)
        found = generalized_elbo(model, x, draws, LossWeights(beta=1.0))
    else:  # both modalities have the same posterior, so that the mixture's density is that of one
        draws = Draws(component_B=component_B, noise=noise[None], style_MBW=private)
        found = importance_weighted_bound(model, x, draws, LossWeights(beta=1.0), gradient="iwae")
    kl_z, kl_w = ((v - 1 - math.log(v)) / 2 for v in (1 / 9, 1 / 5))
    loss = math.log(math.pi / 2) + 2 * (1 / 9 + 1 / 5) + 2 * (1 / 9 + scale**2) + kl_z + kl_w
    assert float(found.loss.detach()) == pytest.approx(loss, abs=0.07)
    covariance = torch.tensor([[2.25, 1.0], [1.0, 2.25]], dtype=torch.float64)
    zero = torch.zeros(2, dtype=torch.float64)
    truth = -float(torch.distributions.MultivariateNormal(zero, covariance).log_prob(zero))
    assert loss > truth + 1 if bound else loss < truth - 0.1


def test_private_latents_need_their_noise() -> None:
    """The model says whether there are any, not the noise that is given."""
    model, x = private_model()
    draws = Draws(component_B=torch.full((5,), 2), noise=torch.zeros(5, 3, dtype=torch.float64))
    with pytest.raises(AssertionError, match="there are private latents, but no noise for them"):
        generalized_elbo(model, x, draws, LossWeights(beta=1.0))
    plain, x = private_model(style_dim=0)
    more = replace(draws, style_MBW=torch.ones(2, 5, 2, dtype=torch.float64))
    losses = [generalized_elbo(plain, x, d, LossWeights(beta=1.0)).loss for d in (draws, more)]
    assert torch.equal(*losses)


def test_learned_weights_follow_their_gradient() -> None:
    """The loss is that of fixed weights softmax(logits) minus their entropy; so is the logits' gradient."""
    model, x = private_model(MethodSpec(learned_weights=True), style_dim=0)
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
            MethodSpec(subset_weights=tuple(pi.tolist())),
        ).double()
        entropy = -float((pi * pi.log()).sum())
        return float(generalized_elbo(fixed, x, draws, LossWeights(beta=2.0)).loss.detach()) - 3.0 * entropy

    loss = generalized_elbo(model, x, draws, LossWeights(beta=2.0, entropy=3.0)).loss
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
    model, x = private_model(MethodSpec(subset_weights=(0.5, 0.5, 0.0), mixture_of_experts=True), style_dim=0)
    q = model.encode(x)
    pick = torch.tensor([[0.9] * 5, [0.1] * 5, [0.0, 0.49, 0.51, 0.99, 0.2]])
    mu, precision = picked_posteriors(model, q, pick)
    chosen = [[0] * 5, [1] * 5, [0, 0, 1, 1, 0]]
    for s, row in enumerate(chosen):
        for b, m in enumerate(row):
            assert torch.equal(mu[s, b], q.mu_MBZ[m, b])
            assert torch.equal(precision[s, b], q.precision_MBZ[m, b])
    product_mu, _ = picked_posteriors(model, q, None)
    assert not torch.allclose(product_mu[2], mu[2])


@pytest.mark.parametrize("all_at_once", [False, True])
def test_a_sample_that_no_subset_of_the_mixture_has_is_trained_on_the_full_set(all_at_once: bool) -> None:  # noqa: FBT001 - a parameter
    """With all weight on a, a sample of b alone has the loss of a model of b, its KL included."""
    method = MethodSpec(subset_weights=(1.0, 0.0, 0.0), prior_expert="none")
    model, x = private_model(method, style_dim=0)
    part = Modality(model.encoders["b"], model.decoders["b"], model.likelihood("b"))
    alone = MoPoE({"b": part}, 3, MethodSpec(prior_expert="none")).double()
    here = torch.tensor([[False], [True]]).expand(2, 5)
    noise_ABZ = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    draws = Draws(component_B=torch.full((5,), 2), noise=noise_ABZ[1])
    if all_at_once:
        draws = Draws(component_B=None, noise=noise_ABZ)
    found = generalized_elbo(model, x, draws, LossWeights(beta=2.0), here)
    own = Draws(component_B=torch.zeros(5, dtype=torch.int64), noise=noise_ABZ[1])
    expected = generalized_elbo(alone, {"b": x["b"]}, own, LossWeights(beta=2.0))
    torch.testing.assert_close(found.loss, expected.loss, rtol=1e-12, atol=0)
    torch.testing.assert_close(found.kl, expected.kl, rtol=1e-12, atol=0)
    assert found.kl.item() > 0


def test_mvtcae_is_finite_where_a_modality_is_missing_and_the_other_certain() -> None:
    """In float32, at the smallest variance that a setting may start with."""
    method = MethodSpec(subset_weights=(0.0, 0.0, 1.0), prior_expert="none", tc_ratio=0.4)
    model, x = private_model(method, style_dim=0)
    for encoder in model.encoders.values():
        nn.init.constant_(encoder.logvar.bias, -20.0)
    here = torch.tensor([[True], [False]]).expand(2, 5)
    draws = Draws(component_B=torch.full((5,), 2), noise=torch.zeros(5, 3))
    x32 = {name: values.float() for name, values in x.items()}
    loss = generalized_elbo(model.float(), x32, draws, LossWeights(beta=1.0), here).loss
    loss.backward()
    assert torch.isfinite(loss)
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
