"""The estimator of log p(X) against a linear-Gaussian model, whose log p(X) is known."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.distributions import MultivariateNormal

from mopoe.data.container import Split
from mopoe.evaluation import log_likelihood
from mopoe.evaluation.log_likelihood import component_shares, joint_log_likelihood
from mopoe.likelihoods import Normal
from mopoe.methods import MethodSpec
from mopoe.model import MoPoE
from mopoe.networks.base import Modality

CPU = torch.device("cpu")
SCALE = 0.5
W = {
    "a": torch.tensor([[0.9, -0.4], [0.2, 0.7], [-0.5, 0.3]]),
    "b": torch.tensor([[0.1, 0.8], [-0.6, 0.2], [0.4, 0.4], [0.3, -0.7]]),
}
BYTES = {
    "a": torch.tensor([[255, 0, 30], [10, 200, 128], [90, 90, 90], [0, 255, 0]], dtype=torch.uint8),
    "b": torch.tensor([[0, 100, 255, 20], [128, 128, 0, 9], [80, 0, 0, 255], [255] * 4], dtype=torch.uint8),
}


def posterior(names: str, x: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Return the exact posterior's mean and the log of its marginal variances, given some modalities."""
    precision = torch.eye(2) + sum(W[n].t() @ W[n] for n in names) / SCALE**2
    mean = torch.linalg.solve(precision, sum(x[n] @ W[n] for n in names).t() / SCALE**2).t()
    return mean, precision.inverse().diagonal().log().expand_as(mean)


def encoder(kind: str, name: str) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """Return an encoder: near the truth, the prior, moved and wide, or sharp at a wrong place."""

    def encode(x: Tensor) -> tuple[Tensor, Tensor]:
        mu, logvar = posterior(name, {name: x})
        return {
            "near": (mu, logvar),
            "prior": (torch.zeros_like(mu), torch.zeros_like(mu)),
            "moved": (mu + 0.7, logvar + 1.0),
            "sharp": (mu - 0.5, logvar - 1.0),
        }[kind]

    return encode


def linear(modality: Callable[..., Modality], kinds: tuple[str, str], prior: str = "full") -> MoPoE:
    """Return a model with linear decoders whose two encoders are of the given kinds."""
    parts = {
        name: modality(encoder(kind, name), lambda z, name=name: z @ W[name].t(), Normal(SCALE))
        for name, kind in zip("ab", kinds, strict=True)
    }
    return MoPoE(parts, 2, MethodSpec(prior_expert=prior))  # type: ignore[arg-type]


def exact() -> Tensor:
    """Return log p(X) = log N(X; 0, W W' + scale^2 I) of the four samples."""
    loadings = torch.cat([W["a"], W["b"]]).double()
    x = torch.cat([BYTES["a"], BYTES["b"]], 1).double() / 255
    covariance = loadings @ loadings.t() + SCALE**2 * torch.eye(7, dtype=torch.float64)
    return MultivariateNormal(torch.zeros(7, dtype=torch.float64), covariance).log_prob(x)


def copies(n: int, sample: int = 0) -> Split:
    """Return n copies of one sample, each of which gets noise of its own."""
    return Split({k: x[sample].expand(n, -1).contiguous() for k, x in BYTES.items()}, torch.zeros(n))


SAMPLES = Split(BYTES, torch.zeros(4))
# The prior among the components bounds the weights, so that standard errors mean something.
PROPOSALS = [("near", "near"), ("near", "prior"), ("moved", "prior"), ("sharp", "prior"), ("moved", "moved")]


@pytest.mark.parametrize("kinds", PROPOSALS)
def test_the_estimate_converges_to_the_exact_log_likelihood(
    modality: Callable[..., Modality], kinds: tuple[str, str]
) -> None:
    """With 30,000 importance samples it is right to a tenth of a nat, however poor the encoders."""
    found = joint_log_likelihood(linear(modality, kinds), SAMPLES, 4, 30_000, 0)
    assert found.dtype == torch.float64
    assert found.tolist() == pytest.approx(exact().tolist(), abs=0.1)


