"""The sections of a sweep's YAML file that say how its trials are run."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from mopoe.errors import ConfigError
from search_spaces import show
from sweep.config.parameters import StrictModel, problem


def _gpu(value: Any) -> Any:
    if value != "auto" and not (type(value) in (int, float) and 0 <= value <= 1):
        raise problem(f"gpu is {show(value)}, but must be auto or between 0 and 1: a trial uses one at most")
    return value


class ResourcesSpec(StrictModel):
    """What one trial takes of the machine."""

    cpu: float = Field(1.0, ge=0.01, le=10_000)
    """CPU cores per trial; shares are allowed."""
    gpu: Annotated[Literal["auto"] | float, BeforeValidator(_gpu)] = "auto"
    """GPUs per trial: one, a share of it, none, or auto to let the sweep decide."""
    concurrent: int | None = Field(None, ge=1, le=100_000)
    """Trials at the same time; null for as many as fit."""

    def gpu_share(self, gpus: float) -> float:
        """Return the GPUs of one trial where there are so many in all: with auto, one if there is any."""
        return float(gpus > 0) if self.gpu == "auto" else float(self.gpu)

    def slots(self, cpus: float, gpus: float) -> int:
        """Return how many trials run at once on so many CPU cores and GPUs, at least one.

        >>> ResourcesSpec(cpu=1, gpu=0.5).slots(cpus=8, gpus=2)
        4
        """
        needs = ((cpus, self.cpu), (gpus, self.gpu_share(gpus)))
        fits = min(there / need for there, need in needs if need > 0)
        return self.concurrent or max(1, int(fits + 1e-9))

    def check_room(self, cpus: float, gpus: float) -> None:
        """Refuse a trial for which a machine with so many CPU cores and GPUs never has room.

        Raises:
            ConfigError: names what is asked for and what is there.
        """
        for name, need, there in (("cpu", self.cpu, cpus), ("gpu", self.gpu_share(gpus), gpus)):
            if need > there:
                raise ConfigError(
                    f"resources.{name} is {need:g}, but this machine has {there:g}; lower it, or run the "
                    "sweep on a cluster"
                )


class ReplicatesSpec(StrictModel):
    """Which configs are trained with several seeds; their objectives are then means over seeds."""

    seeds: int = Field(1, ge=1, le=1000)
    """Seeds per config, counted up from the config's own."""
    when: Literal["all", "survivors", "front"] = "all"
    """Which configs get all seeds: all, those not stopped early, or in the end those on the front."""


class FaultsSpec(StrictModel):
    """What a trial may do wrong before it is given up."""

    max_failures: int = Field(2, ge=0, le=1000)
    """How often a trial that raised, or whose process was lost, goes on from its last checkpoint."""
    identical: int | None = Field(5, ge=2, le=1_000_000)
    """So many trials in a row that fail for one reason end the sweep; null for no end."""
    trial_minutes: float | None = Field(None, ge=1e-4, le=1e6)
    """A trial that took longer ends; one that ends no epoch for so long has hung. null for no limit."""
