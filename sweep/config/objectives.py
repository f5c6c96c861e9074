"""What a sweep optimises: each objective is one quantity that an evaluation measures, and its direction."""

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ValidationInfo,
    model_serializer,
    model_validator,
)
from pydantic.dataclasses import dataclass

from mopoe.own_metrics import promises
from mopoe.quantities import Direction, check_name, kind_of, meaning
from mopoe.validation import CLOSED, config_errors
from sweep.config.messages import problem, problems_at

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray


@config_errors
@dataclass(frozen=True, slots=True, kw_only=True, config=CLOSED)
class Objective:
    """One quantity that the sweep optimises."""

    name: Annotated[str, Field(pattern=r"^[\w.:-]{1,200}$")]
    """Name of a quantity.

    It is a metric, which may be followed by a dot and the observed subset (its modalities with dots between
    them, or how many there are), then by a colon and the target. What a name leaves open is averaged; where
    there are targets, the mean is over pairs of a subset and a target outside of it:

        objectives:
        - coherence.1          # one observed modality, any other generated
        - coherence.m0.m1:m2   # m2 generated from m0 and m1
        - log_likelihood.m0.m1 # log p(x_m0, x_m1)
        - frechet.prior        # nothing observed, any modality generated
        reference_point:
          {coherence.1: 0.1, "coherence.m0.m1:m2": 0.1, log_likelihood.m0.m1: -9000, frechet.prior: 900}
        evaluation: {final_metrics: [conditional_likelihood, frechet]}

    Every evaluation measures these:

    conditional_coherence: share of generated samples whose label is right, over all pairs of a subset of
        modalities and a target outside of it. The parts of this mean are `coherence`.
    joint_coherence: share of draws from the prior for which the classifiers of all modalities agree.
    log_likelihood: estimate of log p(X) per held-out sample, in nats.
    coherence: of a subset and a target, as in the conditional coherence.
    coherence_balanced: the same as a mean over classes; so is joint_coherence_balanced.
    coherence_all: of a subset, the mean over all targets, those that were observed included.
    nll: reconstruction error of a target given all modalities, in nats; minimised.
    explained: share that the model takes off what a constant leaves of the nll.
    kl: KL of a subset's posterior to the prior, in nats; minimised.
    active_units: latents of a subset whose posterior mean differs between samples; idle_latents, the share
        with next to no KL to the prior, is minimised. A latent may be neither.
    collapsed: whether a single modality's posterior is the prior; minimised, as is non_finite.
    ess: effective sample size of the log-likelihood; looseness, what it still lacks in nats, is minimised.
    parameters: trained parameters of the model; minimised.
    seconds: wall time of a trial's epochs and evaluations; minimised.
    epoch_seconds: the same per epoch; minimised.

    These are final metrics, which `evaluation.final_metrics` must ask for and no rung can compare:

    log_likelihood: of a subset, as log_likelihood.m0 (conditional_likelihood).
    log_likelihood_conditional: of a target given a subset, in nats (conditional_likelihood).
    predicted: share of a target that all other modalities explain, 1 at most (conditional_likelihood).
    representation: accuracy of a logistic regression on a subset's latents (representation).
    frechet: Frechet distance of a target in the features of its classifier; minimised (frechet).
    mmd: squared MMD of a target in the same features, unbiased at few samples; minimised (frechet).
    fid: Frechet distance in the features of Inception v3; minimised (fid).
    kid: kernel Inception distance, the squared MMD in these features; minimised (fid).
    joint_coherence_mixture: joint coherence with a Gaussian mixture as the prior (mixture_prior).
    """
    direction: Direction = "maximize"
    """Which values are better. A file may leave it out: every quantity has its direction, and no other.

    maximize: larger ones.
    minimize: smaller ones.
    """

    @model_validator(mode="before")
    @classmethod
    def _from_file(cls, given: Any) -> Any:
        """Read a name alone, which is maximised, and what `sweep.json` had before there were directions."""
        if isinstance(given, str):
            return {"name": given}
        if isinstance(given, dict) and given.keys() == {"name", "maximize"}:
            return {"name": given["name"], "direction": "maximize" if given["maximize"] else "minimize"}
        return given

    @model_serializer
    def _plain(self) -> str | dict[str, str]:
        """Return it as a sweep's file may say it: its name alone if larger is better."""
        plain = {"name": self.name, "direction": self.direction}
        return self.name if self.direction == "maximize" else plain

    @property
    def maximize(self) -> bool:
        """Return whether larger is better."""
        return self.direction == "maximize"

    @property
    def unit(self) -> str:
        """Return its unit; empty for a share."""
        kind = kind_of(self.name)
        return kind.unit if kind else ""

    @property
    def meaning(self) -> str:
        """Return what it is, as a part of a sentence; empty if nothing is known of it."""
        return meaning(self.name)

    @property
    def sign(self) -> float:
        """Return what makes larger better when multiplied by: 1 or -1."""
        return 1.0 if self.maximize else -1.0


