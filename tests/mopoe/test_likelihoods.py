"""Likelihoods against `torch.distributions`, and the ceiling of the Laplace likelihood."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import distributions

from mopoe.likelihoods import (
    LEAST_SCALE,
    Bernoulli,
    Categorical,
    FeatureNormal,
    Laplace,
    Likelihood,
    NegativeBinomial,
    Normal,
    Poisson,
    feature_likelihood,
)

OUTPUT = 3 * torch.randn(4, 3, 5, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
X = torch.rand(4, 3, 5, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("scale", [0.1, 0.75, 1.0, 3.0])
def test_laplace_equals_torch(scale: float) -> None:
    """The log density is summed over all but the first axis."""
    expected = distributions.Laplace(OUTPUT, scale).log_prob(X).sum((1, 2, 3))
    torch.testing.assert_close(Laplace(scale).log_prob(OUTPUT, X), expected, atol=1e-10, rtol=1e-12)


@pytest.mark.parametrize("scale", [0.1, 0.75, 1.0, 3.0])
def test_normal_equals_torch(scale: float) -> None:
    """The log density is summed over all but the first axis."""
    expected = distributions.Normal(OUTPUT, scale).log_prob(X).sum((1, 2, 3))
    torch.testing.assert_close(Normal(scale).log_prob(OUTPUT, X), expected, atol=1e-10, rtol=1e-12)


def test_bernoulli_equals_torch() -> None:
    """Logits in, log probabilities of values between 0 and 1 out; large logits stay finite."""
    plain = distributions.Bernoulli(logits=OUTPUT, validate_args=False)
    torch.testing.assert_close(
        Bernoulli().log_prob(OUTPUT, X), plain.log_prob(X).sum((1, 2, 3)), atol=1e-10, rtol=1e-12
    )
    hard = Bernoulli().log_prob(torch.tensor([[1e4], [-1e4]]), torch.tensor([[1.0], [1.0]]))
    assert hard.tolist() == [0.0, -1e4]


def test_means_are_those_of_the_distributions() -> None:
    """Laplace and normal return the output itself, Bernoulli the probability."""
    assert torch.equal(Laplace(0.5).mean(OUTPUT), OUTPUT)
    assert torch.equal(Normal(0.5).mean(OUTPUT), OUTPUT)
    torch.testing.assert_close(
        Bernoulli().mean(OUTPUT), distributions.Bernoulli(logits=OUTPUT).mean, atol=0, rtol=1e-12
    )


def test_default_scales() -> None:
    """0.75 is the papers' Laplace scale, 1 the standard normal's."""
    assert (Laplace().scale, Normal().scale) == (0.75, 1.0)


def test_perfect_reconstruction_of_five_images_is_the_ceiling() -> None:
    """At scale 0.75, five 3 x 28 x 28 images reach exactly -11760 ln 1.5 = -4768.3 nats."""
    x = torch.rand(2, 3, 28, 28, generator=torch.Generator().manual_seed(2))
    total = sum(Laplace(0.75).log_prob(x, x) for _ in range(5))
    assert isinstance(total, torch.Tensor)
    assert total.tolist() == pytest.approx([-11760 * math.log(1.5)] * 2, rel=1e-6)
    assert total.tolist() == pytest.approx([-4768.27] * 2, abs=0.01)


@given(seed=st.integers(0, 2**31), spread=st.floats(0, 2))
def test_nothing_is_above_the_ceiling(seed: int, spread: float) -> None:
    """Any other output of the decoder is less likely."""
    rng = torch.Generator().manual_seed(seed)
    x = torch.rand(1, 3, 28, 28, generator=rng)
    output = x + spread * torch.randn(x.shape, generator=rng)
    assert Laplace(0.75).log_prob(output, x).item() <= -2352 * math.log(1.5) + 1e-3


def test_the_contract_has_no_density_of_its_own() -> None:
    """A likelihood without `log_prob` is an error when used; its mean is the output."""
    with pytest.raises(TypeError, match="log_prob"):
        Likelihood()  # type: ignore[abstract] # the point of the test
    assert Laplace().mean(OUTPUT) is OUTPUT


def test_categorical_equals_torch() -> None:
    """Unnormalised log-probabilities over the second axis, one-hot samples, summed over positions."""
    rng = torch.Generator().manual_seed(3)
    output = 3 * torch.randn(4, 7, 5, generator=rng, dtype=torch.float64)
    symbols = torch.randint(0, 7, (4, 5), generator=rng)
    one_hot = torch.nn.functional.one_hot(symbols, 7).transpose(1, 2).double()
    plain = distributions.Categorical(logits=output.transpose(1, 2))
    torch.testing.assert_close(
        Categorical().log_prob(output, one_hot), plain.log_prob(symbols).sum(1), atol=1e-12, rtol=1e-12
    )
    torch.testing.assert_close(
        Categorical().mean(output), plain.probs.transpose(1, 2), atol=1e-14, rtol=1e-12
    )
    # A constant added to all symbols of a position says nothing.
    shifted = Categorical().log_prob(output + 5, one_hot)
    torch.testing.assert_close(shifted, Categorical().log_prob(output, one_hot), atol=1e-12, rtol=1e-12)


def test_categorical_by_hand() -> None:
    """A sure symbol costs nothing, a wrong one its gap of logits, an empty position nothing at all."""
    output = torch.tensor([[[100.0, 0.0], [0.0, 0.0]]])
    sure, wrong, empty = (
        torch.tensor([[[1.0, 0.0], [0.0, 0.0]]]),
        torch.tensor([[[0.0, 0.0], [1.0, 0.0]]]),
        torch.zeros(1, 2, 2),
    )
    found = [Categorical().log_prob(output, x).item() for x in (sure, wrong, empty)]
    assert found == pytest.approx([0.0, -100.0, 0.0], abs=1e-6)


def test_categorical_reads_numbers_of_symbols_as_it_does_one_hot() -> None:
    """The same density to the last digits, whatever kind of whole numbers, over one axis, two or none."""
    rng = torch.Generator().manual_seed(4)
    for axes in ((), (7,), (2, 3)):
        output = torch.randn(5, 6, *axes, dtype=torch.float64, generator=rng)
        x = torch.randint(0, 6, (5, *axes), generator=rng, dtype=torch.int8)
        one_hot = torch.nn.functional.one_hot(x.long(), 6).movedim(-1, 1).double()
        expected = Categorical().log_prob(output, one_hot)
        for numbers in (x, x.long()):
            torch.testing.assert_close(Categorical().log_prob(output, numbers), expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize(
    ("kind", "plain"), [(Laplace, distributions.Laplace), (Normal, distributions.Normal)]
)
def test_a_learned_scale_equals_torch_in_value_and_gradient(kind: type, plain: type) -> None:
    """It starts at the given scale; the log density and its slope in log scale are torch's."""
    likelihood = kind(0.3, learned=True).double()
    (log_scale,) = likelihood.parameters()
    assert float(likelihood.scale.detach()) == pytest.approx(0.3, rel=1e-6)
    reference = log_scale.detach().clone().requires_grad_()
    expected = plain(OUTPUT, reference.exp()).log_prob(X).sum((1, 2, 3))
    found = likelihood.log_prob(OUTPUT, X)
    torch.testing.assert_close(found, expected, atol=1e-10, rtol=1e-12)
    ours, theirs = torch.autograd.grad(found.sum(), log_scale), torch.autograd.grad(expected.sum(), reference)
    torch.testing.assert_close(ours, theirs, atol=1e-8, rtol=1e-10)
    assert list(kind(0.3).parameters()) == []


