"""The settings of a trial's evaluation: what is measured, when, and on how much. Imports nothing heavy."""

from dataclasses import dataclass, replace
from typing import Literal, Self, get_args

from mopoe.config import Precision, require

Split = Literal["train", "validation", "test"]
Extra = Literal["representation", "frechet", "conditional_likelihood", "mixture_prior", "fid"]
MOST = 1_000_000
"""The largest amount: of samples more than any data set here has."""
_AMOUNTS = ("coherence_samples", "joint_samples", "likelihood_samples", "importance_samples")


def _check_amounts(config: "EvaluationConfig | RungConfig") -> None:
    for name in _AMOUNTS:
        require(name, value := getattr(config, name), 1 <= value <= MOST, f"between 1 and {MOST:,}")
    good = all(type(size) is int and size >= 1 for size in config.subset_sizes)
    require("subset_sizes", list(config.subset_sizes), good, "a list of whole numbers of at least 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class RungConfig:
    """How much is measured before the last epoch: of each at most what the last epoch has."""

    coherence_samples: int = 100
    """Held-out samples for the conditional coherence of every (subset, target) pair."""
    joint_samples: int = 200
    """Draws from the prior for the joint coherence."""
    likelihood_samples: int = 32
    """Held-out samples for the joint log-likelihood."""
    importance_samples: int = 31
    """Importance samples per held-out sample."""
    subset_sizes: tuple[int, ...] = ()
    """Sizes of the observed subsets whose coherence is measured; none for all."""
    own_targets: bool = False
    """Whether coherence is also measured of targets that were observed; the objective leaves them out."""

    def __post_init__(self) -> None:
        """Reject impossible values with a sentence."""
        _check_amounts(self)


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
    subset_sizes: tuple[int, ...] = ()
    """Sizes of the observed subsets whose coherence and Frechet distances are measured; none for all."""
    own_targets: bool = True
    """Whether coherence is also measured of targets that were observed; the objective leaves them out."""
    at_rungs: RungConfig = RungConfig()
    """The smaller amounts of every evaluation before the last epoch's; objectives keep their names."""
    extras: tuple[Extra, ...] = ()
    """What else is measured, after the last epoch alone."""
    pictures: int = 8
    """Generated images kept per source subset and target; 0 keeps none."""
    seed: int = 0
    """Fixes the noise of the evaluation: all trials of a sweep see the same draws."""
    precision: Precision = "float32"
    """What decoders and classifiers compute in; posteriors, densities and extras stay in float32 or more."""
    inception_weights: str = ""
    """Path of Inception v3's weights, for the extra fid: torchvision's, or the original FID's."""

    def __post_init__(self) -> None:
        """Reject impossible values with a sentence."""
        _check_amounts(self)
        for name, most in {"every": MOST, "pictures": 1000, "seed": 2**63 - 1}.items():
            require(name, value := getattr(self, name), 0 <= value <= most, f"between 0 and {most:,}")
        for name, kind in {"split": Split, "precision": Precision}.items():
            value, choices = getattr(self, name), get_args(kind)
            require(name, value, value in choices, f"one of {', '.join(choices)}")
        possible = ", ".join(get_args(Extra))
        good = all(name in get_args(Extra) for name in self.extras)
        require("extras", list(self.extras), good, f"a list of some of {possible}")

    def for_rung(self) -> Self:
        """Return what is measured before the last epoch: the smaller of both amounts each, and no extras."""
        less = self.at_rungs
        fewer = {name: min(getattr(self, name), getattr(less, name)) for name in _AMOUNTS}
        sizes = less.subset_sizes or self.subset_sizes
        own = self.own_targets and less.own_targets
        return replace(self, **fewer, subset_sizes=sizes, own_targets=own, extras=(), pictures=0)
