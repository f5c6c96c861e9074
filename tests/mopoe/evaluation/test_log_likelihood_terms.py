"""Every log-likelihood and every proposal against linear models, for which all are known."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from mopoe.data.container import Split
from mopoe.errors import ConfigError
from mopoe.evaluation import log_likelihood as module
from mopoe.evaluation.log_likelihood import (
    Proposal,
    conditional_log_likelihood,
    legacy_log_likelihood,
    log_likelihood,
    proposing,
)
from mopoe.likelihoods import Normal
from mopoe.methods import MethodSpec
from mopoe.model import MoPoE
from mopoe.networks.base import Modality

CPU = torch.device("cpu")
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


CASES: list[tuple[int, Proposal, int]] = [
    (7, "mixture", 0),
    (7, "full", 0),
    (7, 3, 0),
    (3, "mixture", 0),
    (3, "full", 0),
    (3, 1, 0),
    (2, "mixture", 0),
    (7, "mixture", 1),
    (7, 2, 1),
    (5, "full", 1),
]


@pytest.mark.parametrize(("mask", "proposal", "style_dim"), CASES)
def test_the_error_falls_with_the_root_of_the_number_of_samples(
    modality: Make, mask: int, proposal: Proposal, style_dim: int
) -> None:
    """Joint and marginal, every proposal, private latents or not: towards the closed form, as K^-1/2.

    At K = 128 the mean is below the truth by half the variance of the estimate, within 4 standard errors.
    """
    model, split, n = model_of(modality, style_dim=style_dim, shift=0.15), samples(400, copies=True), 400
    truth, errors = exact(split, mask, style_dim), []
    for k in (8, 32, 128):
        found = log_likelihood(model, split, n, k, 0, CPU, observed=mask, proposal=proposal)
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
    found = conditional_log_likelihood(model, split, 10, 4000, 0, CPU, given)
    marginal = exact(split, given, style_dim)
    expected = exact(split, 7, style_dim) - marginal
    torch.testing.assert_close(found.rest.log_p_N, expected, atol=0.1, rtol=0)
    assert list(found.modalities) == [name for m, name in enumerate(NAMES) if not given >> m & 1]
    for name, one in found.modalities.items():
        expected = exact(split, given | 1 << NAMES.index(name), style_dim) - marginal
        torch.testing.assert_close(one.log_p_N, expected, atol=0.1, rtol=0)
    terms = [log_likelihood(model, split, 10, 4000, 0, CPU, observed=a) for a in (7, given)]
    assert torch.equal(found.rest.ess_N, torch.minimum(*(term.ess_N for term in terms)))


def test_the_error_of_a_conditional_falls_as_that_of_its_terms(modality: Make) -> None:
    """As K^-1/2; at K = 128 its mean is off by at most the worse term's bias, within 4 standard errors."""
    model, split, n = model_of(modality, shift=0.15), samples(300, copies=True), 300
    truth = exact(split, 7) - exact(split, 2)
    errors = [
        conditional_log_likelihood(model, split, n, k, 0, CPU, 2).rest.log_p_N - truth for k in (8, 32, 128)
    ]
    rms = [float(e.square().mean().sqrt()) for e in errors]
    assert math.log(rms[2] / rms[0]) / math.log(16) == pytest.approx(-0.5, abs=0.1)
    terms = [log_likelihood(model, split, n, 128, 0, CPU, observed=a).log_p_N for a in (7, 2)]
    worse = max(float(term.var()) / 2 for term in terms)
    assert abs(float(errors[2].mean())) < worse + 4 * float(errors[2].std()) / math.sqrt(n)


@pytest.mark.parametrize("style_dim", [0, 1])
@pytest.mark.parametrize("mask", [7, 5, 2])
def test_the_exact_posterior_uses_every_sample(modality: Make, mask: int, style_dim: int) -> None:
    """All weights are then p(X_A): one latent is enough, and the effective sample size is K."""
    model, split = model_of(modality, style_dim=style_dim), samples(6)
    for k in (1, 50):
        found = log_likelihood(model, split, 6, k, 0, CPU, observed=mask, proposal="full")
        torch.testing.assert_close(found.log_p_N, exact(split, mask, style_dim), atol=1e-4, rtol=0)
        torch.testing.assert_close(
            found.ess_N, torch.full((6,), float(k), dtype=torch.float64), rtol=1e-6, atol=0
        )


def test_a_bad_proposal_has_a_small_effective_sample_size(modality: Make) -> None:
    """A tenth of K and less if sharp at a wrong place; between 1 and K always; more from more modalities."""
    split = samples(50)
    far = log_likelihood(model_of(modality, shift=-1.5), split, 50, 100, 0, CPU, proposal="full").ess_N
    assert float(far.median()) < 10
    assert float(far.min()) >= 1
    model = model_of(modality)
    one, two, three = (
        float(log_likelihood(model, split, 50, 100, 0, CPU, proposal=p).ess_N.mean()) for p in (4, 6, 7)
    )
    assert one < two < three == pytest.approx(100.0)


