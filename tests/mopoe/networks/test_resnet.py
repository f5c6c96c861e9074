"""Residual networks: their size, their shapes, and that a sample does not depend on its batch."""

import pytest
import torch

from mopoe.config import TrialConfig
from mopoe.data.registry import DATA_SETS, ModalitySpec
from mopoe.errors import ConfigError
from mopoe.networks import build_modality
from mopoe.networks.resnet import Block

NETWORK = "mopoe.networks.resnet:image"


def test_the_model_has_the_size_of_its_layers() -> None:
    """At the published channels and latent_dim 512, 103,105,935: 13,516,224 + 7,104,963 in each of five.

    Of an encoder's, 12,846,080 are its two heads on 256 x 7 x 7 features; the rest are one convolution, three
    blocks and two shortcuts. Of a decoder's, 6,435,072 are its linear layer.
    """
    specs = DATA_SETS["translated_polymnist"].modalities
    config = TrialConfig(channels=(64, 128, 256))
    with torch.device("meta"):  # no memory, no numbers
        parts = [build_modality(config, spec, 512) for spec in specs]
    sizes = [
        [sum(p.numel() for p in network.parameters()) for network in (part.encoder, part.decoder)]
        for part in parts
    ]
    assert sizes == [[13_516_224, 7_104_963]] * 5
    assert sum(map(sum, sizes)) == 103_105_935


def test_a_block_is_its_shortcut_plus_a_tenth_of_its_convolutions() -> None:
    """With and without a change of channels, written out."""
    torch.manual_seed(0)
    x = torch.randn(2, 3, 5, 5, dtype=torch.float64)
    for n_out in (3, 6):
        block = Block(3, n_out).double()
        first, second = block.residual[1], block.residual[3]
        h = torch.where(x > 0, x, 0.2 * x)
        h = first(h)
        h = second(torch.where(h > 0, h, 0.2 * h))
        through = x if n_out == 3 else torch.einsum("oi,bihw->bohw", block.shortcut.weight[:, :, 0, 0], x)
        torch.testing.assert_close(block(x), through + h / 10, atol=1e-13, rtol=1e-12)


@pytest.mark.parametrize("shape", [(3, 28, 28), (1, 32, 40)])
def test_any_image_with_sides_of_fours_is_encoded_and_decoded(shape: tuple[int, int, int]) -> None:
    """Two heads of the width, and an image of the modality's shape; alone as in a batch."""
    torch.manual_seed(0)
    spec = ModalitySpec(name="m", shape=shape, network=NETWORK)
    parts = build_modality(TrialConfig(channels=(4, 5, 6)), spec, 7)
    x = torch.rand(3, *shape)
    mu, logvar = parts.encoder(x)
    assert mu.shape == logvar.shape == (3, 7)
    out = parts.decoder(mu)
    assert out.shape == x.shape
    torch.testing.assert_close(parts.encoder(x[1:2])[0], mu[1:2], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(parts.decoder(mu[1:2]), out[1:2], atol=1e-6, rtol=1e-5)


def test_he_initialisation_gives_means_of_the_signals_scale() -> None:
    """Torch's default leaves a thirtieth of it."""
    torch.manual_seed(0)
    spec = DATA_SETS["translated_polymnist"].modalities[0]
    x = torch.rand(16, 3, 28, 28)
    for kind, low, high in (("torch", 0.0, 0.1), ("he", 0.5, 2.0)):
        parts = build_modality(TrialConfig(initialisation=kind), spec, 64)  # type: ignore[arg-type]
        assert low < float(parts.encoder(x)[0].detach().square().mean().sqrt()) < high


def test_other_shapes_are_a_sentence() -> None:
    """It names the modality and what is possible."""
    for shape in ((3, 30, 28), (71, 8)):
        with pytest.raises(
            ConfigError, match=r"^modality 'm' has shape \[.*\], but residual networks read im"
        ):
            build_modality(TrialConfig(), ModalitySpec(name="m", shape=shape, network=NETWORK), 4)
