"""The weighted KL of all subsets against the plain sum over products, in value and gradient."""

import pytest
import torch
from torch import Tensor

from mopoe import subset_kl
from mopoe.distributions import GAUSSIAN, membership
from mopoe.experts import aggregate
from mopoe.subset_kl import weighted_kl
from mopoe.subsets import subset_masks


def case(m: int, *, own: bool, n: int = 7, z: int = 3) -> tuple[Tensor, ...]:
    """Return means, precisions, members, prior and weights in float64; own ones for each sample or shared."""
    rng = torch.Generator().manual_seed(m)
    mu = torch.randn(m, n, z, generator=rng, dtype=torch.float64)
    precision = torch.randn(m, n, z, generator=rng, dtype=torch.float64).mul(2).exp()
    members = membership(subset_masks(m), m).double()
    n_subsets = len(members)
    shape = (n_subsets, n) if own else (n_subsets, 1)
    weights = torch.rand(shape, generator=rng, dtype=torch.float64)
    prior = (torch.rand(shape, generator=rng) > 0.5).double()
    return mu, precision, members, prior if own else prior[:, 0], weights


def plain(mu: Tensor, precision: Tensor, members: Tensor, prior: Tensor, weights: Tensor) -> Tensor:
    """Return the same by way of all products."""
    return (weights * GAUSSIAN.kl_to_prior(*aggregate("product", mu, precision, members, prior))).sum(0)


@pytest.mark.parametrize("m", [1, 2, 5])
@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("chunk", [1, 100, 2**18])
def test_value_and_gradient_are_those_of_the_plain_sum(
    m: int,
    own: bool,  # noqa: FBT001 - a parameter
    chunk: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """To 1e-12 in float64, whatever the number of samples at a time."""
    monkeypatch.setitem(subset_kl.CHUNK, "cpu", chunk)
    mu, precision, *rest = case(m, own=own)
    inputs = mu.requires_grad_(), precision.requires_grad_()
    ours, theirs = weighted_kl(*inputs, *rest), plain(*inputs, *rest)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-13)
    share = torch.rand(7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for a, b in zip(
        torch.autograd.grad((share * ours).sum(), inputs),
        torch.autograd.grad((share * theirs).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


def test_the_gradient_is_that_of_finite_differences() -> None:
    """By torch's own check."""
    mu, precision, *rest = case(3, own=False, n=2, z=2)
    assert torch.autograd.gradcheck(
        lambda a, b: weighted_kl(a, b, *rest), (mu.requires_grad_(), precision.requires_grad_())
    )


@pytest.mark.parametrize("logvar", [-20.0, -8.0, 0.0, 8.0, 20.0])
@pytest.mark.parametrize("autocast", [False, True])
def test_float32_is_accurate_over_the_range_of_variances(logvar: float, autocast: bool) -> None:  # noqa: FBT001 - a parameter
    """Values and gradients within 1e-5 of float64, under bf16 autocast too."""
    mu, _, *rest = case(4, own=False)
    precision = torch.full_like(mu, -logvar).exp()
    exact = weighted_kl(mu.requires_grad_(), precision.requires_grad_(), *rest)
    wanted = torch.autograd.grad(exact.sum(), (mu, precision))
    single = [t.detach().float().requires_grad_() for t in (mu, precision)]
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        found = weighted_kl(*single, *(t.float() for t in rest))
    torch.testing.assert_close(found.double(), exact, rtol=1e-5, atol=1e-5)
    for a, b in zip(torch.autograd.grad(found.sum(), single), wanted, strict=True):
        torch.testing.assert_close(a.double(), b, rtol=1e-4, atol=1e-5 * float(b.abs().max()))


def test_what_is_kept_does_not_grow_with_the_subsets() -> None:
    """Seven modalities have 127 subsets: two tensors as large as the inputs are saved, and no other."""
    mu, precision, *rest = case(7, own=False)
    sizes: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: sizes.append(t.numel()) or t, lambda t: t):
        weighted_kl(mu.requires_grad_(), precision.requires_grad_(), *rest)
    assert sizes == [mu.numel(), mu.numel()]
