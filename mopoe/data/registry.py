"""The registry of data sets with their options and modalities, which loads none of them.

A data set of your own is a function marked `@mopoe.plugin` that returns a `MultimodalData`, named as
"package.module:function" or by an entry point of the group `mopoe.data`. Its parameters are the data set's
options.
"""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import entry_points
from typing import Any, Literal

from mopoe.errors import ConfigError
from mopoe.plugins import GROUPS, named_function
from mopoe.wording import did_you_mean

Option = int | str | list[str] | dict[str, str | float]
"""The value of a data set's option; a list or a mapping only of the data sets below."""
Distribution = Literal["normal", "poisson", "negative_binomial", "bernoulli", "categorical"]
"""The distribution of each element of a sample."""
COVARIATES = "covariates"
"""The name under which a batch holds the covariates of its samples, beside its modalities."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Covariate:
    """What is known of a sample beside its modalities, and conditions how they are encoded and decoded."""

    name: str
    """Its column."""
    categories: tuple[str, ...] = ()
    """Of text: what it can be, each of which networks read as a number of 0 or 1; empty for a number."""
    offset: float = 0.0
    """What was subtracted from a number, in the unit of its file."""
    scale: float = 1.0
    """By what it was divided then."""

    @property
    def columns(self) -> list[str]:
        """Return a name for each of the numbers that networks read."""
        return [f"{self.name}={category}" for category in self.categories] or [self.name]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModalitySpec:
    """One modality of a data set."""

    name: str
    """A name that is unique in the data set; used in labels, columns and file names."""
    shape: tuple[int, ...]
    """The shape of one sample: (channels, height, width) for images, (length,) for texts."""
    network: str = "mopoe.networks.default:network"
    """The function that builds its encoder and decoder; see `mopoe.networks`."""
    likelihood: Distribution | None = None
    """The distribution that its default networks give; None for what the trial's settings say of images,
    categorical of symbols and normal of all else."""
    symbols: int = 0
    """How many symbols there are, if a sample is a sequence of their numbers."""
    features: tuple[str, ...] = ()
    """Names of the elements of a sample, if they have any."""
    offset: tuple[float, ...] = ()
    """What was subtracted from each feature, in the unit of its file; empty for nothing."""
    scale: tuple[float, ...] = ()
    """By what each feature was divided then; of counts, which stay as they are, the mean in training."""
    median_total: float = 0.0
    """Of counts whose means are given a row's total: the median of the totals in training; else 0."""
    covariates: tuple[Covariate, ...] = ()
    """What its networks are conditioned on, the same for all modalities of a data set. The encoder reads
    [x, c] as one vector and the decoder the latents and c, where c are the numbers of all covariates."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSetEntry:
    """How to load one data set."""

    module: str
    """The module with the function that returns the MultimodalData."""
    function: str = "load"
    """The function's name; it takes the options as keyword arguments."""
    modalities: tuple[ModalitySpec, ...]
    """The modalities, in the order of the bits of a subset mask; empty if only loading tells them."""
    options: Mapping[str, Option]
    """Names and defaults of the optional options."""
    required: Mapping[str, str] = field(default_factory=dict)
    """Names and descriptions of the required options."""
    numbers: frozenset[str] = frozenset()
    """The required options that are whole numbers; the others are strings."""
    mappings: frozenset[str] = frozenset()
    """The required options that are mappings of names to strings."""
    later: frozenset[str] = frozenset()
    """The optional options that came when there were results folders already."""

    def kept(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return options without those of `later` at their defaults, as an older results folder has them."""
        return {k: v for k, v in options.items() if k not in self.later or v != self.options[k]}


_PICTURES = tuple(ModalitySpec(name=f"m{m}", shape=(3, 28, 28)) for m in range(5))
_SHARES: dict[str, str | float] = {"validation": 0.1, "test": 0.1}
_TRIMODAL = "mopoe.networks.mnist_svhn_text"

DATA_SETS: Mapping[str, DataSetEntry] = {
    "celeba": DataSetEntry(
        module="mopoe.data.celeba",
        modalities=(
            ModalitySpec(name="image", shape=(3, 64, 64), network="mopoe.networks.celeba:image"),
            ModalitySpec(name="text", shape=(256,), network="mopoe.networks.celeba:text"),
        ),
        options={},
        required={
            "path": "the folder celeba, with img_align_celeba and the lists of attributes and partitions"
        },
    ),
    "digits": DataSetEntry(module="mopoe.data.digits", modalities=_PICTURES, options={"seed": 0}),
    "polymnist": DataSetEntry(
        module="mopoe.data.polymnist",
        modalities=_PICTURES,
        options={"seed": 0},
        required={"path": "the folder MMNIST, or a file made by `sweep data build polymnist`"},
    ),
    "translated_polymnist": DataSetEntry(
        module="mopoe.data.polymnist",
        function="load_translated",
        modalities=tuple(replace(m, network="mopoe.networks.resnet:image") for m in _PICTURES),
        options={"seed": 0},
        required={"path": "a folder like MMNIST, or a file made by `sweep data build translated_polymnist`"},
    ),
    "tables": DataSetEntry(
        module="mopoe.data.tables",
        modalities=(),
        options={
            "id": "id",
            "labels": "",
            "labels_file": "",
            "covariates": [],
            "covariates_file": "",
            "likelihoods": {},
            "size_factors": [],
            "split": _SHARES,
            "split_by": "",
            "seed": 0,
        },
        required={"modalities": "a file, .csv, .parquet or .npz, for each modality, as {mri: mri.csv, ...}"},
        mappings=frozenset({"modalities"}),
        later=frozenset({"covariates", "covariates_file", "size_factors", "split_by"}),
    ),
    "mnist_svhn_text": DataSetEntry(
        module="mopoe.data.mnist_svhn_text",
        modalities=(
            ModalitySpec(name="mnist", shape=(1, 28, 28), network=f"{_TRIMODAL}:mnist"),
            ModalitySpec(name="svhn", shape=(3, 32, 32), network=f"{_TRIMODAL}:svhn"),
            ModalitySpec(name="text", shape=(8,), network=f"{_TRIMODAL}:text"),
        ),
        options={"seed": 0, "pairings": 20},
        required={"path": "the folder of MNIST's idx files (or MNIST/raw) and SVHN's .mat files (or SVHN)"},
    ),
}


LIMITS: Mapping[str, tuple[int, int]] = {"seed": (0, 2**63 - 1), "pairings": (1, 1000)}
"""The smallest and largest values of the options of the data sets above."""


def check_options(options: Mapping[str, Any]) -> None:
    """Check the options of the data sets above.

    Raises:
        ConfigError: an option is outside its limits; the message names it, its value and the limits.
    """
    for name, (low, high) in LIMITS.items():
        if not low <= (value := options.get(name, low)) <= high:
            raise ConfigError(f"{name} is {value}, but must be between {low:,} and {high:,}")


def installed() -> dict[str, str]:
    """Return references to the functions that installed packages offer as data sets, by name."""
    return {point.name: f"{point.module}:{point.attr}" for point in entry_points(group=GROUPS[0])}


def entry(name: str) -> DataSetEntry:
    """Return a data set's entry; that of a user's function is made by importing the function.

    Raises:
        ConfigError: there is no data set of that name (the message lists the existing ones), or the function
            cannot be imported or has parameters that cannot be options.
    """
    if name in DATA_SETS:
        return DATA_SETS[name]
    offered = {name: name} if ":" in name else installed()
    if name not in offered:
        possible = did_you_mean(name, [*DATA_SETS, *offered])
        raise ConfigError(
            f"there is no data set {name!r}; {possible}, and functions of your own as package.module:function"
        )
    try:
        return _entry_of(offered[name])
    except ConfigError as error:
        raise ConfigError(f"data set {name!r} {error}") from error


def _entry_of(reference: str) -> DataSetEntry:
    """Return the entry that the signature of a user's function describes."""
    function = named_function(reference)
    module, _, attribute = reference.partition(":")
    options: dict[str, Option] = {}
    required, numbers = {}, set()
    for name, parameter in inspect.signature(function).parameters.items():
        kind = getattr(parameter.annotation, "__name__", parameter.annotation)
        by_name = parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
        if name == "name" or not by_name:
            raise ConfigError(
                f"has the parameter {name!r}, which a sweep's file cannot give; rename or drop it"
            )
        if parameter.default is not parameter.empty:
            if type(parameter.default) not in (int, str):
                has = f"has the option {name!r} = {parameter.default!r}"
                raise ConfigError(f"{has}, but options must be strings or integers")
            options[name] = parameter.default
        elif kind in ("int", "str", "_empty"):
            required[name] = "a whole number" if kind == "int" else "a word"
            numbers |= {name} if kind == "int" else set()
        else:
            raise ConfigError(f"has the option {name!r} of type {kind}, but options are str or int")
    modalities = tuple(getattr(function, "modalities", ()))
    if not all(isinstance(m, ModalitySpec) for m in modalities):
        raise ConfigError("has the attribute `modalities`, but not all it holds is a ModalitySpec")
    return DataSetEntry(
        module=module,
        function=attribute,
        modalities=modalities,
        options=options,
        required=required,
        numbers=frozenset(numbers),
    )
