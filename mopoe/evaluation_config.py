"""The settings of a trial's evaluation: what is measured, when, and on how much. Imports no torch."""

from dataclasses import replace
from typing import Annotated, Literal, Self

from pydantic import Field, StrictBool
from pydantic.dataclasses import dataclass

from mopoe.config import Precision
from mopoe.validation import CLOSED, Count, Seed, config_errors

FinalMetric = Literal["representation", "frechet", "conditional_likelihood", "mixture_prior", "fid"]
Sizes = tuple[Annotated[int, Field(strict=True, ge=1)], ...]
Reference = Annotated[
    str, Field(strict=True, pattern=r"^[\w.]{1,100}:\w{1,100}$", description="a function, as module:function")
]
_AMOUNTS = ("coherence_samples", "joint_samples", "likelihood_samples", "importance_samples")


@config_errors
@dataclass(frozen=True, slots=True, kw_only=True, config=CLOSED)
class IntermediateConfig:
    """How much is measured before the last epoch: of each at most what the last epoch has."""

    coherence_samples: Count = 100
    """Held-out samples for the conditional coherence of every (subset, target) pair."""
    joint_samples: Count = 200
    """Draws from the prior for the joint coherence."""
    likelihood_samples: Count = 32
    """Held-out samples for the joint log-likelihood."""
    importance_samples: Count = 31
    """Importance samples per held-out sample."""
    subset_sizes: Sizes = ()
    """Sizes of the observed subsets whose coherence is measured; [] for all."""
    own_targets: StrictBool = False
    """Whether coherence is also measured of targets that were observed; the objective leaves them out."""


@config_errors
@dataclass(frozen=True, slots=True, kw_only=True, config=CLOSED)
class EvaluationConfig:
    """What is measured on held-out data, when, and on how much of it. The same for every trial of a sweep.

    Raises:
        ConfigError: a value has the wrong type or is impossible.
    """

    split: Literal["train", "validation", "test"] = "validation"
    """The split that objectives are measured on."""
    every: Annotated[int, Field(strict=True, ge=0, le=1_000_000)] = 0
    """Epochs between evaluations; 0 evaluates once, after the last epoch."""
    coherence_samples: Count = 500
    """Held-out samples for the conditional coherence of every (subset, target) pair."""
    joint_samples: Count = 500
    """Draws from the prior for the joint coherence."""
    likelihood_samples: Count = 256
    """Held-out samples for the joint log-likelihood."""
    importance_samples: Count = 62
    """Importance samples per held-out sample; a multiple of the number of subsets stratifies exactly, and two
    per subset or more show how loose the log-likelihood is."""
    subset_sizes: Sizes = ()
    """Sizes of the observed subsets whose coherence, Frechet distances and MMDs are measured; [] for all."""
    own_targets: StrictBool = True
    """Whether coherence is also measured of targets that were observed; the objective leaves them out."""
    intermediate: IntermediateConfig = IntermediateConfig()
    """The smaller amounts of every evaluation before the last epoch; objectives keep their names."""
    final_metrics: tuple[FinalMetric, ...] = ()
    """What else is measured, after the last epoch alone.

    representation: accuracy of a logistic regression on the latents of each subset.
    frechet: Frechet distance and mmd of generated samples in the features of each target's classifier.
    conditional_likelihood: log-likelihood of each subset, and of each target outside of it given the subset.
    mixture_prior: joint coherence with draws from a Gaussian mixture that is fitted to the latents.
    fid: fid and kid, the same two in the features of Inception v3; they need inception_weights.
    """
    metrics: Annotated[
        tuple[Reference, ...], Field(description="a list of functions, as module:function")
    ] = ()
    """Metrics of your own, measured in every evaluation; what they promise can be objectives and limits."""
    pictures: Annotated[int, Field(strict=True, ge=0, le=1000)] = 8
    """Held-out and generated samples kept per source subset and target; 0 keeps none."""
    seed: Seed = 0
    """Seed of the evaluation's noise: all trials of a sweep see the same draws."""
    precision: Precision = "float32"
    """Number format of decoders and classifiers; posteriors, densities and final metrics keep float32.

    float32: full precision.
    bfloat16: automatic mixed precision, faster on GPUs that support it; not for CPUs that lack it.
    """
    inception_weights: str = ""
    """Path of Inception v3's weights, torchvision's or those of the original FID, for fid."""

    def for_rung(self) -> Self:
        """Return what is measured before the last epoch: the smaller amounts, and no final metrics."""
        less = self.intermediate
        fewer = {name: min(getattr(self, name), getattr(less, name)) for name in _AMOUNTS}
        sizes = less.subset_sizes or self.subset_sizes
        own = self.own_targets and less.own_targets
        return replace(self, **fewer, subset_sizes=sizes, own_targets=own, final_metrics=(), pictures=0)
