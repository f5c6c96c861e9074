"""Models of multivae 1.0.3 with the weights of ours, and its random draws replaced by given ones.

Runs in the environment that `make compare` builds; nothing of the project imports it.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

import mopoe
from mopoe.runtime import torchvision

# multivae imports torchvision, whose wheel does not import beside a CPU build of torch.
torchvision("utils")

from multivae.data.datasets import MultimodalBaseDataset  # noqa: E402 - after torchvision
from multivae.models import MMVAE, MVAE, MMVAEConfig, MoPoE, MoPoEConfig, MVAEConfig  # noqa: E402
from multivae.models.base import BaseAEConfig, BaseMultiVAE  # noqa: E402
from multivae.models.nn.mmnist import DecoderConvMMNIST, EncoderConvMMNIST  # noqa: E402
from pythae.models.base.base_utils import ModelOutput  # noqa: E402
from pythae.models.nn.base_architectures import BaseDecoder, BaseEncoder  # noqa: E402

_CLASSES = {"MoPoE": (MoPoE, MoPoEConfig), "MVAE": (MVAE, MVAEConfig), "MMVAE": (MMVAE, MMVAEConfig)}


class Encoder(BaseEncoder):
    """One of our encoders in the form that multivae calls."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> ModelOutput:
        mu, logvar = self.inner(x)
        return ModelOutput(embedding=mu, log_covariance=logvar)


class Decoder(BaseDecoder):
    """The same for a decoder."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, z: Tensor) -> ModelOutput:
        return ModelOutput(reconstruction=self.inner(z))


def peer(kind: str, ours: mopoe.MoPoE, *, own_networks: bool = True, **settings: Any) -> BaseMultiVAE:
    """Return multivae's model of a kind with our weights: in its PolyMNIST networks, or in our modules."""
    model_class, config_class = _CLASSES[kind]
    if own_networks:
        config = BaseAEConfig(latent_dim=ours.latent_dim)
        # Without bias=True its encoder has no biases in its two heads; the paper's has.
        encoders = {m: _filled(EncoderConvMMNIST(config, bias=True), ours.encoders[m]) for m in ours.names}
        decoders = {m: _filled(DecoderConvMMNIST(config), ours.decoders[m]) for m in ours.names}
    else:
        encoders = {m: Encoder(ours.encoders[m]) for m in ours.names}
        decoders = {m: Decoder(ours.decoders[m]) for m in ours.names}
    common = {
        "n_modalities": len(ours.names),
        "latent_dim": ours.latent_dim,
        "decoders_dist": {m: type(ours.likelihood(m)).__name__.lower() for m in ours.names},
        "decoder_dist_params": {m: {"scale": ours.likelihood(m).scale} for m in ours.names},
    }
    return model_class(config_class(**common, **settings), encoders, decoders)


def dataset(x: Mapping[str, Tensor], labels: Tensor | None = None) -> MultimodalBaseDataset:
    """Return samples in the form that multivae reads."""
    return MultimodalBaseDataset(dict(x), labels)


@contextmanager
def given(*draws: Tensor, are_latents: bool = False) -> Iterator[None]:
    """Let every `Normal.rsample` (ours never calls it) take the next of the draws: noise, or the result."""
    left = list(draws)

    def rsample(self: torch.distributions.Normal, shape: tuple[int, ...] = ()) -> Tensor:
        draw = left.pop(0)
        assert draw.shape == (*shape, *self.loc.shape), "a draw of another shape was asked for"
        return draw if are_latents else self.loc + self.scale * draw

    with patch.object(torch.distributions.Normal, "rsample", rsample):
        yield
    assert not left, "fewer draws were asked for than given"


def _filled(target: nn.Module, source: nn.Module) -> nn.Module:
    """Return the module with another's weights, layer by layer in their order."""
    with torch.no_grad():
        for a, b in zip(target.parameters(), source.parameters(), strict=True):
            assert a.shape == b.shape
            a.copy_(b)
    return target
