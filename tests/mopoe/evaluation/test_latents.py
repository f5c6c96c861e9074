"""Latents of one source are those that all subsets together would get, and those of the prior."""

from collections.abc import Callable

import pytest
import torch

from mopoe.data.container import Split
from mopoe.evaluation.generation import conditional_latents, prior_latents, source_latents
from mopoe.likelihoods import Normal
from mopoe.methods import Bound
from mopoe.model import MoPoE
from mopoe.networks.base import Modality


@pytest.mark.parametrize("style_dim", [0, 2])
def test_one_source_gets_its_part(modality: Callable[..., Modality], style_dim: int) -> None:
    """Shared and private latents, at their positions in the split."""
    width = 3 + style_dim
    part = modality(lambda x: (x, x / 2), lambda z: z, Normal(1.0))
    model = MoPoE({"a": part, "b": part}, 3, Bound(), style_dim=style_dim)
    rng = torch.Generator().manual_seed(0)
    split = Split({name: torch.randn(9, width, generator=rng) for name in "ab"}, torch.zeros(9))
    q = model.encode(split.batch(slice(4, 8), torch.device("cpu")))
    z_SBZ, style_MRW = conditional_latents(model, q, 1, "test", 4, 8, same_noise=True)
    for s, mask in enumerate(model.masks):
        z, style = source_latents(model, split, mask, 1, "test", 4, 8)
        assert torch.equal(z, z_SBZ[s])
        assert (style is None) == (style_MRW is None) == (not style_dim)
        if style is not None and style_MRW is not None:
            assert torch.equal(style, style_MRW[:, 4 * s : 4 * s + 4])
    z, style = source_latents(model, split, 0, 1, "test", 4, 8)
    expected = prior_latents(model, 1, "test", 4, 8, torch.device("cpu"))
    assert torch.equal(z, expected[0])
    assert (style is None and not style_dim) or torch.equal(style, expected[1])  # type: ignore[arg-type]


def test_noise_far_out_picks_a_modality_too(
    modality: Callable[..., Modality], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under a mixture of experts: 6 standard deviations pick the last one, -6 the first."""
    part = modality(lambda x: (x, x * 0), lambda z: z, Normal(1.0))
    model = MoPoE({"a": part, "b": part}, 3, Bound(mixture_of_experts=True))
    q = model.encode({"a": torch.full((2, 3), 100.0), "b": torch.full((2, 3), 200.0)})
    far = torch.tensor([-6.0, 6.0]).view(2, 1, 1)
    monkeypatch.setattr(
        "mopoe.evaluation.generation.sample_noise",
        lambda seed, purpose, start, stop, shape, device: (
            far.expand(2, *shape[:1], 1).reshape(2, *shape[:1])
            if purpose.endswith("pick")
            else torch.zeros(2, *shape)
        ),
    )
    z_SBZ, _ = conditional_latents(model, q, 0, "test", 0, 2)
    assert z_SBZ[-1, :, 0].tolist() == [100.0, 200.0]
