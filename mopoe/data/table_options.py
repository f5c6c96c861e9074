"""The options of the data set `tables`, which a sweep's file gives; checked without reading a table."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from mopoe.data.features import COUNTS
from mopoe.data.registry import Distribution
from mopoe.errors import ConfigError
from mopoe.validation import CLOSED, Seed, config_errors
from mopoe.wording import unknown_key

HELD_OUT = ("validation", "test")
Share = Annotated[float, Field(gt=0, lt=1, description="a number between 0 and 1")]


@config_errors
@dataclass(frozen=True, slots=True, kw_only=True, config=CLOSED)
class TableOptions:
    """Which files hold the modalities, and what is made of them.

    Raises:
        ConfigError: a value has the wrong type or is impossible, or two contradict each other.
    """

    modalities: Annotated[Mapping[str, str], Field(min_length=1)]
    """By modality, in the order of the bits of a subset mask: its file, with a row per subject."""
    id: str = "id"
    """The column that names the subject, in every file."""
    labels: str = ""
    """The column with the subject's class, which is no feature; empty for none."""
    labels_file: str = ""
    """The file with that column; empty if it is one of the modalities'."""
    covariates: tuple[str, ...] = ()
    """The columns on which encoders and decoders are conditioned, which are no features."""
    covariates_file: str = ""
    """The file with those columns; empty if they are in the modalities' files."""
    likelihoods: Mapping[str, Distribution] = Field(default_factory=dict)
    """The distribution of a modality's features; normal if it is not here."""
    size_factors: tuple[str, ...] = ()
    """The modalities of counts whose means are given the total of a row."""
    split: Mapping[str, Share] = Field(default_factory=dict)
    """The shares of the subjects that are held out, a tenth if it is not here."""
    split_by: str = ""
    """A column of classes, such as sites, of each of which every split has its share; it is no feature."""
    seed: Seed = 0
    """Determines which subjects these are."""

    def __post_init__(self) -> None:
        """Refuse options that contradict each other."""
        names = (*self.modalities,)
        lists = ("likelihoods", self.likelihoods, names), ("size_factors", self.size_factors, names)
        for where, given, possible in (*lists, ("split", self.split, HELD_OUT)):
            for name in given:
                if name not in possible:
                    raise ConfigError(f"{where}: {unknown_key(name, possible)}")
        for name in self.size_factors:
            if (kind := self.likelihoods.get(name, "normal")) not in COUNTS:
                need = f"but only counts have totals: {' and '.join(COUNTS)}"
                raise ConfigError(f"size_factors: {name} has the likelihood {kind}, {need}")
        if sum(self.shares.values()) >= 1:
            shares = " and ".join(f"{share:g}" for share in self.shares.values())
            raise ConfigError(f"split has the shares {shares}, which leave nothing to train on")
        if self.labels_file and not (self.labels or self.split_by):
            raise ConfigError("labels_file is given, but labels does not say which column to read")
        if self.split_by == self.id:
            raise ConfigError(f"split_by: {self.id!r} is the column of subjects; each is in one split")
        self._check_covariates()

    def _check_covariates(self) -> None:
        if self.covariates_file and not (self.covariates or self.split_by):
            raise ConfigError("covariates_file is given, but covariates does not say which columns to read")
        for i, name in enumerate(self.covariates):
            others = {self.id: "the column of subjects", self.labels: "the column of labels"}
            others |= dict.fromkeys(self.covariates[:i], "named twice")
            if name in others:
                raise ConfigError(f"covariates: {name!r} is {others[name]}")

    @property
    def shares(self) -> dict[str, float]:
        """Return the share of each split that is held out."""
        return {name: self.split.get(name, 0.1) for name in HELD_OUT}
