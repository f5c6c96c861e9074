"""Which data sets there are, and what their modalities look like, without loading any of them."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from mopoe.errors import ConfigError

Option = int | str
"""The value of a data set's option."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModalitySpec:
    """One modality of a data set."""

    name: str
    """Unique among the data set's modalities; used in labels, columns and file names."""
    shape: tuple[int, ...]
    """Shape of one sample: (channels, height, width) for images."""
    elements: int | None = None
    """What it counts for beside other modalities, as a number of elements; None for those of its shape."""
    network: str = "mopoe.networks.polymnist:image"
    """The function that builds its encoder and decoder; see `mopoe.networks`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSetEntry:
    """One data set by name."""

    module: str
    """The module whose `load(**options)` returns the MultimodalData."""
    modalities: tuple[ModalitySpec, ...]
    """Its modalities, in the order of the bits of a subset mask."""
    options: Mapping[str, Option]
    """Names and defaults of the options a user may set."""
    required: Mapping[str, str] = field(default_factory=dict)
    """Names of the options without a default, which are words, and what each is."""

    @property
    def option_names(self) -> tuple[str, ...]:
        """Return the names of all options, the required ones first."""
        return (*self.required, *self.options)


_PICTURES = tuple(ModalitySpec(name=f"m{m}", shape=(3, 28, 28)) for m in range(5))
_TRIMODAL = "mopoe.networks.mnist_svhn_text"

DATA_SETS: Mapping[str, DataSetEntry] = {
    "digits": DataSetEntry(module="mopoe.data.digits", modalities=_PICTURES, options={"seed": 0}),
    "polymnist": DataSetEntry(
        module="mopoe.data.polymnist",
        modalities=_PICTURES,
        options={"seed": 0},
        required={"path": "the folder MMNIST, or a file made by `sweep data build polymnist`"},
    ),
    "translated_polymnist": DataSetEntry(
        module="mopoe.data.translated_polymnist",
        modalities=tuple(replace(m, network="mopoe.networks.resnet:image") for m in _PICTURES),
        options={"seed": 0},
        required={"path": "a folder like MMNIST, or a file made by `sweep data build translated_polymnist`"},
    ),
    "mnist_svhn_text": DataSetEntry(
        module="mopoe.data.mnist_svhn_text",
        modalities=(
            ModalitySpec(name="mnist", shape=(1, 28, 28), network=f"{_TRIMODAL}:mnist"),
            ModalitySpec(name="svhn", shape=(3, 32, 32), network=f"{_TRIMODAL}:svhn"),
            ModalitySpec(name="text", shape=(71, 8), network=f"{_TRIMODAL}:text"),
        ),
        options={"seed": 0, "pairings": 20},
        required={"path": "the folder of MNIST's idx files (or MNIST/raw) and SVHN's .mat files (or SVHN)"},
    ),
}


def entry(name: str) -> DataSetEntry:
    """Return a data set's entry.

    Raises:
        ConfigError: there is no data set of that name; the message lists those there are.
    """
    if name not in DATA_SETS:
        close = difflib.get_close_matches(name, DATA_SETS, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ConfigError(f"there is no data set {name!r}; there are: {', '.join(DATA_SETS)}.{hint}")
    return DATA_SETS[name]
