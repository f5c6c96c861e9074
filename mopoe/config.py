"""The settings of one trial. Defaults are those of the paper's PolyMNIST run.

Imports nothing heavy, so that a settings file can be checked without torch.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, Self, get_args, get_type_hints

from mopoe.errors import ConfigError
from mopoe.subsets import check_simplex

Method = Literal["mopoe", "poe", "moe", "mvtcae"]
Mixture = Literal["stratified", "categorical", "batch_split", "all"]
PriorExpert = Literal["full", "all", "none"]
LikelihoodWeights = Literal["dimensions", "none"]
Posterior = Literal["gaussian", "laplace"]
Estimator = Literal["elbo", "iwae", "dreg"]
BetaSchedule = Literal["linear", "cosine", "cyclical"]
PixelLikelihood = Literal["laplace", "normal", "bernoulli"]
Initialisation = Literal["torch", "he"]
Precision = Literal["float32", "bfloat16"]
Compile = Literal["no", "step", "graph"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialConfig:
    """All that a trial's numbers depend on, beside the data."""

    beta: float = 2.5
    """Weight of the KL term in the generalized ELBO; at least 0."""
    beta_warmup_epochs: int = 0
    """Epochs over which beta goes from beta_start to its value, changing at every step; 0 for none."""
    beta_start: float = 0.0
    """Where a warm-up begins; above beta for one that goes down."""
    beta_schedule: BetaSchedule = "linear"
    """The shape of the warm-up: linear, cosine, or cyclical, which repeats it for the whole trial."""
    latent_dim: int = 512
    """Number of latent dimensions shared by all modalities."""
    style_dim: int = 0
    """Number of private latent dimensions of each modality, beside the shared ones."""
    beta_style: float = 1.0
    """Weight of the private latents' KL terms, on top of beta."""
    style_weights: tuple[float, ...] | None = None
    """Weight of each modality's private KL term, on top of beta_style; none for 1 each."""
    method: Method = "mopoe"
    """The mixture: mopoe of all subsets, moe (MMVAE) of single modalities; poe (MVAE), mvtcae: full set."""
    unimodal_elbos: bool = True
    """Whether method poe adds one ELBO per modality, as MVAE does; the other methods never do."""
    tc_ratio: float = 5 / 6
    """Method mvtcae: the share of the total-correlation term, from 0 to 1."""
    mixture: Mixture = "stratified"
    """How the mixture is sampled: a subset drawn per sample, blocks of the batch (as released), or all."""
    subset_weights: tuple[float, ...] | None = None
    """Mixture weights: none for uniform, M numbers (one per subset size) or 2^M - 1 (one per subset)."""
    mixture_path: float | None = None
    """In place of subset weights: -1 all on single modalities, 0 uniform, 1 all on the full set."""
    learned_weights: bool = False
    """Whether the mixture weights are trained with the networks, as in CoDE-VAE; needs mixture all."""
    weight_entropy: float = 1000.0
    """Learned weights: nats that the loss falls per nat of their entropy."""
    prior_expert: PriorExpert = "full"
    """Which products of experts include the prior N(0, I): the full set's (as released), all, or none."""
    posterior: Posterior = "gaussian"
    """The family of posteriors and prior; laplace only with method moe, as products are of another kind."""
    estimator: Estimator = "elbo"
    """What is maximised: the ELBO, or the importance-weighted bound by its plain or its DReG gradient."""
    samples: int = 1
    """Latents drawn per sample and step for the importance-weighted bound."""
    missing: float = 0.0
    """Share of modalities hidden from training, chosen once for each sample, of which one always stays."""
    likelihood: PixelLikelihood = "laplace"
    """The distribution of a pixel of an image."""
    likelihood_scale: float = 0.75
    """Its scale (laplace, normal), in units of intensity 0..1."""
    learned_scale: bool = False
    """Whether that scale is trained with the networks, one per modality, and likelihood_scale its start."""
    likelihood_weights: LikelihoodWeights | tuple[float, ...] = "dimensions"
    """Of modalities in the loss: the largest 1 and others the ratio of dimensions; or none, or numbers."""
    channels: tuple[int, int, int] = (32, 64, 128)
    """Channels of the three convolutions of the PolyMNIST networks; the paper's have 32, 64 and 128."""
    initialisation: Initialisation = "torch"
    """How weights start: torch's default (as released), or He et al. 2015, which keeps the signal's scale."""
    initial_logvar: float = 0.0
    """Start value of the posteriors' log-variance; -5 lets latents carry signal from the first step."""
    lr: float = 5e-4
    """Learning rate of Adam."""
    precision: Precision = "float32"
    """What encoders and decoders compute in while they train; weights and densities stay in float32."""
    compile: Compile = "no"
    """Whether torch.compile compiles the step, and on a GPU also captures it as a CUDA graph (graph)."""
    batch_size: int = 256
    """Samples per step; the last, smaller batch of an epoch is used too."""
    epochs: int = 300
    """Passes over the training split."""
    seed: int = 0
    """Fixes initialisation, data order and noise."""

    def __post_init__(self) -> None:
        """Reject impossible values with a sentence; whole numbers become floats where a float is meant."""
        for f in fields(self):
            object.__setattr__(self, f.name, _possible(f.name, getattr(self, f.name)))
        self._check_together()

    def _check_together(self) -> None:
        """Refuse settings that contradict each other, or that would not act as asked."""
        given = [name for name in ("subset_weights", "mixture_path") if getattr(self, name) is not None]
        given += ["learned_weights"] * self.learned_weights
        laplace = self.posterior == "laplace"
        rules = {
            f"{given[0] if given else ''} is given, but method {self.method} fixes the subsets' weights; "
            "leave one out": bool(given) and self.method != "mopoe",
            f"{' and '.join(given[:2])} are both given; leave one out": len(given) > 1,
            f"learned_weights needs mixture all, where weights have a gradient, but it is {self.mixture}": (
                self.learned_weights and self.mixture != "all"
            ),
            "prior_expert is none, but method poe has the prior in every product": (
                self.method == "poe" and self.prior_expert == "none"
            ),
            f"posterior laplace needs method moe, but method is {self.method}": (
                laplace and self.method != "moe"
            ),
            "posterior laplace needs prior_expert full or none, but it is all": (
                laplace and self.prior_expert == "all"
            ),
            f"samples is {self.samples}, but estimator elbo draws one; choose iwae or dreg": (
                self.samples > 1 and self.estimator == "elbo"
            ),
            f"estimator {self.estimator} needs method mopoe or moe, as {self.method} is no single bound": (
                self.estimator != "elbo" and self.method in ("poe", "mvtcae")
            ),
            f"estimator {self.estimator} has no learned_weights": (
                self.estimator != "elbo" and self.learned_weights
            ),
            "learned_scale is true, but likelihood bernoulli has no scale": (
                self.learned_scale and self.likelihood == "bernoulli"
            ),
            "missing is above 0, but mixture batch_split knows complete samples only": (
                self.missing > 0 and self.mixture == "batch_split"
            ),
        }
        for sentence, broken in rules.items():
            if broken:
                raise ConfigError(sentence)

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
        """A short hash of what is not at its default, but for the seed: replicates of one config share it.

        Settings that a later release adds leave it as it is.
        """
        defaults = type(self)().to_dict()
        content = {k: v for k, v in self.to_dict().items() if v != defaults[k] and k != "seed"}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


