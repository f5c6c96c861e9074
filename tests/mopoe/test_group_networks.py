"""Every built-in network stacks, and is padded without a trace."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from mopoe.config import TrialConfig
from mopoe.data.container import MultimodalData, Split
from mopoe.data.registry import ModalitySpec
from mopoe.group import Group, fuse_key
from mopoe.member import start
from mopoe.modality import Modality
from mopoe.networks import polymnist


@pytest.fixture(autouse=True)
def double() -> Iterator[None]:
    """Let everything be in float64."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def data_of(**networks: tuple[str, tuple[int, ...]]) -> MultimodalData:
    """Return six samples of noise of modalities with a network and a shape."""
    rng = torch.Generator().manual_seed(0)
    x = {
        name: torch.randint(0, 27, (6, *shape), generator=rng, dtype=torch.int8)
        if len(shape) == 1
        else torch.rand(6, *shape, generator=rng)
        for name, (_, shape) in networks.items()
    }
    split = Split(x, torch.arange(6))
    modalities = tuple(ModalitySpec(name=n, shape=s, network=f) for n, (f, s) in networks.items())
    return MultimodalData(
        name="noise",
        options={},
        fingerprint="noise",
        modalities=modalities,
        n_classes=6,
        train=split,
        validation=split,
        test=split,
    )


def own(config: TrialConfig, modality: ModalitySpec, width: int) -> Modality:
    """Return networks that padding would change: a norm over features as wide as the latent."""
    parts = polymnist.image(config, modality, width)
    return replace(parts, decoder=torch.nn.Sequential(torch.nn.LayerNorm(width), parts.decoder))


MST = "mopoe.networks.mnist_svhn_text"
CASES = {
    "mnist_svhn_text": {
        "mnist": (f"{MST}:mnist", (1, 28, 28)),
        "svhn": (f"{MST}:svhn", (3, 32, 32)),
        "text": (f"{MST}:text", (8,)),
    },
    "resnet": dict.fromkeys(("a", "b"), ("mopoe.networks.resnet:image", (3, 8, 8))),
    "polymnist": dict.fromkeys(("a", "b"), ("mopoe.networks.polymnist:image", (3, 28, 28))),
}


@pytest.mark.parametrize("case", CASES)
def test_a_padded_member_equals_a_model_of_its_size(case: str) -> None:
    """Latents 5 to 8 from weights of their own fan-in: after three epochs of two steps as alone, to 1e-10."""
    data = data_of(**CASES[case])
    base = TrialConfig(channels=(4, 4, 8), batch_size=4, lr=1e-3)
    configs = [replace(base, latent_dim=z, seed=z) for z in (8, 5, 6)]
    group = Group([start(config, data) for config in configs])
    groups = [group, *(Group([start(config, data)]) for config in configs)]
    for _ in range(3):
        for each in groups:
            each.epoch()
    for ours, alone, config in zip(group.members, groups[1:], configs, strict=True):
        theirs = dict(alone.members[0].model.named_parameters())
        untrained = dict(start(config, data).model.named_parameters())
        for name, parameter in ours.model.named_parameters():
            torch.testing.assert_close(
                parameter, theirs[name], atol=1e-10, rtol=1e-10, msg=lambda m, name=name: f"{name}: {m}"
            )
            assert not torch.equal(parameter, untrained[name]), name


def test_networks_of_your_own_are_never_padded() -> None:
    """What they do with the latent is not known: they stack with those of the same size alone."""
    data = data_of(a=(f"{__name__}:own", (3, 28, 28)))
    keys = [fuse_key(TrialConfig(latent_dim=z, channels=(2, 2, 2)), data.modalities) for z in (7, 8, 8)]
    assert keys[0] != keys[1] == keys[2]
