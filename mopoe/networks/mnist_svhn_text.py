"""The encoders and decoders of the MoPoE paper's MNIST-SVHN-Text experiments (released code).

All layers are those of the paper, with 1,411,826 parameters at latent_dim 20; their widths are fixed.
"""

from torch import nn

from mopoe.config import TrialConfig
from mopoe.data.formats import ALPHABET
from mopoe.data.registry import ModalitySpec
from mopoe.likelihoods import Categorical, image_likelihood
from mopoe.networks.base import Encoder, Modality, OneHot, chain, check_shape
from mopoe.plugins import plugin


@plugin
def mnist(config: TrialConfig, modality: ModalitySpec, width: int) -> Modality:
    """Return the parts for images [1, 28, 28]: one hidden layer of 400 units, and intensities in 0..1."""
    _check(modality, (1, 28, 28))
    encoder = Encoder([nn.Flatten(), nn.Linear(784, 400), nn.ReLU()], 400, width)
    decoder = [nn.Linear(width, 400), nn.ReLU(), nn.Linear(400, 784), nn.Sigmoid()]
    decoder.append(nn.Unflatten(1, (1, 28, 28)))
    # MNIST's mean intensity is 0.13, whose logit is -1.9.
    return chain(config, encoder, decoder, image_likelihood(config), start=-1.9)


@plugin
def svhn(config: TrialConfig, modality: ModalitySpec, width: int) -> Modality:
    """Return the parts for images [3, 32, 32]: four convolutions each way, without a final activation."""
    _check(modality, (3, 32, 32))
    trunk = [
        *(nn.Conv2d(3, 32, 4, 2, 1), nn.ReLU(), nn.Conv2d(32, 64, 4, 2, 1), nn.ReLU()),
        *(nn.Conv2d(64, 64, 4, 2, 1), nn.ReLU(), nn.Conv2d(64, 128, 4, 2, 0), nn.ReLU(), nn.Flatten()),
    ]
    decoder = [
        *(nn.Linear(width, 128), nn.ReLU(), nn.Unflatten(1, (128, 1, 1))),
        *(nn.ConvTranspose2d(128, 64, 4, 1, 0), nn.ReLU(), nn.ConvTranspose2d(64, 64, 4, 2, 1), nn.ReLU()),
        *(nn.ConvTranspose2d(64, 32, 4, 2, 1), nn.ReLU(), nn.ConvTranspose2d(32, 3, 4, 2, 1)),
    ]
    return chain(config, Encoder(trunk, 128, width), decoder, image_likelihood(config), start=0.45)


@plugin
def text(config: TrialConfig, modality: ModalitySpec, width: int) -> Modality:
    """Return the parts for texts [8]: convolutions over the positions of one-hot characters, and logits."""
    _check(modality, (8,))
    n_characters = len(ALPHABET)
    trunk = [
        *(OneHot(n_characters), nn.Conv1d(n_characters, 128, 1), nn.ReLU()),
        *(nn.Conv1d(128, 128, 4, 2, 1), nn.ReLU()),
        *(nn.Conv1d(128, 128, 4, 2, 0), nn.ReLU(), nn.Flatten()),
    ]
    decoder = [
        *(nn.Linear(width, 128), nn.Unflatten(1, (128, 1))),  # no activation between, as released
        *(nn.ConvTranspose1d(128, 128, 4, 1, 0), nn.ReLU(), nn.ConvTranspose1d(128, 128, 4, 2, 1), nn.ReLU()),
        nn.Conv1d(128, n_characters, 1),
    ]
    return chain(config, Encoder(trunk, 128, width), decoder, Categorical(), start=0.0)


def _check(modality: ModalitySpec, shape: tuple[int, ...]) -> None:
    check_shape(modality, modality.shape == shape, f"its networks ({modality.network})", str(list(shape)))