def require(name: str, found: object, good: bool, must: str) -> None:  # noqa: FBT001 - a predicate's result
    """Raise ConfigError, as a sentence, unless a setting is good."""
    if not good:
        raise ConfigError(f"{name} is {found}, but must be {must}")


_CHOICES = {
    "method": Method,
    "mixture": Mixture,
    "prior_expert": PriorExpert,
    "posterior": Posterior,
    "estimator": Estimator,
    "beta_schedule": BetaSchedule,
    "likelihood": PixelLikelihood,
    "likelihood_weights": LikelihoodWeights,
    "initialisation": Initialisation,
    "precision": Precision,
    "compile": Compile,
}
_BOUNDS: dict[str, tuple[float, float]] = {
    "lr": (1e-15, 10),
    "likelihood_scale": (1e-6, 1_000_000),
    **dict.fromkeys(("beta", "beta_start", "beta_style", "weight_entropy"), (0, 1_000_000)),
    **dict.fromkeys(("batch_size", "epochs"), (1, 1_000_000)),
    "beta_warmup_epochs": (0, 1_000_000),
    "latent_dim": (1, 65_536),
    "style_dim": (0, 65_536),
    "samples": (1, 10_000),
    "mixture_path": (-1, 1),
    "tc_ratio": (0, 1),
    "missing": (0, 0.99),
    "initial_logvar": (-20, 20),
    "seed": (0, 2**63 - 1),
}
"""Smallest and largest value by setting: wider than anybody wants, and narrow enough to catch slips."""
_TYPES = get_type_hints(TrialConfig)
_FLOATS = tuple(name for name, kind in _TYPES.items() if kind in (float, float | None))
_FLOAT_LISTS = ("subset_weights", "style_weights", "likelihood_weights")


