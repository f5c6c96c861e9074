"""Downloads of the released data through torchvision's classes, which verify checksums."""

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
"""By name: torchvision's class, the arguments of each call that downloads a part, and the next step."""
_NETWORK = {"ConnectionError", "TimeoutError", "Timeout"}
"""Network errors of Python and of requests, which gdown uses."""


def fetch(name: str, to: Path) -> str:
    """Download what the folder lacks, in torchvision's layout, and return a sentence with the next step.

    Raises:
        ConfigError: torchvision does not offer the data set; the message says where to find it, if known.
        DataError: the download fails, or the files are damaged.
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
    except Exception as error:  # urllib, gdown, zipfile and torchvision may raise anything
        missing = error.__context__
        if isinstance(missing, ModuleNotFoundError):
            raise DataError(f"{name} needs the package {missing.name}: pip install {missing.name}") from error
        text = f"{type(error).__name__}: {' '.join(str(error).split())}"
        # torchvision's MNIST passes on only the text of urllib's errors.
        network = "urlopen error" in text or _NETWORK & {k.__name__ for k in type(error).__mro__}
        advice = "; if this machine is offline, run the command on another one and copy the folder"
        raise DataError(f"{name} cannot be fetched to {to} ({text}){advice if network else ''}") from error
    if name == "celeba":
        _check_unpacked(to / "celeba")
    return then.format(to=to)


def _drop_damaged(raw: Path) -> None:
    """Delete partly unpacked files of MNIST; torchvision only checks whether they exist."""
    for file in raw.glob("*-ubyte"):
        try:
            read_idx(file)
        except DataError:
            file.unlink()


def _check_unpacked(celeba: Path) -> None:
    """Check that all images were unpacked; torchvision only checks whether their folder exists."""
    images = celeba / "img_align_celeba"
    listed = len((celeba / "list_eval_partition.txt").read_bytes().splitlines())
    n_images = sum(1 for _ in images.rglob("*.jpg"))
    if n_images < listed:
        raise DataError(
            f"{images}: contains {n_images} of {listed} images, so unpacking was interrupted; delete it and "
            "fetch again"
        )
