"""Downloads of the released data, by torchvision's classes with their checksums."""

from collections.abc import Mapping
from pathlib import Path

from mopoe.errors import ConfigError, DataError
from mopoe.vision import torchvision

_KNOWN: Mapping[str, tuple[str, tuple[Mapping[str, str], ...], str]] = {
    "celeba": ("CelebA", ({},), "data: {{name: celeba, path: {to}/celeba}} in a sweep's file"),
    "mnist": (
        "MNIST",
        ({},),
        "sweep data build polymnist --mnist {to} --photographs DIR --out FILE",
    ),
    "svhn": (
        "SVHN",
        ({"split": "train"}, {"split": "test"}),
        "data: {{name: mnist_svhn_text, path: {to}}} in a sweep's file, once MNIST is there too",
    ),
}
"""By name: torchvision's class, the arguments of each call that downloads a part, and what to do next."""


def fetch(name: str, to: Path) -> str:
    """Download what is not in the folder yet, in torchvision's layout, and return what to do next.

    Raises:
        ConfigError: it is nothing that torchvision downloads; the message says where to find it, if known.
        DataError: it cannot be downloaded, or is damaged.
    """
    if name == "polymnist":
        raise ConfigError(
            "polymnist is not fetched: download PolyMNIST.zip from https://zenodo.org/records/4899160, "
            "unpack it and give its folder MMNIST, as in data: {name: polymnist, path: FOLDER/MMNIST}"
        )
    if name not in _KNOWN:
        raise ConfigError(f"{name!r} cannot be fetched; possible: {', '.join(_KNOWN)}")
    kind, calls, then = _KNOWN[name]
    try:
        for arguments in calls:
            getattr(torchvision("datasets"), kind)(to, download=True, **arguments)
    except Exception as error:  # whatever urllib, gdown, zipfile or torchvision raise
        text = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise DataError(
            f"{name} cannot be fetched to {to} ({text}); if this machine is offline, run the command on "
            "another one and copy the folder"
        ) from error
    return then.format(to=to)
