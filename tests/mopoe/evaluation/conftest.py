"""A model of known coherence: its decoders paint the class that they read out of z, with known errors."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Normal

from mopoe.data.container import MultimodalData, Split
from mopoe.data.registry import ModalitySpec
from mopoe.evaluation.classifiers import Classifiers
from mopoe.likelihoods import Normal as NormalLikelihood
from mopoe.methods import MethodSpec
from mopoe.model import MoPoE
from mopoe.networks.base import Modality

CLASSES = 4
LOGVAR = -8.0


@dataclass(frozen=True)
class Known:
    """A data set of five vectors of four elements, a model and classifiers, with the errors per target."""

    data: MultimodalData
    model: MoPoE
    classifiers: Classifiers
    errors: tuple[float, ...]


def encode(x: Tensor) -> tuple[Tensor, Tensor]:
    """Put the class, sharply, into four latents and nothing into the fifth."""
    n = len(x)
    logvar = torch.full((n, CLASSES + 1), LOGVAR)
    logvar[:, CLASSES] = 0.0
    return torch.cat([x, torch.zeros(n, 1)], 1), logvar


def decoder(error: float) -> Callable[[Tensor], Tensor]:
    """Return a decoder that paints the next class if the fifth latent is below the prior's error-quantile."""
    quantile = Normal(0.0, 1.0).icdf(torch.tensor(error))

    def decode(z: Tensor) -> Tensor:
        wrong = (z[:, CLASSES] < quantile).long()
        return nn.functional.one_hot((z[:, :CLASSES].argmax(1) + wrong) % CLASSES, CLASSES).float()

    return decode


@pytest.fixture(scope="session")
def known(modality: Callable[..., Modality]) -> Callable[..., Known]:
    """Give a function that makes a known case from one error probability per modality."""

    def make(errors: tuple[float, ...], n: int = 1200) -> Known:
        names = [f"m{m}" for m in range(len(errors))]
        labels = torch.randint(0, CLASSES, (n,), generator=torch.Generator().manual_seed(1))
        x = nn.functional.one_hot(labels, CLASSES).to(torch.uint8) * 255
        split = Split(dict.fromkeys(names, x), labels)
        half = Split(dict.fromkeys(names, x[: n // 2]), labels[: n // 2])
        return Known(
            data=MultimodalData(
                name="known",
                options={},
                fingerprint="known",
                modalities=tuple(ModalitySpec(name=name, shape=(CLASSES,)) for name in names),
                n_classes=CLASSES,
                train=split,
                validation=split,
                test=half,
            ),
            model=MoPoE(
                {
                    name: modality(encode, decoder(error), NormalLikelihood(0.5))
                    for name, error in zip(names, errors, strict=True)
                },
                CLASSES + 1,
                MethodSpec(prior_expert="none"),
            ),
            classifiers=Classifiers(
                networks={name: nn.Identity().eval() for name in names},
                accuracy=dict.fromkeys(names, 1.0),
                hash="known",
            ),
            errors=errors,
        )

    return make
