"""Aggregations of experts against brute force on grids, plain loops, what defines them, and float64."""

import pytest
import torch
from gaussian_experts import experts, prior_of
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.distributions import Normal

from mopoe.config import Aggregation
from mopoe.distributions import GAUSSIAN, membership
from mopoe.experts import aggregate, aggregate_chosen
from mopoe.subsets import subset_masks

KINDS: tuple[Aggregation, ...] = ("product", "barycentre", "hellinger")


@given(
    mu=st.lists(st.floats(-2, 2), min_size=2, max_size=2),
    sd=st.lists(st.floats(0.3, 2), min_size=2, max_size=2),
    prior=st.booleans(),
)
@settings(max_examples=25, deadline=None)
def test_a_product_is_the_normalised_product_of_densities(
    mu: list[float], sd: list[float], *, prior: bool
) -> None:
    """Multiplying densities on a grid and normalising numerically gives the same density everywhere."""
    grid = torch.linspace(-12, 12, 8001, dtype=torch.float64)
    log_density = sum(Normal(m, s).log_prob(grid) for m, s in zip(mu, sd, strict=True))
    if prior:
        log_density = log_density + Normal(0.0, 1.0).log_prob(grid)
    density = log_density.exp()
    brute = density / torch.trapezoid(density, grid)
    mu_S, precision_S = aggregate(
        "product",
        torch.tensor(mu, dtype=torch.float64).view(2, 1, 1),
        torch.tensor(sd, dtype=torch.float64).view(2, 1, 1) ** -2,
        torch.ones(1, 2, dtype=torch.float64),
        torch.tensor([float(prior)], dtype=torch.float64),
    )
    ours = Normal(mu_S[0, 0, 0], precision_S[0, 0, 0] ** -0.5).log_prob(grid).exp()
    torch.testing.assert_close(ours, brute, atol=1e-6, rtol=1e-6)


def loop_products(mu: Tensor, precision: Tensor, prior: Tensor) -> tuple[Tensor, Tensor]:
    """Return every subset's product one subset at a time."""
    means, precisions = [], []
    for s, mask in enumerate(subset_masks(len(mu))):
        total = torch.zeros_like(mu[0]) + prior[s]
        weighted = torch.zeros_like(mu[0])
        for m in range(len(mu)):
            if mask >> m & 1:
                total = total + precision[m]
                weighted = weighted + precision[m] * mu[m]
        means.append(weighted / total)
        precisions.append(total)
    return torch.stack(means), torch.stack(precisions)


@pytest.mark.parametrize("which", ["none", "full", "all"])
@pytest.mark.parametrize("m", [1, 2, 3, 5])
def test_all_subsets_at_once_equal_a_loop_over_subsets(m: int, which: str) -> None:
    """Values and gradients of the one matrix product are those of the plain loop, in float64."""
    masks = subset_masks(m)
    prior = prior_of(masks, which)
    mu, precision = (t.requires_grad_() for t in experts(m))
    ours = aggregate("product", mu, precision, membership(masks, m).double(), prior)
    plain = loop_products(mu, precision, prior)
    weight = torch.randn(plain[0].shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for a, b in zip(ours, plain, strict=True):
        torch.testing.assert_close(a, b, atol=0, rtol=1e-12)
    gradients = [
        torch.autograd.grad((means * weight).sum() + (precisions.log() * weight).sum(), (mu, precision))
        for means, precisions in (ours, plain)
    ]
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, atol=1e-12, rtol=1e-10)


@pytest.mark.parametrize("how", KINDS)
@pytest.mark.parametrize("m", [1, 2, 5])
def test_the_chosen_posterior_is_the_row_of_all_posteriors(m: int, how: Aggregation) -> None:
    """One posterior per sample equals gathering from every subset's, gradients included."""
    masks = subset_masks(m)
    members, prior = membership(masks, m).double(), prior_of(masks, "full")
    mu, precision = (t.requires_grad_() for t in experts(m, b=9))
    component = torch.randint(0, len(masks), (9,), generator=torch.Generator().manual_seed(2))
    component[-1] = len(masks) - 1
    ours = aggregate_chosen(how, mu, precision, members[component], prior[component])
    gathered = [t[component, torch.arange(9)] for t in aggregate(how, mu, precision, members, prior)]
    weight = torch.randn(ours[0].shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for a, b in zip(ours, gathered, strict=True):
        torch.testing.assert_close(a, b, atol=0, rtol=1e-10)
    gradients = [
        torch.autograd.grad((means * weight).sum() + (precisions.log() * weight).sum(), (mu, precision))
        for means, precisions in (ours, gathered)
    ]
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, atol=1e-10, rtol=1e-8)


