"""Downloads of the released data, by torchvision's classes with their checksums."""

from collections.abc import Mapping
from pathlib import Path

from mopoe.data.formats import read_idx
from mopoe.errors import ConfigError, DataError
from mopoe.runtime import torchvision

_KNOWN: Mapping[str, tuple[str, tuple[Mapping[str, str], ...], str]] = {
    "celeba": ("CelebA", ({},), "data: {{name: celeba, path: {to}/celeba}} in a sweep's file"),
    "mnist": ("MNIST", ({},), "sweep data build polymnist --mnist {to} --photographs DIR --out FILE"),
    "svhn": (
        "SVHN",
        ({"split": "train"}, {"split": "test"}),
        "data: {{name: mnist_svhn_text, path: {to}}} in a sweep's file, once MNIST is there too",
    ),
}
"""By name: torchvision's class, the arguments of each call that downloads a part, and what to do next."""
_NETWORK = {"ConnectionError", "TimeoutError", "Timeout"}
"""Errors of the network, Python's own and those of requests, which gdown uses."""


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
        if name == "mnist":
            _drop_damaged(to / "MNIST" / "raw")
        for arguments in calls:
            getattr(torchvision("datasets"), kind)(to, download=True, **arguments)
    except Exception as error:  # whatever urllib, gdown, zipfile or torchvision raise
        lacking = error.__context__
        if isinstance(lacking, ModuleNotFoundError):
            raise DataError(f"{name} needs the package {lacking.name}: pip install {lacking.name}") from error
        text = f"{type(error).__name__}: {' '.join(str(error).split())}"
        # torchvision's MNIST has only the text of urllib's errors.
        network = "urlopen error" in text or _NETWORK & {k.__name__ for k in type(error).__mro__}
        advice = "; if this machine is offline, run the command on another one and copy the folder"
        raise DataError(f"{name} cannot be fetched to {to} ({text}){advice if network else ''}") from error
    if name == "celeba":
        _check_unpacked(to / "celeba")
    return then.format(to=to)


def _drop_damaged(raw: Path) -> None:
    """Delete files of MNIST that were unpacked in part; torchvision asks only whether they are there."""
    for file in raw.glob("*-ubyte"):
        try:
            read_idx(file)
        except DataError:
            file.unlink()


def _check_unpacked(celeba: Path) -> None:
    """Refuse images that were unpacked in part; torchvision asks only whether their folder is there."""
    images = celeba / "img_align_celeba"
    listed = len((celeba / "list_eval_partition.txt").read_bytes().splitlines())
    found = sum(1 for _ in images.rglob("*.jpg"))
    if found < listed:
        raise DataError(
            f"{images}: holds {found} of {listed} images, as if unpacking was cut short; delete it and "
            "fetch again"
        )