def test_a_learned_scale_goes_to_the_mean_absolute_error() -> None:
    """The most likely Laplace scale is the mean of |x - output|, the normal one its root mean square."""
    for kind, best in ((Laplace, (X - OUTPUT).abs().mean()), (Normal, (X - OUTPUT).square().mean().sqrt())):
        likelihood = kind(1.0, learned=True).double()
        optimizer = torch.optim.Adam(likelihood.parameters(), lr=0.05)
        for _ in range(300):
            optimizer.zero_grad()
            (-likelihood.log_prob(OUTPUT, X).mean()).backward()
            optimizer.step()
        assert float(likelihood.scale.detach()) == pytest.approx(float(best), rel=1e-3)


@pytest.mark.parametrize(
    "likelihood",
    [Laplace(0.2), Laplace(3.0), Normal(0.1), Normal(2.0), Bernoulli(), Laplace(0.5, learned=True)],
)
def test_the_most_that_a_likelihood_allows(likelihood: Likelihood) -> None:
    """No sample has more, and one that the output fits has it; Bernoulli's at certain outputs."""
    certain = isinstance(likelihood, Bernoulli)
    x = X.round() if certain else X
    best = 100 * (2 * x - 1) if certain else x
    most = likelihood.most(30)
    assert likelihood.log_prob(best, x).tolist() == pytest.approx([most] * 4, abs=1e-9)
    assert (likelihood.log_prob(OUTPUT, x) < most).all()
    assert Categorical().most(30) == 0
    assert Likelihood.most(likelihood, 3) == math.inf