@pytest.mark.parametrize("how", KINDS)
def test_the_order_of_experts_does_not_matter(how: Aggregation) -> None:
    """The posterior is the same whichever modality comes first."""
    mu, precision = experts(3)
    ones, none = torch.ones(1, 3, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    for a, b in zip(
        aggregate(how, mu, precision, ones, none),
        aggregate(how, mu.flip(0), precision.flip(0), ones, none),
        strict=True,
    ):
        torch.testing.assert_close(a, b, atol=0, rtol=1e-11)


@pytest.mark.parametrize("how", KINDS)
def test_the_prior_expert_may_differ_by_sample(how: Aggregation) -> None:
    """Rows of ones and zeros give, column by column, the posteriors with and without it."""
    mu, precision = experts(2)
    members = membership(subset_masks(2), 2).double()
    n = mu.shape[1]
    own = (torch.arange(n) % 2).double().expand(3, n)
    found = aggregate(how, mu, precision, members, own)
    for value in (0.0, 1.0):
        plain = aggregate(how, mu, precision, members, torch.full((3,), value, dtype=torch.float64))
        for a, b in zip(found, plain, strict=True):
            assert torch.equal(a[:, own[0] == value], b[:, own[0] == value])


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("which", ["none", "full", "all"])
def test_float32_is_accurate_for_extreme_variances(which: str, *, autocast: bool) -> None:
    """Log-variances of -20 to 20 in one product: 1e-6 of float64, in values and gradients, under bf16 too.

    Means cancel in a weighted sum, so their error is relative to the mean of absolute values.
    """
    masks = subset_masks(5)
    members, prior = membership(masks, 5), prior_of(masks, which)
    rng = torch.Generator().manual_seed(7)
    mu = 3 * torch.randn(5, 31, 64, generator=rng)
    logvar = 40 * torch.rand(5, 31, 64, generator=rng) - 20
    component = torch.arange(31)

    def products(mu: Tensor, logvar: Tensor) -> list[tuple[Tensor, Tensor]]:
        members_, prior_ = members.to(mu.dtype), prior.to(mu.dtype)
        precision = torch.exp(-logvar)
        every = aggregate("product", mu, precision, members_, prior_)
        return [every, aggregate_chosen("product", mu, precision, members_[component], prior_[component])]

    inputs = [mu.requires_grad_(), logvar.requires_grad_()]
    exact_inputs = [t.detach().double().requires_grad_() for t in inputs]
    exact = products(*exact_inputs)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        found = products(*inputs)
        kl = [GAUSSIAN.kl_to_prior(*q) for q in found]
    sizes = products(exact_inputs[0].abs(), exact_inputs[1])
    for (a, p), (exact_a, exact_p), (size, _), k in zip(found, exact, sizes, kl, strict=True):
        assert a.dtype == p.dtype == k.dtype == torch.float32
        assert float(((a - exact_a) / size).detach().abs().max()) < 1e-6
        torch.testing.assert_close(p.double(), exact_p, atol=0, rtol=1e-6)
        exact_k = GAUSSIAN.kl_to_prior(exact_a, exact_p)
        torch.testing.assert_close(k.double(), exact_k, atol=0, rtol=1e-6)
        ours = torch.autograd.grad(k.log().sum(), inputs, retain_graph=True)
        theirs = torch.autograd.grad(exact_k.log().sum(), exact_inputs, retain_graph=True)
        for g, exact_g in zip(ours, theirs, strict=True):
            assert bool(g.isfinite().all())
            torch.testing.assert_close(g.double(), exact_g, atol=1e-5 * float(exact_g.abs().max()), rtol=0)


def grid_pool(mu: list[float], sd: list[float]) -> tuple[float, float]:
    """Return mean and variance of the normalised square of the sum of the roots of densities, on a grid."""
    grid = torch.linspace(-30, 30, 60_001, dtype=torch.float64)
    root = sum(Normal(m, s).log_prob(grid).mul(0.5).exp() for m, s in zip(mu, sd, strict=True))
    density = root**2 / torch.trapezoid(root**2, grid)
    mean = float(torch.trapezoid(density * grid, grid))
    return mean, float(torch.trapezoid(density * (grid - mean) ** 2, grid))


@given(
    mu=st.lists(st.floats(-4, 4), min_size=3, max_size=3),
    sd=st.lists(st.floats(0.2, 3), min_size=3, max_size=3),
    prior=st.booleans(),
)
@settings(max_examples=25, deadline=None)
def test_a_hellinger_pool_has_the_moments_of_the_density(
    mu: list[float], sd: list[float], *, prior: bool
) -> None:
    """Of every subset of three experts, with the prior and without, against the density on a grid."""
    masks = subset_masks(3)
    mu_MBZ, precision_MBZ = (torch.tensor(t, dtype=torch.float64).view(3, 1, 1) for t in (mu, sd))
    own = torch.full((7,), float(prior), dtype=torch.float64)
    found = aggregate("hellinger", mu_MBZ, precision_MBZ**-2, membership(masks, 3).double(), own)
    for mask, mean, precision in zip(masks, *(t.flatten().tolist() for t in found), strict=True):
        members = [m for m in range(3) if mask >> m & 1]
        some = [mu[m] for m in members] + [0.0] * prior, [sd[m] for m in members] + [1.0] * prior
        assert (mean, 1 / precision) == pytest.approx(grid_pool(*some), abs=1e-6, rel=1e-6)


def wasserstein(mu: Tensor, sd: Tensor, other_mu: Tensor, other_sd: Tensor) -> Tensor:
    """Return the squared 2-Wasserstein distance of Gaussians with diagonal covariances."""
    return ((mu - other_mu) ** 2 + (sd - other_sd) ** 2).sum(-1)


@pytest.mark.parametrize("prior", [0.0, 1.0])
def test_a_barycentre_has_the_least_sum_of_wasserstein_distances(prior: float) -> None:
    """To the experts, and the prior if it is one; the sum has its minimum there, and a zero gradient."""
    mu, precision = experts(3)
    given_mu = torch.cat([mu, torch.zeros_like(mu[:1])])[: 3 + int(prior)]
    given_sd = torch.cat([precision**-0.5, torch.ones_like(mu[:1])])[: 3 + int(prior)]
    ones, own = torch.ones(1, 3, dtype=torch.float64), torch.tensor([prior], dtype=torch.float64)
    mean, precision_SBZ = aggregate("barycentre", mu, precision, ones, own)
    place = [mean[0].requires_grad_(), (precision_SBZ[0] ** -0.5).requires_grad_()]
    total = wasserstein(*place, given_mu, given_sd).sum()
    least = float(total.detach())
    assert all(float(g.abs().max()) < 1e-10 for g in torch.autograd.grad(total, place))
    rng = torch.Generator().manual_seed(3)
    for _ in range(20):
        moved = [t.detach() + 0.1 * torch.randn(t.shape, generator=rng, dtype=torch.float64) for t in place]
        assert float(wasserstein(*moved, given_mu, given_sd).sum()) > least


@pytest.mark.parametrize("how", KINDS)
def test_an_expert_that_is_missing_does_not_count(how: Aggregation) -> None:
    """Precision 0 gives the posterior of the others, and finite gradients; of nothing, the prior."""
    mu, precision = experts(3)
    mask = torch.tensor([1.0, 0.0, 1.0], dtype=torch.float64)[:, None, None]
    mu_, precision_ = (mu * mask).requires_grad_(), (precision * mask).requires_grad_()
    rows = torch.tensor([[1.0, 1.0, 1.0], [0.0, 1.0, 0.0]], dtype=torch.float64)
    own = torch.tensor([0.0, 1.0], dtype=torch.float64)
    found = aggregate(how, mu_, precision_, rows, own)
    others = aggregate(how, mu[[0, 2]], precision[[0, 2]], rows[:1, [0, 2]], own[:1])
    for a, b, of_prior in zip(found, others, (0.0, 1.0), strict=True):
        torch.testing.assert_close(a[:1], b, atol=1e-12, rtol=1e-12)
        torch.testing.assert_close(a[1], torch.full_like(a[1], of_prior), atol=1e-12, rtol=1e-12)
    gradients = torch.autograd.grad(
        sum(t.log().sum() if i else t.sum() for i, t in enumerate(found)), (mu_, precision_)
    )
    assert all(bool(g.isfinite().all()) for g in gradients)


@pytest.mark.parametrize("how", ["barycentre", "hellinger"])
def test_one_expert_is_its_own_posterior_and_so_are_equal_ones(how: Aggregation) -> None:
    """Experts that agree give what each says, while a product would be surer."""
    mu, precision = (t.expand(3, -1, -1) for t in experts(1))
    masks = subset_masks(3)
    found = aggregate(how, mu, precision, membership(masks, 3).double(), prior_of(masks, "none"))
    for a, b in zip(found, (mu, precision), strict=True):
        torch.testing.assert_close(a, b[:1].expand_as(a), atol=1e-12, rtol=1e-10)


@pytest.mark.parametrize("how", KINDS)
def test_gradients_are_those_of_differences(how: Aggregation) -> None:
    """Checked by finite differences in float64, for all subsets with the prior in the full one."""
    masks = subset_masks(3)
    members, prior = membership(masks, 3).double(), prior_of(masks, "full")
    mu, logvar = (t.requires_grad_() for t in torch.randn(2, 3, 2, 2, dtype=torch.float64))
    assert torch.autograd.gradcheck(
        lambda m, v: aggregate(how, m, torch.exp(-v), members, prior), (mu, logvar)
    )


@pytest.mark.parametrize("how", ["barycentre", "hellinger"])
def test_float32_is_accurate(how: Aggregation) -> None:
    """Within 1e-4 of float64 for log-variances of -12 to 6 and means far apart: squares nearly cancel."""
    masks, rng = subset_masks(5), torch.Generator().manual_seed(7)
    members, prior = membership(masks, 5), prior_of(masks, "full").float()
    mu, precision = (
        3 * torch.randn(5, 31, 64, generator=rng),
        torch.exp(18 * torch.rand(5, 31, 64, generator=rng) - 6),
    )
    found = aggregate(how, mu, precision, members, prior)
    exact = aggregate(how, mu.double(), precision.double(), members.double(), prior.double())
    assert found[0].dtype == found[1].dtype == torch.float32
    torch.testing.assert_close(found[0].double(), exact[0], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found[1].double(), exact[1], atol=0, rtol=1e-4)
