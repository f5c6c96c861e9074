"""CelebA's residual networks: their size counted by hand, their blocks, and their shapes."""

from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - torch's own convention

from mopoe.config import TrialConfig
from mopoe.data.registry import DATA_SETS, ModalitySpec
from mopoe.errors import ConfigError
from mopoe.likelihoods import Categorical, Laplace
from mopoe.networks import build_modality
from mopoe.networks.base import OneHot

IMAGE, TEXT = DATA_SETS["celeba"].modalities
SMALL = TrialConfig(channels=(1, 1, 3), initialisation="he")


def size(module: nn.Module) -> int:
    """Return the number of parameters."""
    return sum(p.numel() for p in module.parameters())


def test_the_papers_networks_have_the_parameters_of_their_layers() -> None:
    """Base width 128, latent 32: weights, biases and batch norms, counted layer by layer."""
    c, z = 128, 32

    def blocks(multiples: tuple[int, ...], taps: int, bias: int) -> int:
        # Two batch norms and a 1 x 1 convolution of a, the convolution, and the skip's with batch norm of b.
        return sum(
            4 * a + (a * a + bias * a) + (taps * a * b + bias * b) + (taps * a * b + b + 2 * b)
            for a, b in pairwise(m * c for m in multiples)
        )

    with torch.device("meta"):  # sizes without values
        image, text = (build_modality(TrialConfig(), spec, z) for spec in (IMAGE, TEXT))
    heads, hidden = 2 * (5 * c * z + z), z * 5 * c + 5 * c
    sides, lengths = (1, 2, 3, 4, 5), (1, 2, 3, 4, 5, 5, 5)
    assert size(image.encoder) == 3 * 9 * c + blocks(sides, 16, 0) + heads == 21_518_016
    assert size(image.decoder) == hidden + blocks(sides[::-1], 16, 0) + (c * 9 * 3 + 3) == 21_891_843
    assert size(text.encoder) == (71 * 4 * c + c) + blocks(lengths, 4, 1) + heads == 13_209_792
    assert size(text.decoder) == hidden + blocks(lengths[::-1], 4, 1) + (c * 4 * 71 + 71) == 13_583_559


@pytest.mark.parametrize("spec", [IMAGE, TEXT], ids=["image", "text"])
def test_a_block_is_twice_its_skip_and_a_little_of_its_branch(spec: ModalitySpec) -> None:
    """2 norm(conv(x)) + 0.3 conv(relu(norm(conv(relu(norm(x)))))), from plain functions in eval mode."""
    torch.manual_seed(0)
    encoder = build_modality(SMALL, spec, 5).encoder.double().eval()
    block = encoder.trunk[-2]
    norm1, _, mix, _, norm2, _, shrink, _ = block.branch
    for norm in (norm1, norm2, block.skip[1]):
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
    axes = (4, 4) if spec is IMAGE else (4,)
    convolve = F.conv2d if spec is IMAGE else F.conv1d
    x = torch.randn(3, norm1.num_features, *axes, dtype=torch.float64)

    def normed(norm: nn.BatchNorm1d, h: torch.Tensor) -> torch.Tensor:
        mean, var, weight, bias = (
            t.view(1, -1, *(1,) * len(axes))
            for t in (norm.running_mean, norm.running_var, norm.weight, norm.bias)
        )
        return (h - mean) / (var + 1e-5).sqrt() * weight + bias

    h = convolve(normed(norm1, x).relu(), mix.weight, mix.bias)
    h = convolve(normed(norm2, h).relu(), shrink.weight, shrink.bias, stride=2)
    skip = normed(block.skip[1], convolve(x, block.skip[0].weight, block.skip[0].bias, stride=2))
    torch.testing.assert_close(block(x), 2 * skip + 0.3 * h, atol=1e-12, rtol=1e-12)
    assert block(x).shape == (3, 15, *(1,) * len(axes))


def test_dropout_acts_in_training_alone() -> None:
    """Half of the branch's channels (image) or values (text) are left out; in eval mode none is."""
    for spec, kind in ((IMAGE, nn.Dropout2d), (TEXT, nn.Dropout)):
        parts = build_modality(SMALL, spec, 5)
        found = [m.p for part in (parts.encoder, parts.decoder) for m in part.modules() if type(m) is kind]
        assert found == [0.5] * 2 * 2 * (len(parts.encoder.trunk) - (2 if spec is IMAGE else 3))
        z = torch.randn(4, 5, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            assert not torch.equal(parts.decoder(z), parts.decoder(z))
            parts.decoder.eval()
            assert torch.equal(parts.decoder(z), parts.decoder(z))


def test_modalities_go_to_a_latent_and_back_in_their_shapes() -> None:
    """Images become two vectors and pixels again, texts two vectors and logits of 71 symbols."""
    rng = torch.Generator().manual_seed(1)
    x = {
        IMAGE: torch.rand(2, 3, 64, 64, generator=rng),
        TEXT: torch.randint(0, 71, (2, 256), generator=rng, dtype=torch.int8),
    }
    for spec, kind, out in ((IMAGE, Laplace, (2, 3, 64, 64)), (TEXT, Categorical, (2, 71, 256))):
        parts = build_modality(SMALL, spec, 5)
        mu, logvar = parts.encoder(x[spec])
        assert mu.shape == logvar.shape == (2, 5)
        output = parts.decoder(mu)
        assert output.shape == out
        assert type(parts.likelihood) is kind
        assert parts.likelihood.log_prob(output, x[spec]).shape == (2,)


def test_symbols_become_one_hot() -> None:
    """As torch's own one-hot does, with the symbols before the positions; what is so already stays."""
    x = torch.randint(0, 71, (3, 256), generator=torch.Generator().manual_seed(2), dtype=torch.int8)
    expected = F.one_hot(x.long(), 71).transpose(1, 2).float()
    assert torch.equal(OneHot(71)(x), expected)
    assert torch.equal(OneHot(71)(expected), expected)


@pytest.mark.parametrize(
    ("spec", "must"),
    [
        (IMAGE, "images of shape [channels, 64, 64]"),
        (TEXT, "texts of shape [256]"),
    ],
    ids=["image", "text"],
)
def test_another_shape_is_refused(spec: ModalitySpec, must: str) -> None:
    """The message says the modality, its shape, and what the networks read."""
    other = ModalitySpec(name="x", shape=(3, 28, 28), network=spec.network)
    with pytest.raises(ConfigError) as error:
        build_modality(SMALL, other, 5)
    assert str(error.value) == (
        f"modality 'x' has shape [3, 28, 28], but the CelebA networks read {must}; "
        "name other networks in its ModalitySpec"
    )