@pytest.mark.parametrize("likelihood", [Laplace(0.2), Normal(0.1), Bernoulli()])
def test_the_best_constant_is_the_best(likelihood: Likelihood) -> None:
    """Of all outputs that are the same for every sample none near it fits better."""
    x = torch.rand(51, 7, generator=torch.Generator().manual_seed(2)).double()
    best = likelihood.constant(x)
    assert best is not None
    assert best.shape == (1, 7)
    at_best = likelihood.log_prob(best.expand_as(x), x).sum()
    for step in (-0.1, -0.01, 0.01, 0.1):
        assert likelihood.log_prob((best + step).expand_as(x), x).sum() < at_best
    assert Categorical().constant(x) is None


COUNTS = torch.tensor([[0.0, 3.0, 12.0], [7.0, 0.0, 250_000.0]])
LOG_RATIO = torch.tensor([[0.3, -1.2, 2.0], [1.0, -30.0, 0.1]])
RATE = torch.tensor([0.5, 4.0, 2e5])


def test_poisson_equals_scipy() -> None:
    """Means are the rates times exp(output); large counts keep their digits in float32."""
    mean = RATE.double().numpy() * np.exp(LOG_RATIO.double().numpy())
    expected = stats.poisson.logpmf(COUNTS.numpy(), mean).sum(1)
    likelihood = Poisson(RATE)
    assert likelihood.log_prob(LOG_RATIO, COUNTS).tolist() == pytest.approx(expected, rel=1e-6)
    assert likelihood.mean(LOG_RATIO).numpy() == pytest.approx(mean, rel=1e-5)


def test_negative_binomial_equals_scipy() -> None:
    """With mean m and size r it is scipy's with n = r and p = r / (r + m)."""
    mean = RATE.double().numpy() * np.exp(LOG_RATIO.double().numpy())
    likelihood = NegativeBinomial(RATE)
    with torch.no_grad():
        likelihood.log_r.copy_(torch.tensor([-1.0, 0.0, 2.0]))
    r = np.exp([-1.0, 0.0, 2.0])
    expected = stats.nbinom.logpmf(COUNTS.numpy(), r, r / (r + mean)).sum(1)
    assert likelihood.log_prob(LOG_RATIO, COUNTS).tolist() == pytest.approx(expected, rel=1e-6)
    assert likelihood.mean(LOG_RATIO).numpy() == pytest.approx(mean, rel=1e-5)


