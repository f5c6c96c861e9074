"""The sections of a sweep's file that have keys of their own."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationInfo, model_validator

from mopoe.data import ModalitySpec, entry, modalities
from mopoe.data.registry import DATA_SETS, Option, check_options
from mopoe.errors import ConfigError
from mopoe.validation import wrong
from mopoe.wording import did_you_mean, unknown_key
from sweep.config.messages import problem, problems_at
from sweep.config.objectives import Objective, names


class StrictModel(BaseModel):
    """A mapping of the YAML file: no unknown keys, and no conversions such as "3" to 3."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class DataSpec(StrictModel, extra="allow"):
    """The data set by name, and its options beside it."""

    name: Annotated[str, Field(pattern=r"^[\w.:-]{1,200}$")]
    """A data set of `sweep data list`, or a function of your own as package.module:function."""
    _modalities: tuple[str, ...] = PrivateAttr(())

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, given: Any, info: ValidationInfo) -> Any:
        """Return the name and the options, those not given at their defaults, or say what is wrong."""
        # With the modalities' names as context the data set, somebody's own code, is not called.
        if not isinstance(given, dict) or not isinstance(given.get("name"), str) or info.context:
            return given
        with problems_at("name"):
            known = entry(given["name"])
        required: dict[str, Option] = {name: 0 if name in known.numbers else "" for name in known.required}
        defaults = {"name": "", **required, **{n: {} for n in known.mappings}, **known.options}
        for name, value in given.items():
            if name not in defaults:
                raise problem(unknown_key(name, defaults), name)
            if (kind := type(defaults[name])) is not type(value):
                raise problem(wrong(name, value, list[str] if kind is list else kind), name)
        for name, what in known.required.items():
            if name not in given:
                raise problem(f"key {name!r} is missing; {what}", name)
        if given["name"] in DATA_SETS:
            check_options(given)
        return known.kept({**defaults, **given})

    @model_validator(mode="after")
    def _name_modalities(self, info: ValidationInfo) -> Self:
        with problems_at("name"):
            self._modalities = info.context or tuple(m.name for m in self.specs)
        return self

    @property
    def options(self) -> dict[str, Any]:
        """Return the data set's options by name, for its `load(**options)`."""
        return dict(self.model_extra or {})

    @property
    def specs(self) -> tuple[ModalitySpec, ...]:
        """Return the modalities, for which somebody's own code may be called."""
        return modalities(self.name, **self.options)

    @property
    def modalities(self) -> tuple[str, ...]:
        """Return the names of the modalities, in the order of the bits of a subset mask."""
        return self._modalities


class SchedulerSpec(StrictModel):
    """Which trials are stopped before their full budget; every one is measured at the rungs it reaches."""

    type: Literal["none", "halving", "asha", "median"] = "none"
    """How trials are compared at a rung, a number of epochs at which each is measured.

    none: no trial is stopped.
    halving: by all objectives; a trial goes on while it is in the best 1/eta of those that reached the rung.
    asha: the same by one objective, as in ASHA (Li et al. 2020).
    median: by one objective; a trial goes on while it is in the better half.
    """
    grace: Annotated[int, Field(ge=1, le=1_000_000)] = 2
    """Epochs before the first rung."""
    eta: Annotated[int, Field(ge=2, le=1000)] = 2
    """The factor between the epochs of neighbouring rungs; of the trials at a rung the best 1/eta go on."""
    brackets: Annotated[int, Field(ge=1, le=100)] = 1
    """Groups of trials with different first rungs: bracket s lacks the first s rungs, and has 1/eta as many
    trials as the bracket before."""
    objective: str | None = None
    """The objective that asha and median compare; it may be left out if the sweep has only one."""

    def rungs(self, budget: int, bracket: int = 0) -> tuple[int, ...]:
        """Return the epochs at which trials are compared: grace times powers of eta, below the full budget.

        >>> SchedulerSpec(type="halving", grace=2, eta=3).rungs(54)
        (2, 6, 18)
        """
        rungs = []
        epoch = self.grace * self.eta**bracket
        while self.type != "none" and epoch < budget:
            rungs.append(epoch)
            epoch *= self.eta
        return tuple(rungs)

    def compared(self, objectives: Sequence[Objective]) -> tuple[Objective, ...]:
        """Return the objectives that decide at a rung.

        Raises:
            ConfigError: `objective` is missing, none of the sweep's, or of no use.
        """
        found, possible = f"objective is {self.objective!r}", names(objectives)
        if self.type in ("none", "halving"):
            if self.objective is not None:
                compares = "stops no trial" if self.type == "none" else "compares all objectives"
                raise ConfigError(f"{found}, but {self.type} {compares}; leave it out")
            return tuple(objectives)
        if self.objective is None and len(objectives) > 1:
            one = ", ".join(possible)
            raise ConfigError(f"key 'objective' is missing; {self.type} compares one of: {one}")
        if self.objective not in (None, *possible):
            raise ConfigError(f"{found}; {did_you_mean(self.objective, possible)}")
        return tuple(o for o in objectives if self.objective in (None, o.name))