def gains(values: "ArrayLike", objectives: Sequence[Objective]) -> "NDArray[np.float64]":
    """Return objective values [..., O] so that larger is better in every column.

    >>> gains([[0.5, 30.0]], [Objective(name="a"), Objective(name="b", direction="minimize")])
    array([[  0.5, -30. ]])
    """
    import numpy as np

    return np.asarray(values, dtype=np.float64) * [o.sign for o in objectives]


def names(objectives: Sequence[Objective]) -> tuple[str, ...]:
    """Return the names of objectives."""
    return tuple(o.name for o in objectives)


def _right(name: str, info: ValidationInfo) -> Direction:
    """Return which values of a quantity are better, of a metric of the user's own as it promises."""
    kind = kind_of(name)
    return kind.direction if kind else _own(info).get(re.split("[.:]", name)[0], "maximize")


def _own(info: ValidationInfo) -> Mapping[str, Direction]:
    """Return what the metrics of the file's evaluation promise; nothing if that is wrong itself."""
    return promises(info.data["evaluation"].metrics) if "evaluation" in info.data else {}


def _directed(given: Any, info: ValidationInfo) -> Any:
    """Return a file's objectives with their directions; a results folder says those that are minimised."""
    if info.context or not isinstance(given, list | tuple):
        return given
    entries = [{"name": entry} if isinstance(entry, str) else entry for entry in given]
    return [
        {"direction": _right(entry["name"], info), **entry}
        if isinstance(entry, dict) and isinstance(entry.get("name"), str) and "maximize" not in entry
        else given[i]
        for i, entry in enumerate(entries)
    ]


def _check(objectives: tuple[Objective, ...], info: ValidationInfo) -> tuple[Objective, ...]:
    """Return the objectives, or say which is unknown, there twice, or turned round."""
    for i, objective in enumerate(objectives):
        check_quantity(objective.name, info, i)
        if objective.name in names(objectives[:i]):
            raise problem(f"{objective.name!r} appears twice; keep one", i)
        if not info.context and objective.direction != (right := _right(objective.name, info)):
            better = "larger" if right == "maximize" else "smaller"
            why = f"but {better} values of {objective.name} are better; leave it out"
            raise problem(f"direction is {objective.direction!r}, {why}", i, "direction")
    return objectives


def check_quantity(name: str, info: ValidationInfo, *at: str | int) -> None:
    """Refuse, at this path of a file, a name that is of no quantity of its data set and evaluation."""
    if {"data", "evaluation"} <= info.data.keys() and not info.context:
        with problems_at(*at):
            check_name(name, info.data["data"].modalities, _own(info))


_Entry = Annotated[Objective, Field(description="a name, or {name: NAME, direction: minimize}")]
Objectives = Annotated[
    tuple[_Entry, ...],
    Field(strict=False, min_length=1, max_length=4, description="a list of one to four objectives"),
    BeforeValidator(_directed),
    AfterValidator(_check),
]
"""The objectives of a sweep's file."""