@pytest.mark.parametrize("rows", [1, 50, 4096])
def test_no_result_depends_on_the_size_of_a_chunk(
    modality: Make, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    """Estimates, effective sample sizes, conditionals and the released code's numbers, up to rounding."""
    model, split = model_of(modality, style_dim=1, shift=0.15), samples(24)

    def all_of_them() -> list[Tensor]:
        joint = log_likelihood(model, split, 24, 13, 0, CPU)
        conditional = conditional_log_likelihood(model, split, 24, 13, 0, CPU, 1)
        legacy = legacy_log_likelihood(model, split, 24, 0, CPU, batch_size=16)
        return [
            joint.log_p_N,
            joint.ess_N,
            conditional.rest.log_p_N,
            conditional.modalities["b"].ess_N,
            legacy,
        ]

    before = all_of_them()
    monkeypatch.setattr(module, "ROWS", rows)
    torch.testing.assert_close(all_of_them(), before, atol=1e-4, rtol=0)


@pytest.mark.parametrize("k", [12, 1])
def test_the_released_code_averages_over_samples(modality: Make, k: int) -> None:
    """With the exact posterior each of its numbers is the mean of K neighbours' p(X), not one sample's.

    The weights of 64 samples are all known then: read in the wrong order, row i holds those of the samples
    i K, i K + 1, ..., counted in a circle. Its mean is above the truth; with K = 1 there is no wrong order.
    """
    model, split = model_of(modality), samples(128)
    found = legacy_log_likelihood(model, split, 128, 0, CPU, k=k)
    truth = exact(split, 7)
    read = (torch.arange(64)[:, None] * k + torch.arange(k)) % 64
    expected = torch.cat([p[read].logsumexp(1) - math.log(k) for p in truth.split(64)])
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)
    assert (float(found.mean() - truth.mean()) > 1) == (k == 12)


def test_a_mixture_of_experts_proposes_from_its_members(modality: Make) -> None:
    """For the posterior of a subset; the stratified mixture uses products too, if they are Gaussian."""
    parts = {name: modality(lambda x: (x, x), lambda z: z, Normal(SCALE)) for name in NAMES}
    mopoe, moe, laplace = (
        MoPoE(parts, 4, method)
        for method in (
            MethodSpec(),
            MethodSpec(mixture_of_experts=True),
            MethodSpec(posterior="laplace", mixture_of_experts=True),
        )
    )
    assert proposing(mopoe, 7, "mixture") == proposing(moe, 7, "mixture") == list(range(7))
    assert [mopoe.masks[s] for s in proposing(mopoe, 6, "mixture")] == [2, 4, 6]
    assert [proposing(mopoe, 7, p) for p in ("full", 3, 4)] == [[6], [3], [2]]  # type: ignore[arg-type]
    for model in (moe, laplace):
        assert [proposing(model, 7, p) for p in ("full", 3, 4)] == [[0, 1, 2], [0, 1], [2]]  # type: ignore[arg-type]
    assert proposing(laplace, 6, "mixture") == [1, 2]


@pytest.mark.parametrize("proposal", ["mixture", "full", 1])
def test_laplace_posteriors_are_right_by_quadrature(modality: Make, proposal: Proposal) -> None:
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

    joint = log_likelihood(model, split, 2, 20_000, 0, CPU, proposal=proposal)
    torch.testing.assert_close(joint.log_p_N, truth("ab"), atol=0.05, rtol=0)
    one = log_likelihood(model, split, 2, 20_000, 0, CPU, observed=2)
    torch.testing.assert_close(one.log_p_N, truth("b"), atol=0.05, rtol=0)
    rest = conditional_log_likelihood(model, split, 2, 20_000, 0, CPU, 1).rest
    torch.testing.assert_close(rest.log_p_N, truth("ab") - truth("a"), atol=0.05, rtol=0)


def test_what_is_no_subset_is_refused(modality: Make) -> None:
    """Each in one sentence that says what was found and what is possible."""
    model, split = model_of(modality), samples(2)
    with pytest.raises(ConfigError, match=r"^the subset mask is 8, but must be from 1 to 7$"):
        log_likelihood(model, split, 2, 1, 0, CPU, observed=8)
    message = r"^the proposal's subset mask is 4, but must be a subset of what is observed, a\+b \(mask 3\)$"
    with pytest.raises(ConfigError, match=message):
        log_likelihood(model, split, 2, 1, 0, CPU, observed=3, proposal=4)
    with pytest.raises(ConfigError, match=r"^given is a\+b\+c, which leaves no modality over$"):
        conditional_log_likelihood(model, split, 2, 1, 0, CPU, 7)