def checked_setting(name: str, value: object) -> Any:
    """Return the value of one setting of a trial in its type, whatever the other settings are.

    Raises:
        ConfigError: it has the wrong type or is impossible.
    """
    return _possible(name, _coerce(name, value))


def _possible(name: str, value: Any) -> Any:
    """Return the value, whole numbers as floats where a float is meant; ConfigError if it is impossible."""
    if name in _FLOATS and value is not None:
        value = _float(name, value)
    elif name in _FLOAT_LISTS and isinstance(value, (list, tuple)):
        value = tuple(_float(name, v) for v in value)
    if name in _BOUNDS and value is not None:
        low, high = _BOUNDS[name]
        require(name, value, low <= value <= high, f"between {low:,} and {high:,}")
    if name in _CHOICES and not isinstance(value, tuple):
        choices = get_args(_CHOICES[name])
        require(name, value, value in choices, f"one of {', '.join(choices)}")
    if name == "channels":
        good = len(value) == 3 and min(value) >= 1 and max(value) <= 16_384
        require(name, list(value), good, "three numbers between 1 and 16,384")
    if name in ("likelihood_weights", "style_weights") and isinstance(value, tuple):
        good = all(0 <= v <= 1_000_000 for v in value) and (any(value) or name == "style_weights")
        require(name, list(value), good, "numbers between 0 and 1,000,000, not all of them 0")
    if name == "subset_weights" and value is not None:
        check_simplex(value)
    return value


def _coerce(name: str, value: object) -> object:
    """Return the value in its field's type, or say which type was found."""
    kind = _TYPES[name]
    if value is None and type(None) in get_args(kind):
        return None
    if name in ("subset_weights", "style_weights", "channels") or (
        name == "likelihood_weights" and not isinstance(value, str)
    ):
        numbers: tuple[type, ...] = (int,) if name == "channels" else (int, float)
        if not isinstance(value, (list, tuple)) or not all(_is(v, numbers) for v in value):
            whole = "whole " if name == "channels" else ""
            word = "a word or " if name in _CHOICES else ""
            raise ConfigError(f"{name} is {value!r}, but must be {word}a list of {whole}numbers")
        return tuple(value)
    wanted = (int, float) if name in _FLOATS else (kind if kind in (int, bool) else str,)
    if not _is(value, wanted):
        words = {int: "a whole number", float: "a number", str: "a word", bool: "true or false"}
        raise ConfigError(f"{name} is {value!r}, but must be {words[wanted[-1]]}")
    return value


def _float(name: str, value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        raise ConfigError(f"{name} is a number of {len(str(value))} digits, but must fit a float") from None


def _is(value: object, kinds: tuple[type, ...]) -> bool:
    return isinstance(value, kinds) and isinstance(value, bool) == (bool in kinds)
