"""Noise as a function of seed, purpose and position; the stratified draw of mixture components."""

import math

import pytest
import torch
from torch import Tensor

from mopoe.random_streams import block_components, draw_components, generator, stratified_components
from mopoe.subsets import mixture_weights

DRAWS = 3000


def uniform(m: int) -> Tensor:
    """Return the uniform weights over the subsets of m modalities."""
    return torch.tensor(mixture_weights(None, m), dtype=torch.float64)


def test_a_generator_is_a_function_of_seed_purpose_and_position() -> None:
    """Equal arguments give equal draws; changing any one of them changes the draws."""

    def draw(*key: object) -> list[float]:
        return torch.randn(4, generator=generator(*key)).tolist()  # type: ignore[arg-type]

    base = draw(1, "latent", 2)
    assert draw(1, "latent", 2) == base
    others = [draw(2, "latent", 2), draw(1, "order", 2), draw(1, "latent", 3), draw(1, "latent")]
    others += [draw(1, "latent", 2, 0), draw(12, "latent"), draw(2, "latent", 1)]
    assert len({tuple(d) for d in [base, *others]}) == len(others) + 1


def test_a_generator_leaves_the_global_one_alone() -> None:
    """Making and using a generator moves no other random state."""
    before = torch.random.get_rng_state()
    torch.rand(3, generator=generator(0, "x"))
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize("n", [1, 7, 31, 62, 248, 256])
@pytest.mark.parametrize(
    "weights",
    [
        pytest.param(uniform(5), id="uniform"),
        pytest.param(
            torch.tensor([1e-3, 1e-3, 0.0, 0.198, 0.0, 0.5, 0.3], dtype=torch.float64), id="tiny and zero"
        ),
    ],
)
def test_components_occur_as_often_as_their_weights_say(weights: Tensor, n: int) -> None:
    """Each count is floor or ceil of n w in every call, and n w on average, whatever the batch size."""
    rng = torch.Generator().manual_seed(n)
    counts = torch.stack(
        [torch.bincount(stratified_components(weights, n, rng), minlength=len(weights)) for _ in range(DRAWS)]
    ).double()
    expected = n * weights
    # A product such as 62 * (1/31) may lie a rounding error beside the whole number it stands for.
    assert bool((counts >= (expected - 1e-9).floor()).all())
    assert bool((counts <= (expected + 1e-9).ceil()).all())
    assert bool((counts[:, weights == 0] == 0).all())
    # A count is floor + Bernoulli(fraction), so its variance is known.
    share = expected - expected.floor()
    stderr = (share * (1 - share) / DRAWS).sqrt()
    assert bool(((counts.mean(0) - expected).abs() <= 4.5 * stderr + 1e-9).all())


def test_components_do_not_follow_the_position_in_the_batch() -> None:
    """The first sample of a batch gets each component as often as any other does."""
    weights = torch.tensor([0.25, 0.25, 0.5], dtype=torch.float64)
    rng = torch.Generator().manual_seed(0)
    draws = torch.stack([stratified_components(weights, 8, rng) for _ in range(DRAWS)])
    for position in (0, 3, 7):
        share = torch.bincount(draws[:, position], minlength=3) / DRAWS
        assert share.tolist() == pytest.approx([0.25, 0.25, 0.5], abs=4.5 * math.sqrt(0.25 / DRAWS))