class ResourcesSpec(StrictModel):
    """What one trial takes of the machine."""

    cpu: Annotated[float, Field(ge=0.01, le=10_000)] = 1.0
    """CPU cores per trial; shares are allowed."""
    gpu: Literal["auto"] | Annotated[float, Field(ge=0, le=1)] = "auto"
    """GPUs per trial, which uses one at most; auto gives it one if there is any."""
    concurrent: Annotated[int, Field(ge=1, le=100_000)] | None = None
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
    """Which configs are trained with several seeds, or folds; their objectives are then means over these.

    Without a second seed of any config the report tells no probability. A config of which a seed was stopped
    early or failed is not compared.
    """

    seeds: Annotated[int, Field(ge=1, le=1000)] = 1
    """Seeds per config, counted up from the config's own."""
    folds: Annotated[int, Field(ge=2, le=1000)] | None = None
    """In place of seeds: folds of the training and validation splits, of tables or data of your own.

    Each is the validation split of one of a config's trials, which has a seed of its own, too. The test split
    stays what it is. What is said of seeds here and in the report then holds for folds.
    """
    when: Literal["all", "survivors", "front", "uncertain"] = "all"
    """Which configs are trained with all seeds.

    all: every config.
    survivors: those that the scheduler did not stop.
    front: those on the front once all configs have been trained with their first seed.
    uncertain: one seed at a time goes to the config by which the front is expected to gain most hypervolume,
        as long as that is more than a new config is expected to add and over 0.01 % of it.

    Up to five seeds for the configs that decide where the front is:

        replicates: {seeds: 5, when: uncertain}
    """

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if self.folds is not None and self.seeds != 1:
            found = f"seeds is {self.seeds} and folds is {self.folds}"
            raise problem(f"{found}, but a config has several seeds or several folds; leave one out", "folds")
        return self

    @property
    def count(self) -> int:
        """Return the seeds, or the folds, of a config."""
        return self.folds or self.seeds


class BudgetSpec(StrictModel):
    """How long the whole sweep may run."""

    hours: Annotated[float, Field(ge=1e-4, le=1_000_000)] | None = None
    """Hours after which no further trial begins; those that run go on to their end. null for no limit.

    The sweep runs while at least one trial trains or is measured, in this run or an earlier one; starting up
    does not count. `sweep resume DIR -o budget.hours=12` continues a sweep whose budget was less.
    """


class FaultsSpec(StrictModel):
    """How much may go wrong before a trial, or the sweep, is given up."""

    max_failures: Annotated[int, Field(ge=0, le=1000)] = 2
    """How often a trial that raised, or whose process was lost, is started again from its last checkpoint."""
    identical: Annotated[int, Field(ge=2, le=1_000_000)] | None = 5
    """So many trials in a row that fail for the same reason end the sweep; null for no such end."""
    trial_minutes: Annotated[float, Field(ge=1e-4, le=1_000_000)] | None = None
    """A trial that takes longer, or that finishes no epoch for so long, is ended; null for no limit."""
