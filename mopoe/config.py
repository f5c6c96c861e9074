"""The settings of one trial and of its evaluation. Defaults are those of the paper's PolyMNIST run.

Imports nothing heavy, so that a settings file can be checked without torch.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, Self, get_args

from mopoe.errors import ConfigError
from mopoe.subsets import check_simplex

Method = Literal["mopoe", "poe", "moe"]
Mixture = Literal["stratified", "categorical", "batch_split", "all"]
PriorExpert = Literal["full", "all", "none"]
LikelihoodWeights = Literal["none", "dimensions"]
Initialisation = Literal["torch", "he"]
Split = Literal["train", "validation", "test"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialConfig:
    """All that a trial's numbers depend on, beside the data."""

    beta: float = 2.5
    """Weight of the KL term in the generalized ELBO; at least 0."""
    beta_warmup_epochs: int = 0
    """Epochs over which beta rises from 0 to its value, by the same amount at every step; 0 for none."""
    latent_dim: int = 512
    """Number of latent dimensions shared by all modalities."""
    method: Method = "mopoe"
    """The subsets in the mixture: mopoe all, moe (MMVAE) the single modalities, poe (MVAE) the full set."""
    unimodal_elbos: bool = True
    """Whether method poe adds one ELBO per modality, as MVAE does; the other methods never do."""
    mixture: Mixture = "stratified"
    """How the mixture is sampled: a subset drawn per sample, blocks of the batch (as released), or all."""
    subset_weights: tuple[float, ...] | None = None
    """Mixture weights: none for uniform, M numbers (one per subset size) or 2^M - 1 (one per subset)."""
    mixture_path: float | None = None
    """In place of subset weights: -1 all on single modalities, 0 uniform, 1 all on the full set."""
    prior_expert: PriorExpert = "full"
    """Which products of experts include the prior N(0, I): the full set's (as released), all, or none."""
    likelihood_weights: LikelihoodWeights = "none"
    """In the loss, modalities count alike, or the largest by 1 and others by the ratio of dimensions."""
    likelihood_scale: float = 0.75
    """Scale of the Laplace likelihood of every pixel, in units of intensity 0..1."""
    channels: tuple[int, int, int] = (32, 64, 128)
    """Channels of the three convolutions; the paper's networks have 32, 64 and 128."""
    initialisation: Initialisation = "torch"
    """How weights start: torch's default (as released), or He et al. 2015, which keeps the signal's scale."""
    initial_logvar: float = 0.0
    """Start value of the posteriors' log-variance; -5 lets latents carry signal from the first step."""
    lr: float = 5e-4
    """Learning rate of Adam."""
    batch_size: int = 256
    """Samples per step; the last, smaller batch of an epoch is used too."""
    epochs: int = 300
    """Passes over the training split."""
    seed: int = 0
    """Fixes initialisation, data order and noise."""

    def __post_init__(self) -> None:
        """Reject impossible values with a sentence; whole numbers become floats where a float is meant."""
        for name in ("beta", "likelihood_scale", "initial_logvar", "lr"):
            object.__setattr__(self, name, _float(name, getattr(self, name)))
        if self.subset_weights is not None:
            weights = tuple(_float("subset_weights", w) for w in self.subset_weights)
            object.__setattr__(self, "subset_weights", weights)
        if self.mixture_path is not None:
            object.__setattr__(self, "mixture_path", _float("mixture_path", self.mixture_path))
            good = -1 <= self.mixture_path <= 1
            _require("mixture_path", self.mixture_path, good, "between -1 and 1")
        for name in ("lr", "likelihood_scale"):
            _require(name, getattr(self, name), 0 < getattr(self, name) < math.inf, "a number above 0")
        _require("beta", self.beta, 0 <= self.beta < math.inf, "a number of at least 0")
        for name in ("latent_dim", "batch_size", "epochs"):
            _require(name, getattr(self, name), getattr(self, name) >= 1, "at least 1")
        _require("beta_warmup_epochs", self.beta_warmup_epochs, self.beta_warmup_epochs >= 0, "at least 0")
        _require("seed", self.seed, 0 <= self.seed < 2**63, "between 0 and 2^63 - 1")
        good = len(self.channels) == 3 and min(self.channels) >= 1
        _require("channels", list(self.channels), good, "three numbers of at least 1")
        _require(
            "initial_logvar", self.initial_logvar, -20 <= self.initial_logvar <= 20, "between -20 and 20"
        )
        for name, kind in _CHOICES.items():
            value, choices = getattr(self, name), get_args(kind)
            _require(name, value, value in choices, f"one of {', '.join(choices)}")
        if self.subset_weights is not None:
            check_simplex(self.subset_weights)
        self._check_together()

    def _check_together(self) -> None:
        """Refuse settings that contradict each other."""
        given = [name for name in ("subset_weights", "mixture_path") if getattr(self, name) is not None]
        if given and self.method != "mopoe":
            raise ConfigError(
                f"{given[0]} is given, but method {self.method} fixes the subsets' weights; leave one out"
            )
        if len(given) == 2:
            raise ConfigError("subset_weights and mixture_path are both given; leave one out")
        if self.method == "poe" and self.prior_expert == "none":
            raise ConfigError("prior_expert is none, but method poe has the prior in every product")

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> Self:
        """Build a config from plain values (lists become tuples).

        Raises:
            ConfigError: a key does not exist, or a value has the wrong type or is impossible.
        """
        known = [f.name for f in fields(cls)]
        values: dict[str, Any] = {}
        for name, value in settings.items():
            if name not in known:
                raise ConfigError(f"{name!r} is not a setting of a trial; there are: {', '.join(known)}")
            values[name] = _coerce(name, value)
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, fit for JSON and YAML."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    def to_json(self) -> str:
        """Return the canonical JSON text: equal configs give equal texts."""
        return json.dumps(self.to_dict(), sort_keys=True)

    @property
    def config_id(self) -> str:
        """A short hash of everything but the seed: replicates of one config share it."""
        return hashlib.sha256(replace(self, seed=0).to_json().encode()).hexdigest()[:12]


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationConfig:
    """What is measured on held-out data, when, and on how much of it. The same for every trial of a sweep."""

    split: Split = "validation"
    """The split that objectives are measured on."""
    every: int = 0
    """Epochs between evaluations; 0 evaluates once, after the last epoch."""
    coherence_samples: int = 500
    """Held-out samples for the conditional coherence of every (subset, target) pair."""
    joint_samples: int = 500
    """Draws from the prior for the joint coherence."""
    likelihood_samples: int = 256
    """Held-out samples for the joint log-likelihood."""
    importance_samples: int = 62
    """Importance samples per held-out sample; a multiple of the number of subsets stratifies exactly."""
    pictures: int = 8
    """Generated images kept per source subset and target; 0 keeps none."""
    seed: int = 0
    """Fixes the noise of the evaluation: all trials of a sweep see the same draws."""

    def __post_init__(self) -> None:
        """Reject impossible values with a sentence."""
        for name in ("coherence_samples", "joint_samples", "likelihood_samples", "importance_samples"):
            _require(name, getattr(self, name), getattr(self, name) >= 1, "at least 1")
        for name in ("every", "pictures", "seed"):
            _require(name, getattr(self, name), getattr(self, name) >= 0, "at least 0")
        _require("split", self.split, self.split in get_args(Split), f"one of {', '.join(get_args(Split))}")


