"""The importance-weighted bound against loops and an exact log p(X); its two gradients against each other."""

import math
from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Laplace as LaplaceDensity
from torch.distributions import Normal as NormalDensity

from mopoe.distributions import GAUSSIAN, LAPLACE
from mopoe.elbo import Draws, LossWeights, importance_weighted_bound
from mopoe.likelihoods import Normal
from mopoe.methods import MethodSpec
from mopoe.model import MoPoE
from mopoe.networks.base import Modality

MOE = {"subset_weights": (0.5, 0.5, 0.0), "mixture_of_experts": True}
FACTORS = {"a": 2.0, "b": 1.0}
STYLE = (0.5, 3.0)


class Heads(nn.Module):
    """A linear encoder with two heads."""

    def __init__(self, d: int, width: int) -> None:
        super().__init__()
        self.mu, self.logvar = nn.Linear(d, width), nn.Linear(d, width)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log-variance."""
        return self.mu(x), self.logvar(x)


def small(method: dict[str, Any], style_dim: int = 0) -> MoPoE:
    """Return a model in float64 of two vectors, with two shared latents."""
    torch.manual_seed(3)
    width = 2 + style_dim
    parts = {
        name: Modality(Heads(d, width), nn.Linear(width, d), Normal(0.7)) for name, d in (("a", 3), ("b", 4))
    }
    return MoPoE(parts, 2, MethodSpec(**method), style_dim=style_dim).double()


def batch(
    n: int, k: int, rows: int = 1, style_dim: int = 0, seed: int = 0
) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """Return n samples, noise [K, (rows,) B, 2] and style noise [2, K rows B, W]."""
    rng = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, generator=rng, dtype=torch.float64)  # noqa: E731 - short
    x = {"a": draw(n, 3), "b": draw(n, 4)}
    noise = draw(k, n, 2) if rows == 1 else draw(k, rows, n, 2)
    return x, noise, draw(2, k * rows * n, style_dim)


def plain_log_weights(
    model: MoPoE, x: dict[str, Tensor], draws: Draws, family: str, *, frozen: bool
) -> list[Tensor]:
    """Return log w_k [K] of every sample at beta 1.7; frozen densities have no gradient."""
    assert draws.component_B is not None
    density = LaplaceDensity if family == "laplace" else NormalDensity
    shape = (LAPLACE if family == "laplace" else GAUSSIAN).standard
    k, n, _ = draws.noise.shape
    scale, zero, one = torch.tensor([0.7, 0.0, 1.0], dtype=torch.float64)
    standard = density(zero, one)
    q = {name: model.encoders[name](x[name]) for name in "ab"}
    known = {name: [t.detach() if frozen else t for t in parts] for name, parts in q.items()}
    found = []
    for b in range(n):
        log_w = []
        for i in range(k):
            mu, logvar = q["ab"[int(draws.component_B[b])]]
            z = mu[b, :2] + (logvar[b, :2] / 2).exp() * shape(draws.noise[i, b])
            at_z = [density(m[b, :2], (v[b, :2] / 2).exp()).log_prob(z).sum() for m, v in known.values()]
            value = 1.7 * (standard.log_prob(z).sum() - torch.stack(at_z).exp().mean().log())
            for m, name in enumerate("ab"):
                w = z[:0]
                if model.auxiliary_log_scale_MW is not None and m != int(draws.component_B[b]):
                    assert draws.style_MBW is not None
                    w = model.auxiliary_log_scale_MW[m].exp() * shape(draws.style_MBW[m, i * n + b])
                elif draws.style_MBW is not None:
                    mu, logvar = (t[b, 2:] for t in q[name])
                    w = mu + (logvar / 2).exp() * shape(draws.style_MBW[m, i * n + b])
                    mu, logvar = (t[b, 2:] for t in known[name])
                    own = density(mu, (logvar / 2).exp()).log_prob(w)
                    value = value + 1.7 * STYLE[m] * (standard.log_prob(w) - own).sum()
                mean = model.decoders[name](torch.cat([z, w]))
                value = value + FACTORS[name] * NormalDensity(mean, scale).log_prob(x[name][b]).sum()
            log_w.append(value)
        found.append(torch.stack(log_w))
    return found


def divergence(model: MoPoE, x: dict[str, Tensor], family: str) -> Tensor:
    """Return the mean KL of both modalities' shared latents plus that of all private ones.

    With an auxiliary prior a modality's private ones count by the weight of its subset.
    """
    paid = 0.5 if model.method.auxiliary_prior else 1.0
    density = LaplaceDensity if family == "laplace" else NormalDensity
    total = torch.zeros((), dtype=torch.float64)
    for name in "ab":
        mu, logvar = model.encoders[name](x[name])
        q = density(mu, (logvar / 2).exp())
        kl_BD = torch.distributions.kl_divergence(q, density(torch.zeros_like(mu), torch.ones_like(mu)))
        total = total + (0.5 * kl_BD[:, :2].sum(1) + paid * kl_BD[:, 2:].sum(1)).mean()
    return total


@pytest.mark.parametrize("family", ["gaussian", "laplace"])
@pytest.mark.parametrize(("style_dim", "auxiliary"), [(0, False), (1, False), (1, True)])
def test_the_bound_and_its_gradients_are_those_of_a_plain_loop(
    family: str,
    style_dim: int,
    auxiliary: bool,  # noqa: FBT001 - a parameter
) -> None:
    """DReG weighs the path of each latent, densities frozen, by the square of its share.

    The scale of an auxiliary prior is in no density, and its gradient is the plain one.
    """
    model = small(MOE | {"posterior": family, "auxiliary_prior": auxiliary}, style_dim)
    if auxiliary:
        assert model.auxiliary_log_scale_MW is not None
        model.auxiliary_log_scale_MW.data.copy_(torch.tensor([[0.4], [-0.3]]))
    x, noise, style_noise = batch(3, 4, style_dim=style_dim)
    style = style_noise if style_dim else None
    draws = Draws(component_B=torch.tensor([0, 1, 1]), noise=noise, style_MBW=style)
    weights = LossWeights(beta=1.7, likelihood=FACTORS, style=STYLE)
    encoders = tuple(model.encoders.parameters())
    plain = plain_log_weights(model, x, draws, family, frozen=False)
    loss = -torch.stack([torch.logsumexp(w_K, 0) - math.log(4) for w_K in plain]).mean()
    frozen = plain_log_weights(model, x, draws, family, frozen=True)
    squared = -torch.stack([(torch.softmax(w_K.detach(), 0) ** 2 * w_K).sum() for w_K in frozen]).mean()
    for kind, surrogate in (("iwae", loss), ("dreg", squared)):
        found = importance_weighted_bound(model, x, draws, weights, gradient=kind)
        torch.testing.assert_close(found.loss, loss, rtol=1e-12, atol=0)
        torch.testing.assert_close(found.kl, divergence(model, x, family), rtol=1e-12, atol=0)
        ours, theirs = (torch.autograd.grad(v, encoders, retain_graph=True) for v in (found.loss, surrogate))
        for a, b in zip(ours, theirs, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)
        if (scale := model.auxiliary_log_scale_MW) is not None:
            again = importance_weighted_bound(model, x, draws, weights, gradient=kind).loss
            (a,), (b,) = (torch.autograd.grad(v, scale, retain_graph=True) for v in (again, loss))
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)


def test_all_subsets_at_once_are_the_mean_over_every_way_to_draw() -> None:
    """Two samples and three subsets have nine pairs of components; noise alike for all subsets."""
    model = small({"subset_weights": (0.1, 0.2, 0.7)})
    x, noise, _ = batch(2, 3)
    weights = LossWeights(beta=1.0)
    draws = Draws(component_B=None, noise=noise[:, None].expand(3, 3, 2, 2))
    every = importance_weighted_bound(model, x, draws, weights, gradient="iwae")
    mean = sum(
        model.weights_S[a]
        * model.weights_S[b]
        * importance_weighted_bound(
            model, x, Draws(component_B=torch.tensor([a, b]), noise=noise), weights, gradient="iwae"
        ).loss
        for a, b in product(range(3), repeat=2)
    )
    torch.testing.assert_close(every.loss, mean, rtol=1e-10, atol=0)


def exact(shift: Tensor, k: int, gradient: str, seed: int = 0) -> tuple[Tensor, float]:
    """Return the bound's loss for x = z + noise of scale 0.5, the exact posterior moved, and log p(x)."""

    class Encoder(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return 0.8 * x + shift, torch.full_like(x, 0.2).log()

    model = MoPoE({"x": Modality(Encoder(), nn.Identity(), Normal(0.5))}, 1, MethodSpec(prior_expert="none"))
    x = torch.full((500, 1), 0.7, dtype=torch.float64)
    noise = torch.randn(k, 500, 1, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    draws = Draws(component_B=torch.zeros(500, dtype=torch.int64), noise=noise)
    weights = LossWeights(beta=1.0)
    terms = importance_weighted_bound(model.double(), {"x": x}, draws, weights, gradient=gradient)
    return terms.loss, float(NormalDensity(0.0, 1.25**0.5).log_prob(x[0]))


def test_with_the_exact_posterior_the_bound_is_log_p_for_any_k() -> None:
    """Every weight is then p(x) itself."""
    for k in (1, 7):
        loss, log_p = exact(torch.zeros(1), k, "iwae")
        assert -float(loss) == pytest.approx(log_p, abs=1e-6)


def test_the_bound_rises_to_log_p_with_k() -> None:
    """With a moved posterior: below at K = 1 by shift^2 / 0.4, and the gap falls below a tenth at K = 100."""
    losses = [-float(exact(torch.full((1,), 0.6), k, "iwae")[0]) for k in (1, 10, 100)]
    log_p = exact(torch.zeros(1), 1, "iwae")[1]
    assert log_p - losses[0] == pytest.approx(0.9, abs=0.15)
    assert losses[0] < losses[1] < losses[2] < log_p
    assert log_p - losses[2] < 0.09


def test_dreg_has_no_variance_at_the_exact_posterior() -> None:
    """Its gradient is 0 there for every draw, where the plain one is noise (Tucker et al. 2019)."""
    found = {}
    for gradient in ("iwae", "dreg"):
        shift = torch.zeros(1, dtype=torch.float64, requires_grad=True)
        loss, _ = exact(shift, 5, gradient)
        (found[gradient],) = torch.autograd.grad(loss, shift)
    assert abs(float(found["dreg"])) < 1e-6
    assert abs(float(found["iwae"])) > 1e-3


def test_both_gradients_of_one_subset_agree_in_the_mean_and_in_the_decoders() -> None:
    """Equal values and decoder gradients draw by draw; encoder gradients within 5 standard errors."""
    model = small({"subset_weights": (0.0, 0.0, 1.0)}, style_dim=1)
    component = torch.tensor([2, 2])
    encoders, decoders = tuple(model.encoders.parameters()), tuple(model.decoders.parameters())
    differences = []
    for seed in range(400):
        x, noise, style_noise = batch(2, 3, style_dim=1, seed=seed)
        x = batch(2, 3)[0]
        draws = Draws(component_B=component, noise=noise, style_MBW=style_noise)
        iwae, dreg = (
            importance_weighted_bound(model, x, draws, LossWeights(beta=1.0), gradient=kind)
            for kind in ("iwae", "dreg")
        )
        torch.testing.assert_close(iwae.loss, dreg.loss)
        a = torch.autograd.grad(iwae.loss, encoders + decoders)
        b = torch.autograd.grad(dreg.loss, encoders + decoders)
        for ours, theirs in zip(a[len(encoders) :], b[len(encoders) :], strict=True):
            torch.testing.assert_close(ours, theirs)
        differences.append(
            torch.cat([(s - t).flatten() for s, t in zip(a, b[: len(encoders)], strict=False)])
        )
    spread = torch.stack(differences)
    stderr = spread.std(0) / math.sqrt(len(spread))
    assert float(stderr.max()) > 1e-4
    assert bool((spread.mean(0).abs() < 5 * stderr + 1e-12).all())


def test_a_missing_modality_is_as_if_it_were_not_there(modality: Callable[..., Modality]) -> None:
    """Of two modalities one is missing: the bound is that of the other alone."""
    both = small({"prior_expert": "none"})
    alone = MoPoE(
        {"a": Modality(both.encoders["a"], both.decoders["a"], Normal(0.7))},
        2,
        MethodSpec(prior_expert="none"),
    )
    alone = alone.double()
    x, noise, _ = batch(3, 4)
    draws = Draws(component_B=torch.tensor([0, 2, 2]), noise=noise)
    here = torch.tensor([[True] * 3, [False] * 3])
    found = importance_weighted_bound(both, x, draws, LossWeights(beta=2.0), here, gradient="iwae")
    single = Draws(component_B=torch.zeros(3, dtype=torch.int64), noise=noise)
    expected = importance_weighted_bound(alone, {"a": x["a"]}, single, LossWeights(beta=2.0), gradient="iwae")
    torch.testing.assert_close(found.loss, expected.loss)
    assert float(found.reconstruction["b"].detach()) == 0
