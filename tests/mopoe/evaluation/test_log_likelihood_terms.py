"""Every log-likelihood against linear models, for which all are known."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from mopoe.data.container import Split
from mopoe.errors import ConfigError
from mopoe.evaluation import log_likelihood as module
from mopoe.evaluation.log_likelihood import conditional_log_likelihood, log_likelihood, proposing
from mopoe.likelihoods import Normal
from mopoe.methods import MethodSpec
from mopoe.model import MoPoE
from mopoe.networks.base import Modality

SCALE = 0.5
NAMES = ("a", "b", "c")
Make = Callable[..., Modality]


def loadings(m: int, style_dim: int) -> tuple[Tensor, Tensor]:
    """Return columns [4, 2] of the shared latents and [4, W] of a private one, all orthogonal to each other.

    The posterior's precision is then diagonal, and the encoders below have it exactly.
    """
    rng = torch.Generator().manual_seed(m)
    q = torch.linalg.qr(torch.randn(4, 4, generator=rng))[0]
    return q[:, :2] * torch.tensor([1.0, 0.6]) * (1 - 0.2 * m), 0.8 * q[:, 2 : 2 + style_dim]


def model_of(modality: Make, *, style_dim: int = 0, shift: float = 0.0) -> MoPoE:
    """Return a model of three vectors; without a shift, and with the prior in all products, it is exact."""

    def part(m: int) -> Modality:
        w, v = loadings(m, style_dim)

        def encode(x: Tensor) -> tuple[Tensor, Tensor]:
            own = (w.square().sum(0) / SCALE**2, v.square().sum(0) / SCALE**2 + 1)
            mu = torch.cat([x @ w / SCALE**2 / own[0], x @ v / SCALE**2 / own[1]], 1)
            return mu + shift, -torch.cat(own).log().expand_as(mu) + shift

        return modality(encode, lambda z: z @ torch.cat([w, v], 1).t(), Normal(SCALE))

    parts = {name: part(m) for m, name in enumerate(NAMES)}
    return MoPoE(parts, 2, MethodSpec(prior_expert="all"), style_dim=style_dim)


def samples(n: int, *, copies: bool = False) -> Split:
    """Return n samples of unit variance, or n copies of the first, each of which gets noise of its own."""
    x = torch.randn(3, 200, 4, generator=torch.Generator().manual_seed(7))
    rows = torch.zeros(n, dtype=torch.long) if copies else torch.arange(n)
    return Split({name: x[m, rows] for m, name in enumerate(NAMES)}, torch.zeros(n))


def exact(split: Split, mask: int, style_dim: int = 0) -> Tensor:
    """Return log p(X_A) = log N(X_A; 0, W W' + V V' + scale^2 I), V V' within each modality alone."""
    chosen = [m for m in range(3) if mask >> m & 1]
    pairs = [loadings(m, style_dim) for m in chosen]
    shared = torch.cat([w for w, _ in pairs]).double()
    own = torch.block_diag(*[v @ v.t() for _, v in pairs]).double()
    covariance = shared @ shared.t() + own + SCALE**2 * torch.eye(len(shared), dtype=torch.float64)
    x = torch.cat([split.x[NAMES[m]] for m in chosen], 1).double()
    return MultivariateNormal(torch.zeros(len(shared), dtype=torch.float64), covariance).log_prob(x)


@pytest.mark.parametrize(("mask", "style_dim"), [(7, 0), (3, 0), (2, 0), (7, 1), (5, 1)])
def test_the_error_falls_with_the_root_of_the_number_of_samples(
    modality: Make, mask: int, style_dim: int
) -> None:
    """Joint and marginal, with private latents or without: towards the closed form, as K^-1/2.

    At K = 128 the mean is below the truth by half the variance of the estimate, within 4 standard errors.
    """
    model, split, n = model_of(modality, style_dim=style_dim, shift=0.15), samples(400, copies=True), 400
    truth, errors = exact(split, mask, style_dim), []
    for k in (8, 32, 128):
        found = log_likelihood(model, split, n, k, 0, observed=mask)
        errors.append(found.log_p_N - truth)
    rms = [float(e.square().mean().sqrt()) for e in errors]
    assert math.log(rms[2] / rms[0]) / math.log(16) == pytest.approx(-0.5, abs=0.1)
    stderr = float(errors[2].std()) / math.sqrt(n)
    assert stderr < 0.02
    assert float(errors[2].mean() + errors[2].var() / 2) == pytest.approx(0.0, abs=4 * stderr)


