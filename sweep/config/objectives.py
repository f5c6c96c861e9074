"""What a sweep optimises: each objective is one quantity that an evaluation measures, and its direction."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_serializer, model_validator
from pydantic.dataclasses import dataclass

from mopoe.reports import OBJECTIVES
from mopoe.validation import CLOSED, config_errors
from mopoe.wording import did_you_mean
from sweep.config.messages import problem

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray


@config_errors
@dataclass(frozen=True, slots=True, kw_only=True, config=CLOSED)
class Objective:
    """One quantity that the sweep optimises."""

    name: Annotated[str, Field(pattern=r"^[\w.:-]{1,200}$")]
    """Name of a quantity that every evaluation measures.

    conditional_coherence: share of generated samples whose label is right, over all pairs of a subset of
        modalities and a target outside of it.
    joint_coherence: share of draws from the prior for which the classifiers of all modalities agree.
    log_likelihood: estimate of log p(X) per held-out sample, in nats.
    """
    direction: Literal["maximize", "minimize"] = "maximize"
    """Which values are better.

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
        return "nats" if self.name == "log_likelihood" else ""

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


def _check(objectives: tuple[Objective, ...]) -> tuple[Objective, ...]:
    """Return the objectives, or say which is unknown or there twice."""
    for i, objective in enumerate(objectives):
        if objective.name not in OBJECTIVES:
            raise problem(
                f"unknown objective {objective.name!r}; {did_you_mean(objective.name, OBJECTIVES)}", i
            )
        if objective.name in names(objectives[:i]):
            raise problem(f"{objective.name!r} appears twice; keep one", i)
    return objectives


_Entry = Annotated[Objective, Field(description="a name, or {name: NAME, direction: minimize}")]
Objectives = Annotated[
    tuple[_Entry, ...],
    Field(strict=False, min_length=1, description="a list of objectives"),
    AfterValidator(_check),
]
"""The objectives of a sweep's file."""