@pytest.mark.parametrize(
    ("n", "share"), [(256, 0.0625), (248, 0.1532), (124, 0.2742), (62, 0.5161), (30, 1.0)]
)
def test_the_released_block_split_moves_its_weights_with_the_batch_size(n: int, share: float) -> None:
    """Blocks of floor(B w), the rest to the full set: 52 % of it at B = 62 and M = 5, where ours keeps 1/31.

    The released weights are float32, where 1/31 is rounded down: floor(62 w) is 1 and not 2.
    """
    block = int(n * torch.tensor(1 / 31, dtype=torch.float32).item())
    assert (n - 30 * block) / n == pytest.approx(share, abs=5e-5)
    released = torch.tensor([s for s in range(30) for _ in range(block)] + [30] * (n - 30 * block))
    assert torch.equal(block_components(uniform(5), n), released)
    components = stratified_components(uniform(5), n, torch.Generator().manual_seed(0))
    ours = torch.bincount(components, minlength=31)
    assert int(ours[30]) in (n // 31, -(-n // 31))


@pytest.mark.parametrize("offset", [0.0, 1 - 2**-53])
def test_a_zero_weight_is_not_drawn_at_the_ends_of_the_offset(
    monkeypatch: pytest.MonkeyPatch, offset: float
) -> None:
    """Points on an edge, and a last point that rounds to 1, fall into no component of weight zero."""
    monkeypatch.setattr(torch, "rand", lambda *_, **__: torch.tensor([offset], dtype=torch.float64))
    weights = torch.tensor([0.0, 0.5, 0.0, 0.5, 0.0], dtype=torch.float64)
    components = stratified_components(weights, 256, torch.Generator().manual_seed(0))
    assert torch.bincount(components, minlength=5)[[0, 2, 4]].tolist() == [0, 0, 0]


def test_one_weight_of_one_takes_every_sample() -> None:
    """A one-hot weight vector is a deterministic choice."""
    weights = torch.zeros(31, dtype=torch.float64)
    weights[30] = 1
    assert stratified_components(weights, 40, torch.Generator().manual_seed(1)).tolist() == [30] * 40


def test_the_rest_of_the_block_split_goes_to_the_last_subset_in_the_mixture() -> None:
    """A mixture over single modalities leaves nothing to the full set; blocks follow the subsets' order."""
    moe = torch.tensor([0.5, 0.5, 0.0], dtype=torch.float64)
    assert block_components(moe, 5).tolist() == [0, 0, 1, 1, 1]
    unequal = torch.tensor([0.3, 0.0, 0.7], dtype=torch.float64)
    assert block_components(unequal, 8).tolist() == [0, 0, 2, 2, 2, 2, 2, 2]
    assert block_components(uniform(2), 2).tolist() == [2, 2]


def test_categorical_components_are_independent_draws() -> None:
    """Counts have the variance of a multinomial, which stratified ones have not; weight zero is not drawn."""
    weights = torch.tensor([0.25, 0.0, 0.25, 0.5], dtype=torch.float64)
    rng = torch.Generator().manual_seed(0)
    draws = [draw_components("categorical", weights, 8, rng) for _ in range(DRAWS)]
    counts = torch.stack([torch.bincount(d, minlength=4) for d in draws if d is not None]).double()
    assert counts.mean(0).tolist() == pytest.approx([2, 0, 2, 4], abs=4.5 * math.sqrt(2 / DRAWS))
    assert counts.var(0).tolist() == pytest.approx([1.5, 0, 1.5, 2], rel=0.15)


def test_every_kind_of_mixture_has_its_draw() -> None:
    """Stratified is the default's own function, and `all` draws nothing."""
    a, b = (torch.Generator().manual_seed(3) for _ in range(2))
    drawn = draw_components("stratified", uniform(3), 20, a)
    assert drawn is not None
    assert torch.equal(drawn, stratified_components(uniform(3), 20, b))
    blocks = draw_components("batch_split", uniform(3), 20, a)
    assert blocks is not None
    assert blocks.tolist() == [s for s in range(6) for _ in range(2)] + [6] * 8
    assert draw_components("all", uniform(3), 20, a) is None


def test_each_sample_may_have_weights_of_its_own() -> None:
    """Alike weights give the draws of shared ones; a sample's draws follow its own column."""
    shared = torch.tensor([0.1, 0.4, 0.5], dtype=torch.float64)
    for kind in ("stratified", "categorical"):
        one, own = (
            draw_components(kind, weights, 50, torch.Generator().manual_seed(3))
            for weights in (shared, shared[:, None].expand(3, 50))
        )
        assert one is not None
        assert own is not None
        assert torch.equal(one, own)
        weights = torch.tensor([[1.0, 0.0, 0.5], [0.0, 1.0, 0.0], [0.0, 0.0, 0.5]]).double()
        rng = torch.Generator().manual_seed(4)
        drawn = torch.stack([draw_components(kind, weights, 3, rng) for _ in range(1000)])  # type: ignore[misc]
        assert drawn[:, 0].unique().tolist() == [0]
        assert drawn[:, 1].unique().tolist() == [1]
        assert float((drawn[:, 2] == 2).double().mean()) == pytest.approx(0.5, abs=4.5 * 0.5 / 1000**0.5)
        assert not bool((drawn[:, 2] == 1).any())
