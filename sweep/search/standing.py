"""What a sweep's state answers: what comes next if it is no trial, and how the sweep stands in numbers."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum


class Action(Enum):
    """What comes next if it is no trial of a config that there is."""

    NEW_CONFIG = "suggest a config"
    WAIT = "wait for what runs now"
    END = "begin no other trial"


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepStatus:
    """How a sweep stands, in numbers."""

    total: int
    """Trials in all, replicates included, by what is known now."""
    counts: Mapping[str, int]
    """Trials by status; those that have not begun have none."""
    front_size: int
    """Configs on the front."""
    hypervolume: float
    """Volume between the front and the reference point."""
    configs: int
    """Configs in all, by what is known now."""

    @property
    def begun(self) -> int:
        """Return the trials that run or have ended."""
        return sum(self.counts.values())

    @property
    def ended(self) -> int:
        """Return the trials in a final state."""
        return self.begun - self.counts.get("running", 0)

    @property
    def complete(self) -> bool:
        """Return whether every trial has ended."""
        return 0 < self.total <= self.ended