@pytest.mark.parametrize("kind", ["poisson", "negative_binomial"])
@pytest.mark.parametrize("shape", [(4, 3), (2, 2, 3)])
def test_counts_with_a_size_factor_equal_scipy(kind: str, shape: tuple[int, ...]) -> None:
    """Means are shares of the row's total, or of that given if none is known; zeros alone are certain."""
    rng = np.random.default_rng(3)
    x = rng.poisson(rng.gamma(1, 50, shape))
    x[1] = 0
    output, rate = rng.normal(size=shape), rng.gamma(1, 4, shape[1:])
    likelihood = feature_likelihood(kind, torch.tensor(rate).float(), 37.0)  # type: ignore[arg-type]
    flat = (rate * np.exp(output)).reshape(len(x), -1)
    mean = flat / flat.sum(1, keepdims=True) * x.reshape(len(x), -1).sum(1, keepdims=True)
    counts = x.reshape(len(x), -1)
    expected = stats.poisson.logpmf(counts, mean).sum(1)
    if kind == "negative_binomial":
        r = np.exp(0.3)
        with torch.no_grad():
            likelihood.log_r.fill_(0.3)  # type: ignore[union-attr,operator]
        expected = stats.nbinom.logpmf(counts, r, r / (r + mean)).sum(1)
    given = torch.tensor(output).float().requires_grad_()
    found = likelihood.log_prob(given, torch.tensor(x).float())
    assert found.tolist() == pytest.approx(expected, rel=1e-5)
    assert found[1] == expected[1] == 0
    (gradient,) = torch.autograd.grad(found.sum(), given)
    assert gradient.isfinite().all()
    assert not gradient[1].any()
    assert gradient.flatten(1).sum(1).tolist() == pytest.approx(
        [0] * len(x), abs=1e-3
    )  # a shift of all is none
    means = likelihood.mean(given.detach()).flatten(1)
    assert means.numpy() == pytest.approx(37 * flat / flat.sum(1, keepdims=True), rel=1e-5)
    assert likelihood.most(3) == 0


def test_the_best_constant_with_a_size_factor_has_the_shares_of_all_counts() -> None:
    """Rows of more counts weigh more; any other constant is less likely under a Poisson likelihood."""
    x = torch.tensor([[0.0, 3.0, 1.0], [20.0, 90.0, 7.0], [1.0, 4.0, 0.0], [0.0, 0.0, 0.0]])
    likelihood = Poisson(torch.tensor([1.0, 5.0, 2.0]), 10.0)
    best = likelihood.constant(x)
    torch.testing.assert_close(likelihood.mean(best), 10 * x.sum(0, keepdim=True) / x.sum())
    top = likelihood.log_prob(best.expand(4, 3), x).sum()
    for step in torch.cat([torch.eye(3), -torch.eye(3)]) * 0.1:
        assert likelihood.log_prob((best + step).expand(4, 3), x).sum() < top


def test_one_scale_per_feature_equals_scipy() -> None:
    """The log density is summed over features, at most at the mean, and the scale stays above its limit."""
    likelihood = FeatureNormal((3,))
    with torch.no_grad():
        likelihood.log_scale.copy_(torch.tensor([-50.0, 0.0, 1.0]))
    scale = LEAST_SCALE + np.exp([-50.0, 0.0, 1.0])
    x, mean = torch.tensor([[0.01, -2.0, 3.0]]), torch.tensor([[0.0, 1.0, -1.0]])
    expected = stats.norm.logpdf(x.double().numpy(), mean.numpy(), scale).sum(1)
    assert likelihood.log_prob(mean, x).tolist() == pytest.approx(expected, rel=1e-5)
    assert likelihood.log_prob(x, x).item() == pytest.approx(likelihood.most(3), rel=1e-6)


@pytest.mark.parametrize("likelihood", [Poisson(RATE[:2]), NegativeBinomial(RATE[:2]), FeatureNormal((2,))])
def test_the_best_constant_of_features_is_the_best(likelihood: Likelihood) -> None:
    """Any other is less likely, to either side and for each element."""
    x = torch.tensor([[0.0, 3.0], [2.0, 9.0], [1.0, 4.0]])
    best = likelihood.constant(x)
    assert best is not None
    top = likelihood.log_prob(best.expand(3, 2), x).sum()
    for step in ([0.1, 0.0], [-0.1, 0.0], [0.0, 0.1], [0.0, -0.1]):
        assert likelihood.log_prob((best + torch.tensor(step)).expand(3, 2), x).sum() < top