@pytest.mark.parametrize("style_dim", [0, 1])
@pytest.mark.parametrize("given", [1, 6, 2])
def test_conditionals_converge_to_the_closed_form(modality: Make, given: int, style_dim: int) -> None:
    """All others together and each alone, to 0.1 nats at K = 4000; the worse term's ESS is theirs."""
    model, split = model_of(modality, style_dim=style_dim, shift=0.15), samples(10)
    found = conditional_log_likelihood(model, split, 10, 4000, 0, given)
    marginal = exact(split, given, style_dim)
    expected = exact(split, 7, style_dim) - marginal
    torch.testing.assert_close(found.rest.log_p_N, expected, atol=0.1, rtol=0)
    assert list(found.modalities) == [name for m, name in enumerate(NAMES) if not given >> m & 1]
    for name, one in found.modalities.items():
        expected = exact(split, given | 1 << NAMES.index(name), style_dim) - marginal
        torch.testing.assert_close(one.log_p_N, expected, atol=0.1, rtol=0)
    terms = [log_likelihood(model, split, 10, 4000, 0, observed=a) for a in (7, given)]
    assert torch.equal(found.rest.ess_N, torch.minimum(*(term.ess_N for term in terms)))
    assert torch.equal(found.rest.rise_N, terms[0].rise_N - terms[1].rise_N)


def test_the_error_of_a_conditional_falls_as_that_of_its_terms(modality: Make) -> None:
    """As K^-1/2; at K = 128 its mean is off by at most the worse term's bias, within 4 standard errors."""
    model, split, n = model_of(modality, shift=0.15), samples(300, copies=True), 300
    truth = exact(split, 7) - exact(split, 2)
    errors = [conditional_log_likelihood(model, split, n, k, 0, 2).rest.log_p_N - truth for k in (8, 32, 128)]
    rms = [float(e.square().mean().sqrt()) for e in errors]
    assert math.log(rms[2] / rms[0]) / math.log(16) == pytest.approx(-0.5, abs=0.1)
    terms = [log_likelihood(model, split, n, 128, 0, observed=a).log_p_N for a in (7, 2)]
    worse = max(float(term.var()) / 2 for term in terms)
    assert abs(float(errors[2].mean())) < worse + 4 * float(errors[2].std()) / math.sqrt(n)


@pytest.mark.parametrize(
    ("mask", "style_dim", "shift"), [(7, 0, 0.3), (3, 0, 0.3), (5, 1, 0.3), (7, 0, -0.8)]
)
def test_the_rise_is_what_is_still_missing_where_many_weights_count(
    modality: Make, mask: int, style_dim: int, shift: float
) -> None:
    """At K = 56 its mean is the distance to the closed form, within a fifth and 4 standard errors."""
    model, n = model_of(modality, style_dim=style_dim, shift=shift), 4000
    split = samples(n, copies=True)
    found = log_likelihood(model, split, n, 56, 0, observed=mask)
    missing_N = exact(split, mask, style_dim) - found.log_p_N
    missing, stderr = float(missing_N.mean()), float((missing_N - found.rise_N).std()) / math.sqrt(n)
    assert float(found.ess_N.mean()) > 5
    assert stderr < 0.25 * missing
    assert float(found.rise_N.mean()) == pytest.approx(missing, abs=0.2 * missing + 4 * stderr)


def test_the_rise_is_a_lower_limit_of_what_is_missing_where_one_weight_decides(modality: Make) -> None:
    """Posteriors sharp at a wrong place, with an effective sample size of 2: a sixth of it, but above 0."""
    model, split = model_of(modality, shift=-1.5), samples(2000, copies=True)
    found = log_likelihood(model, split, 2000, 56, 0)
    missing = float((exact(split, 7) - found.log_p_N).mean())
    assert float(found.ess_N.mean()) < 2.5
    assert 0.1 < float(found.rise_N.mean()) / missing < 0.25