def _require(name: str, found: object, good: bool, must: str) -> None:  # noqa: FBT001 - a predicate's result
    if not good:
        raise ConfigError(f"{name} is {found}, but must be {must}")


_CHOICES = {
    "method": Method,
    "mixture": Mixture,
    "prior_expert": PriorExpert,
    "likelihood_weights": LikelihoodWeights,
    "initialisation": Initialisation,
}
_KINDS: dict[str, tuple[type, ...]] = {
    "beta": (int, float),
    "beta_warmup_epochs": (int,),
    "method": (str,),
    "unimodal_elbos": (bool,),
    "mixture": (str,),
    "mixture_path": (int, float),
    "likelihood_weights": (str,),
    "likelihood_scale": (int, float),
    "lr": (int, float),
    "latent_dim": (int,),
    "batch_size": (int,),
    "epochs": (int,),
    "seed": (int,),
    "prior_expert": (str,),
    "initialisation": (str,),
    "initial_logvar": (int, float),
}


def _coerce(name: str, value: object) -> object:
    """Return the value in its field's type, or say which type was found."""
    if value is None and name in ("subset_weights", "mixture_path"):
        return None
    if name in ("subset_weights", "channels"):
        kind: tuple[type, ...] = (int,) if name == "channels" else (int, float)
        if not isinstance(value, (list, tuple)) or not all(_is(v, kind) for v in value):
            whole = "whole " if name == "channels" else ""
            raise ConfigError(f"{name} is {value!r}, but must be a list of {whole}numbers")
        return tuple(value)
    kind = _KINDS[name]
    if not _is(value, kind):
        word = {int: "a whole number", float: "a number", str: "a word", bool: "true or false"}[kind[-1]]
        raise ConfigError(f"{name} is {value!r}, but must be {word}")
    return value


def _float(name: str, value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        raise ConfigError(f"{name} is a number of {len(str(value))} digits, but must fit a float") from None


def _is(value: object, kinds: tuple[type, ...]) -> bool:
    return isinstance(value, kinds) and isinstance(value, bool) == (bool in kinds)
