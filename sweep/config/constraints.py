"""Limits on what a trial's last report carries, such as `parameters: "<= 20e6"`."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator, Field, ValidationInfo

from sweep.config.messages import Name
from sweep.config.objectives import check_quantity

LIMIT = r"^\s*[<>]=\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d{1,2})?\s*$"
"""The form of a limit: a comparison with a finite number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """One limit."""

    name: str
    """The measured quantity."""
    at_most: bool
    """Whether the bound is the largest allowed value; the smallest otherwise."""
    bound: float
    """The bound, itself allowed."""

    def excess(self, measured: Mapping[str, float]) -> float:
        """Return by how much the limit is missed, as a share of the bound; at most 0 if it is kept.

        What was not measured, or is not a number, misses every limit by infinity.

        >>> limit("seconds", "<= 100").excess({"seconds": 150.0})
        0.5
        """
        value = measured.get(self.name, math.nan)
        if math.isnan(value):
            return math.inf
        excess = value - self.bound if self.at_most else self.bound - value
        return excess / (abs(self.bound) or 1.0)

    def sentence(self, measured: Mapping[str, float]) -> str:
        """Return the limit and what was measured, for people.

        >>> limit("seconds", "<= 100").sentence({"seconds": 150.0})
        'seconds is 150, but must be at most 100'
        """
        value, must = measured.get(self.name, math.nan), "at most" if self.at_most else "at least"
        return f"{self.name} is {value:.6g}, but must be {must} {self.bound:.6g}"


def limit(name: str, text: str) -> Limit:
    """Return the limit that a text of the form `LIMIT`, such as `>= 0.1`, stands for."""
    text = text.strip()
    return Limit(name=name, at_most=text.startswith("<="), bound=float(text[2:]))


def _check(texts: Mapping[str, str], info: ValidationInfo) -> Mapping[str, str]:
    """Return the constraints, or say which quantity is unknown."""
    for name in texts:
        check_quantity(str(name), info, name)
    return texts


Constraints = Annotated[
    Mapping[Name, Annotated[str, Field(pattern=LIMIT, description='a limit such as "<= 20e6" or ">= 0.1"')]],
    AfterValidator(_check),
    Field(description="a mapping of quantities to limits"),
]
"""The limits in a sweep's file, by the quantity."""