@pytest.mark.parametrize("k", [14, 17, 28])
def test_the_mean_rise_is_that_between_independent_estimates(modality: Make, k: int) -> None:
    """From runs with K / 2 (or the two numbers next to it) and K importance samples, within 4.5 errors."""
    model, n = model_of(modality, shift=0.15), 6000
    split = samples(n, copies=True)
    found = log_likelihood(model, split, n, k, 0)
    halves = [log_likelihood(model, split, n, h, 1).log_p_N for h in {k // 2, k - k // 2}]
    less_N, more_N = torch.stack(halves).mean(0), log_likelihood(model, split, n, k, 2).log_p_N
    stderr = math.sqrt(float(found.rise_N.var() + less_N.var() + more_N.var()) / n)
    expected = float((more_N - less_N).mean())
    assert stderr < 0.02
    assert float(found.rise_N.mean()) == pytest.approx(expected, abs=4.5 * stderr)


def test_each_half_is_an_unbiased_estimate_whatever_its_shares(modality: Make) -> None:
    """Of 7 latents from three proposals: the mean of half / p(X) is 1 within 4 standard errors."""
    model, n = model_of(modality, shift=0.3), 12_000
    split = samples(n, copies=True)
    chunks = [halves for _, *halves in module._log_weights(model, split, n, 7, 0, 3)]
    for i, size in ((0, 4), (1, 3)):
        log_w_BH = torch.cat([halves[i] for halves in chunks])
        assert log_w_BH.shape == (n, size)
        ratio_B = (log_w_BH - exact(split, 3)[:, None]).exp().mean(1)
        stderr = float(ratio_B.std()) / math.sqrt(n)
        assert stderr < 0.01
        assert float(ratio_B.mean()) == pytest.approx(1.0, abs=4 * stderr)


def test_the_rise_of_a_sample_by_hand(modality: Make) -> None:
    """Every other latent and its own shares: for K = 2 of one proposal, log-mean-exp less the mean log."""
    model, split = model_of(modality, shift=0.15), samples(5)
    found = log_likelihood(model, split, 5, 2, 0, observed=4)
    log_w_BK, *_ = next(module._log_weights(model, split, 5, 2, 0, 4))
    expected_N = torch.logsumexp(log_w_BK, 1) - math.log(2) - log_w_BK.mean(1)
    torch.testing.assert_close(found.rise_N, expected_N)
    assert bool((expected_N > 0).all())
    assert bool(log_likelihood(model, split, 5, 1, 0, observed=4).rise_N.isnan().all())
    assert bool(log_likelihood(model, split, 5, 13, 0).rise_N.isnan().all())
    assert not bool(log_likelihood(model, split, 5, 14, 0).rise_N.isnan().any())


@pytest.mark.parametrize("style_dim", [0, 1])
@pytest.mark.parametrize("mask", [4, 2])
def test_the_exact_posterior_uses_every_sample(modality: Make, mask: int, style_dim: int) -> None:
    """All weights are then p(x_m): one latent is enough, and the effective sample size is K."""
    model, split = model_of(modality, style_dim=style_dim), samples(6)
    for k in (1, 50):
        found = log_likelihood(model, split, 6, k, 0, observed=mask)
        torch.testing.assert_close(found.log_p_N, exact(split, mask, style_dim), atol=1e-4, rtol=0)
        torch.testing.assert_close(
            found.ess_N, torch.full((6,), float(k), dtype=torch.float64), rtol=1e-6, atol=0
        )


def test_bad_posteriors_have_a_small_effective_sample_size(modality: Make) -> None:
    """A tenth of K and less if all are sharp at a wrong place; between 1 and K always."""
    far, good = (
        log_likelihood(model_of(modality, shift=shift), samples(50), 50, 98, 0).ess_N for shift in (-1.5, 0.0)
    )
    assert float(far.median()) < 10 < float(good.median())
    assert float(far.min()) >= 1
    assert float(good.max()) <= 98


@pytest.mark.parametrize("rows", [1, 50, 4096])
def test_no_result_depends_on_the_size_of_a_chunk(
    modality: Make, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    """Estimates, effective sample sizes and conditionals, up to rounding."""
    model, split = model_of(modality, style_dim=1, shift=0.15), samples(24)

    def all_of_them() -> list[Tensor]:
        joint = log_likelihood(model, split, 24, 13, 0)
        conditional = conditional_log_likelihood(model, split, 24, 13, 0, 1)
        return [joint.log_p_N, joint.ess_N, conditional.rest.log_p_N, conditional.modalities["b"].ess_N]

    before = all_of_them()
    monkeypatch.setattr(module, "ROWS", rows)
    torch.testing.assert_close(all_of_them(), before, atol=1e-4, rtol=0)


def test_the_posteriors_of_all_subsets_of_what_is_observed_are_proposals(modality: Make) -> None:
    """Products too, under a mixture of experts as well; of Laplace posteriors the single modalities alone."""
    parts = {name: modality(lambda x: (x, x), lambda z: z, Normal(SCALE)) for name in NAMES}
    mopoe, moe, laplace = (
        MoPoE(parts, 4, method)
        for method in (
            MethodSpec(),
            MethodSpec(mixture_of_experts=True),
            MethodSpec(posterior="laplace", mixture_of_experts=True),
        )
    )
    assert proposing(mopoe, 7) == proposing(moe, 7) == list(range(7))
    assert [mopoe.masks[s] for s in proposing(mopoe, 6)] == [2, 4, 6]
    assert proposing(laplace, 6) == [1, 2]


def test_laplace_posteriors_are_right_by_quadrature(modality: Make) -> None:
    """One latent with a Laplace prior: joint, marginal and conditional equal sums over a fine grid."""
    w = {"a": torch.tensor([0.9, -0.4]), "b": torch.tensor([0.3, 0.8])}
    parts = {
        name: modality(
            lambda x, v=v: ((x @ v)[:, None], torch.zeros(len(x), 1)), lambda z, v=v: z * v, Normal(SCALE)
        )
        for name, v in w.items()
    }
    model = MoPoE(parts, 1, MethodSpec(posterior="laplace", mixture_of_experts=True))
    split = Split({name: torch.tensor([[0.5, -0.3], [1.2, 0.4]]) for name in w}, torch.zeros(2))
    z = torch.linspace(-30, 30, 60001, dtype=torch.float64)

    def truth(names: str) -> Tensor:
        log_p = (-z.abs() - math.log(2) + math.log(z[1] - z[0]))[:, None]
        for n in names:
            normal = torch.distributions.Normal(z[:, None, None] * w[n].double(), SCALE)
            log_p = log_p + normal.log_prob(split.x[n].double()).sum(-1)
        return torch.logsumexp(log_p, 0)

    joint = log_likelihood(model, split, 2, 20_000, 0)
    torch.testing.assert_close(joint.log_p_N, truth("ab"), atol=0.05, rtol=0)
    one = log_likelihood(model, split, 2, 20_000, 0, observed=2)
    torch.testing.assert_close(one.log_p_N, truth("b"), atol=0.05, rtol=0)
    rest = conditional_log_likelihood(model, split, 2, 20_000, 0, 1).rest
    torch.testing.assert_close(rest.log_p_N, truth("ab") - truth("a"), atol=0.05, rtol=0)


def test_what_is_no_subset_is_refused(modality: Make) -> None:
    """Each in one sentence that says what was found and what is possible."""
    model, split = model_of(modality), samples(2)
    with pytest.raises(ConfigError, match=r"^the subset mask is 8, but must be from 1 to 7$"):
        log_likelihood(model, split, 2, 1, 0, observed=8)
    with pytest.raises(ConfigError, match=r"^given is a\+b\+c, which leaves no other modality to score$"):
        conditional_log_likelihood(model, split, 2, 1, 0, 7)