@pytest.mark.parametrize("k", [1, 2, 3, 4, 5, 7, 12])
@pytest.mark.parametrize("kinds", [("near", "near"), ("near", "prior"), ("moved", "prior")])
def test_the_estimate_of_p_is_unbiased_for_every_number_of_samples(
    modality: Callable[..., Modality], kinds: tuple[str, str], k: int
) -> None:
    """The mean of estimate / p(X) is 1 within its standard error, for k < S = 3 and other k too."""
    model = linear(modality, kinds, "none")
    if k < 3:
        # Only the last components, the larger subsets, are used: make them wide enough.
        model = linear(modality, ("prior", "prior"), "none")
    ratio = (joint_log_likelihood(model, copies(6000), 6000, k, 1) - exact()[0]).exp()
    stderr = float(ratio.std()) / math.sqrt(6000)
    assert stderr < 0.1
    assert float(ratio.mean()) == pytest.approx(1.0, abs=4 * stderr)


def test_the_estimate_is_below_the_truth_and_rises_with_the_number_of_samples(
    modality: Callable[..., Modality],
) -> None:
    """On average, for k = 3, 12 and 48, each clearly closer than the one before."""
    model = linear(modality, ("moved", "prior"))
    gaps = [
        float((joint_log_likelihood(model, copies(2000), 2000, k, 2) - exact()[0]).mean())
        for k in (3, 12, 48)
    ]
    assert gaps[0] < gaps[1] < gaps[2] < 0
    assert gaps[0] < -0.05
    assert gaps[2] > -0.03


def test_the_models_mixture_weights_do_not_matter(modality: Callable[..., Modality]) -> None:
    """The proposal is the same for a model trained as PoE and one trained as MoE."""
    kinds, parts = ("near", "moved"), {}
    for name, kind in zip("ab", kinds, strict=True):
        parts[name] = modality(encoder(kind, name), lambda z, name=name: z @ W[name].t(), Normal(SCALE))
    poe, moe = (MoPoE(parts, 2, MethodSpec(subset_weights=w)) for w in ((0.0, 0.0, 1.0), (0.5, 0.5, 0.0)))
    a, b = (joint_log_likelihood(m, SAMPLES, 4, 9, 0) for m in (poe, moe))
    assert torch.equal(a, b)


def test_one_seed_gives_one_result(modality: Callable[..., Modality]) -> None:
    """Equal seeds agree to the bit, others differ."""
    model = linear(modality, ("near", "moved"))
    a, b, c = (joint_log_likelihood(model, SAMPLES, 4, 7, seed) for seed in (5, 5, 6))
    assert torch.equal(a, b)
    assert not bool((a == c).any())


@pytest.mark.parametrize("rows", [1, 50, 4096])
def test_the_size_of_a_chunk_does_not_change_the_result(
    modality: Callable[..., Modality], monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    """How many latents are decoded at a time is a matter of speed alone, up to rounding."""
    model = linear(modality, ("near", "moved"))
    before = joint_log_likelihood(model, copies(200), 200, 7, 0)
    monkeypatch.setattr(log_likelihood, "ROWS", rows)
    after = joint_log_likelihood(model, copies(200), 200, 7, 0)
    torch.testing.assert_close(after, before, atol=1e-5, rtol=0)


def test_a_sample_counts_the_same_however_many_are_measured(modality: Callable[..., Modality]) -> None:
    """The first sample's estimate does not depend on n; more than there are means all there are."""
    model = linear(modality, ("near", "moved"))
    four = joint_log_likelihood(model, SAMPLES, 9, 7, 0)
    assert len(four) == 4
    two = joint_log_likelihood(model, SAMPLES, 2, 7, 0)
    torch.testing.assert_close(two, four[:2], atol=1e-5, rtol=0)


@given(n=st.integers(1, 200), s=st.integers(1, 31))
def test_shares_are_as_equal_as_possible(n: int, s: int) -> None:
    """They sum to n, differ by one at most, and the larger subsets get the rest."""
    shares = component_shares(n, s).tolist()
    assert sum(shares) == n
    assert max(shares) - min(shares) <= 1
    assert shares == sorted(shares)


@pytest.mark.parametrize("logvar", [-30.0, -50.0])
def test_posteriors_narrower_than_float32_give_no_impossible_likelihood(
    modality: Callable[..., Modality], logvar: float
) -> None:
    """The estimate stays below what the likelihoods allow; it is loose, as few latents are of use."""
    parts = {
        name: modality(
            lambda x: (torch.full((len(x), 2), 48.5), torch.full((len(x), 2), logvar)),
            lambda z, name=name: z @ W[name].t(),
            Normal(SCALE),
        )
        for name in "ab"
    }
    split = Split(BYTES, torch.zeros(4, dtype=torch.int64))
    found = joint_log_likelihood(MoPoE(parts, 2), split, 4, 300, 0)
    assert torch.isfinite(found).all()
    assert (found < Normal(SCALE).most(7)).all()
