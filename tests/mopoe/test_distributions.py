"""Products of experts, KLs and densities against brute force, plain loops and `torch.distributions`."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor
from torch.distributions import Categorical, Independent, Laplace, MixtureSameFamily, Normal, kl_divergence

from mopoe.distributions import (
    GAUSSIAN,
    LAPLACE,
    chosen_product,
    kl_between,
    membership,
    product_of_experts,
)
from mopoe.runtime import at_least_float32
from mopoe.subsets import subset_masks


def experts(m: int, b: int = 4, z: int = 3, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return random means and precisions [M, B, Z] in float64, precisions over four orders of magnitude."""
    rng = torch.Generator().manual_seed(seed)
    mu = torch.randn(m, b, z, generator=rng, dtype=torch.float64)
    return mu, torch.exp(3 * torch.randn(m, b, z, generator=rng, dtype=torch.float64))


def prior_of(masks: tuple[int, ...], which: str) -> Tensor:
    """Return 1 for the subsets whose product includes the prior."""
    chosen = {"none": (), "all": masks, "full": masks[-1:]}[which]
    return torch.tensor([1.0 if mask in chosen else 0.0 for mask in masks], dtype=torch.float64)


def test_membership_is_the_bits_of_the_masks() -> None:
    """Row s holds 1 for the modalities whose bit is set in mask s."""
    assert membership((1, 2, 4, 6, 7), 3).tolist() == [
        [1, 0, 0],
        [0, 1, 0],
        [0, 0, 1],
        [0, 1, 1],
        [1, 1, 1],
    ]


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
    mu_S, precision_S = product_of_experts(
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
    ours = product_of_experts(mu, precision, membership(masks, m).double(), prior)
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


@pytest.mark.parametrize("m", [1, 2, 5])
def test_the_chosen_product_is_the_row_of_all_products(m: int) -> None:
    """One product per sample equals gathering from every subset's product, gradients included."""
    masks = subset_masks(m)
    members, prior = membership(masks, m).double(), prior_of(masks, "full")
    mu, precision = (t.requires_grad_() for t in experts(m, b=9))
    component = torch.randint(0, len(masks), (9,), generator=torch.Generator().manual_seed(2))
    component[-1] = len(masks) - 1
    ours = chosen_product(mu, precision, members[component], prior[component])
    gathered = [t[component, torch.arange(9)] for t in product_of_experts(mu, precision, members, prior)]
    weight = torch.randn(ours[0].shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for a, b in zip(ours, gathered, strict=True):
        torch.testing.assert_close(a, b, atol=0, rtol=1e-12)
    gradients = [
        torch.autograd.grad((means * weight).sum() + (precisions.log() * weight).sum(), (mu, precision))
        for means, precisions in (ours, gathered)
    ]
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, atol=1e-12, rtol=1e-10)


def test_the_order_of_experts_does_not_matter() -> None:
    """A product of experts is the same whichever modality comes first."""
    mu, precision = experts(3)
    ones, none = torch.ones(1, 3, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    for a, b in zip(
        product_of_experts(mu, precision, ones, none),
        product_of_experts(mu.flip(0), precision.flip(0), ones, none),
        strict=True,
    ):
        torch.testing.assert_close(a, b, atol=0, rtol=1e-13)


def test_kl_equals_that_of_torch_distributions() -> None:
    """KL(N(mu, 1/precision) || N(0, I)) is summed over the latent axis and zero for the prior itself."""
    mu, precision = experts(5)
    expected = kl_divergence(Normal(mu, precision**-0.5), Normal(torch.zeros_like(mu), torch.ones_like(mu)))
    torch.testing.assert_close(GAUSSIAN.kl_to_prior(mu, precision), expected.sum(-1), atol=1e-12, rtol=1e-12)
    assert GAUSSIAN.kl_to_prior(torch.zeros(2, 4), torch.ones(2, 4)).tolist() == [0.0, 0.0]


def test_kl_between_two_gaussians_equals_that_of_torch_distributions() -> None:
    """Summed over the latent axis, zero between equals, and the KL to the prior where p is the prior."""
    (mu_q, mu_p), (precision_q, precision_p) = (t[:2] for t in experts(5))
    expected = kl_divergence(Normal(mu_q, precision_q**-0.5), Normal(mu_p, precision_p**-0.5)).sum(-1)
    found = kl_between(mu_q, precision_q, mu_p, precision_p)
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=1e-12)
    assert float(kl_between(mu_q, precision_q, mu_q, precision_q).abs().max()) == 0
    prior = kl_between(mu_q, precision_q, torch.zeros_like(mu_q), torch.ones_like(mu_q))
    torch.testing.assert_close(prior, GAUSSIAN.kl_to_prior(mu_q, precision_q), atol=1e-12, rtol=1e-12)


def test_the_prior_expert_may_differ_by_sample() -> None:
    """Rows of ones and zeros give, column by column, the products with and without it."""
    mu, precision = experts(2)
    members = membership(subset_masks(2), 2).double()
    n = mu.shape[1]
    own = (torch.arange(n) % 2).double().expand(3, n)
    found = product_of_experts(mu, precision, members, own)
    for value in (0.0, 1.0):
        plain = product_of_experts(mu, precision, members, torch.full((3,), value, dtype=torch.float64))
        for a, b in zip(found, plain, strict=True):
            assert torch.equal(a[:, own[0] == value], b[:, own[0] == value])


def test_the_prior_density_equals_that_of_torch_distributions() -> None:
    """Log N(z; 0, I) is summed over the latent axis."""
    z = torch.randn(6, 2, 7, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    torch.testing.assert_close(
        GAUSSIAN.log_prior(z), Normal(0.0, 1.0).log_prob(z).sum(-1), atol=1e-12, rtol=1e-12
    )
    assert GAUSSIAN.log_prior(torch.zeros(1, 2)).item() == pytest.approx(-math.log(2 * math.pi), abs=1e-6)


def mixture(mu_SBZ: Tensor, precision_SBZ: Tensor, weights_S: Tensor) -> MixtureSameFamily:
    """Return torch's mixture over subsets, one per sample."""
    components = Independent(Normal(mu_SBZ.transpose(0, 1), precision_SBZ.transpose(0, 1) ** -0.5), 1)
    return MixtureSameFamily(Categorical(weights_S.expand(mu_SBZ.shape[1], -1)), components)


@pytest.mark.parametrize("z_dim", [1, 4, 64])
def test_the_mixture_density_equals_that_of_torch_distributions(z_dim: int) -> None:
    """Densities at points near and far agree with MixtureSameFamily, unequal weights included."""
    mu, precision = experts(3, b=5, z=z_dim)
    weights = torch.tensor([0.7, 0.05, 0.25], dtype=torch.float64)
    z = 2 * torch.randn(5, 6, z_dim, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    expected = mixture(mu, precision, weights).log_prob(z.transpose(0, 1)).t()
    torch.testing.assert_close(
        GAUSSIAN.log_mixture(z, mu, precision, weights), expected, atol=1e-9, rtol=1e-10
    )


@pytest.mark.parametrize("precision", [1e3, 1e6])
def test_the_mixture_density_is_exact_for_sharp_components_in_float32(precision: float) -> None:
    """512 dimensions at high precision: the density of float32 inputs is that of float64 arithmetic."""
    rng = torch.Generator().manual_seed(6)
    mu = torch.randn(3, 4, 512, generator=rng)
    precisions = torch.full_like(mu, precision) * torch.rand(mu.shape, generator=rng).add(0.5)
    z = (mu[1] + torch.randn(4, 512, generator=rng) * precisions[1].rsqrt())[:, None]
    weights = torch.full((3,), 1 / 3, dtype=torch.float64)
    expected = mixture(mu.double(), precisions.double(), weights).log_prob(z.double().transpose(0, 1)).t()
    found = GAUSSIAN.log_mixture(z, mu, precisions, weights)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, expected, atol=1e-5 * precision**0.5, rtol=0)


def test_a_component_of_weight_zero_does_not_count() -> None:
    """The density is that of the other components, not NaN and not minus infinity."""
    mu, precision = experts(3)
    z = torch.zeros(4, 2, 3, dtype=torch.float64)
    some = GAUSSIAN.log_mixture(z, mu, precision, torch.tensor([0.0, 0.4, 0.6], dtype=torch.float64))
    rest = GAUSSIAN.log_mixture(z, mu[1:], precision[1:], torch.tensor([0.4, 0.6], dtype=torch.float64))
    torch.testing.assert_close(some, rest, atol=1e-12, rtol=1e-12)


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
        every = product_of_experts(mu, precision, members_, prior_)
        return [every, chosen_product(mu, precision, members_[component], prior_[component])]

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


def test_the_kl_of_one_dimension_is_accurate_from_minus_20_to_20() -> None:
    """Relative 1e-6 where the log-variance is beyond 1, absolute 2e-7 nats near the prior."""
    logvar = torch.linspace(-20, 20, 40_001)
    found = GAUSSIAN.kl_to_prior(torch.zeros(40_001, 1), torch.exp(-logvar)[:, None]).double()
    exact = 0.5 * (torch.expm1(logvar.double()) - logvar.double())
    torch.testing.assert_close(found, exact, atol=2e-7, rtol=1e-6)


def test_half_precision_becomes_float32_and_nothing_else_does() -> None:
    """What an encoder puts out under autocast is computed on in float32; float64 stays."""
    kinds = (torch.bfloat16, torch.float16, torch.float32, torch.float64)
    found = [at_least_float32(torch.ones(1, dtype=kind)).dtype for kind in kinds]
    assert found == [torch.float32, torch.float32, torch.float32, torch.float64]
    mu, precision = (torch.rand(3, 4, 2, generator=torch.Generator().manual_seed(8)) for _ in range(2))
    mu, precision = mu.bfloat16(), precision.bfloat16()
    torch.testing.assert_close(
        GAUSSIAN.kl_to_prior(mu, precision),
        GAUSSIAN.kl_to_prior(mu.float(), precision.float()),
        atol=0,
        rtol=0,
    )
    for product in (product_of_experts, chosen_product):
        members, prior = torch.ones(4, 3), torch.ones(4)
        found = product(mu, precision, members, prior)
        torch.testing.assert_close(
            found, product(mu.float(), precision.float(), members, prior), atol=0, rtol=0
        )


def test_the_density_of_a_narrow_posterior_is_exact() -> None:
    """At a precision of 7.1e23, in float32 as encoders give it, an expanded square is off by 0.4 %."""
    z, mu, precision = (torch.tensor([[[v]]], dtype=torch.float32) for v in (48.50001, 48.5, 7.1e23))
    distance = float(z.double() - mu.double())
    expected = (
        0.5 * (math.log(float(precision)) - math.log(2 * math.pi)) - 0.5 * float(precision) * distance**2
    )
    assert float(GAUSSIAN.log_mixture(z, mu, precision, torch.ones(1))) == pytest.approx(expected, rel=1e-12)
    assert expected == pytest.approx(-4.6493e13, rel=1e-4)


def test_an_exact_draw_is_where_its_density_says() -> None:
    """Of (z - mu) sqrt(precision) the mean square is 1 in float64, and 0 once z is rounded to float32."""
    noise = torch.randn(1, 1000, 1, generator=torch.Generator().manual_seed(0))
    mu, precision = torch.full((1, 1, 1), 48.5), torch.full((1, 1, 1), 1e15)
    exact = GAUSSIAN.draw_float64(mu, precision, noise)
    assert float(((exact - 48.5).square() * 1e15).mean()) == pytest.approx(
        float(noise.double().square().mean()), rel=1e-6
    )
    rounded = GAUSSIAN.draw(mu, precision, noise)
    assert float(((rounded.double() - 48.5).square() * 1e15).mean()) == 0


def test_normal_noise_becomes_laplace_noise_of_the_same_probability() -> None:
    """Equal to SciPy's quantile in the body, symmetric, and finite where a probability would round to 1."""
    noise = torch.linspace(-6, 6, 41, dtype=torch.float64)
    expected = torch.from_numpy(stats.laplace.ppf(stats.norm.cdf(noise.numpy())))
    torch.testing.assert_close(LAPLACE.standard(noise), expected, rtol=1e-6, atol=1e-12)
    torch.testing.assert_close(LAPLACE.standard(-noise), -LAPLACE.standard(noise))
    far = LAPLACE.standard(torch.tensor([-30.0, 30.0]))
    assert far.tolist() == pytest.approx([-454.3212 + 0.6931, 454.3212 - 0.6931], abs=1e-2)


def test_the_divergence_is_the_closed_form() -> None:
    """Over means from -30 to 30 and log-scales from -9 to 9, in float32 and against float64."""
    mu, log_scale = torch.meshgrid(torch.linspace(-30, 30, 13), torch.linspace(-9, 9, 19), indexing="ij")
    mu, scale = mu.reshape(-1, 1).double(), log_scale.reshape(-1, 1).double().exp()
    standard = Laplace(torch.zeros_like(mu), torch.ones_like(mu))
    expected = kl_divergence(Laplace(mu, scale), standard).sum(1)
    torch.testing.assert_close(LAPLACE.kl_to_prior(mu, scale**-2), expected, rtol=1e-12, atol=1e-12)
    single = LAPLACE.kl_to_prior(mu.float(), (scale**-2).float())
    torch.testing.assert_close(single.double(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("own", [False, True])
def test_the_mixtures_density_is_the_sum_of_its_components(own: bool) -> None:  # noqa: FBT001 - a parameter
    """With weights for all samples, and with each sample's own, one of them zero."""
    rng = torch.Generator().manual_seed(0)
    mu, scale = torch.randn(3, 4, 2, generator=rng), torch.rand(3, 4, 2, generator=rng) + 0.1
    z = torch.randn(4, 5, 2, generator=rng)
    weights = torch.tensor([0.2, 0.8, 0.0])
    if own:
        weights = torch.stack([weights.roll(b) for b in range(4)], 1)
    density = Laplace(mu[:, :, None].double(), scale[:, :, None].double()).log_prob(z.double()).sum(-1).exp()
    share = weights[:, None, None] if weights.dim() == 1 else weights[:, :, None]
    found = LAPLACE.log_mixture(z, mu, scale**-2, weights)
    torch.testing.assert_close(found, (share * density).sum(0).log(), rtol=1e-5, atol=1e-5)
    assert found.dtype == torch.float64


def test_the_prior_is_the_standard_member() -> None:
    """Two latents: -|z1| - |z2| - 2 log 2."""
    z = torch.tensor([[0.5, -2.0]])
    expected = Laplace(torch.zeros(2), torch.ones(2)).log_prob(z).sum(1)
    torch.testing.assert_close(LAPLACE.log_prior(z), expected)
