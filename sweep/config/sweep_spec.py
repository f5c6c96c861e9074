"""The YAML file of a sweep as a validated object."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, FiniteFloat, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from mopoe.config import TrialConfig
from mopoe.errors import ConfigError
from mopoe.evaluation_config import EvaluationConfig
from mopoe.validation import Count
from search_spaces import Document, find, load_yaml, split_assignment
from sweep.config.checks import check
from sweep.config.constraints import Constraints, Limit, limit
from sweep.config.messages import Name, sentences
from sweep.config.objectives import Objective, Objectives
from sweep.config.parameters import Choice, Int, Parameter
from sweep.config.schema import (
    DataSpec,
    FaultsSpec,
    ReplicatesSpec,
    ResourcesSpec,
    SchedulerSpec,
    StrictModel,
)
from sweep.config.settings import SETTINGS, check_fixed, check_search_space, check_start_with, setting
from sweep.config.space import Space, Suggestion

CHANGEABLE = ("name", "trials", "resources", "replicates", "faults", "keep")
"""Keys that may change between two runs of one sweep: no trial's numbers depend on them."""


RENAMED = {"at_rungs": "intermediate", "extras": "final_metrics"}
"""Keys of `evaluation` by their names before 0.1.0; a file may still have them."""


def _renamed(given: Any) -> Any:
    return {RENAMED.get(k, k): v for k, v in given.items()} if isinstance(given, dict) else given


class SweepSpec(StrictModel):
    """A sweep: which trials to run, on what, and what to measure."""

    name: Annotated[
        str,
        Field(
            pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$",
            description="made of letters, digits, '.', '_' and '-', as it names a folder",
        ),
    ]
    """The sweep's name; its results are in results/<name> unless said otherwise."""
    data: DataSpec
    """The data set and its options."""
    trials: Count
    """Number of trials."""
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 0
    """Seed of the sampler."""
    sampler: Literal["tpe", "gp", "nsga2", "nsga3", "random", "qmc", "grid"] = "tpe"
    """How the next config is chosen, by Optuna's sampler of that name.

    tpe: a tree-structured Parzen estimator of all parameters together; the first trials are random.
    gp: a Gaussian process, which learns more from few trials but takes seconds per choice.
    nsga2: a genetic algorithm for two or three objectives and hundreds of trials.
    nsga3: a genetic algorithm for more objectives.
    random: independent draws.
    qmc: scrambled quasi-random points, which cover the space more evenly than random ones.
    grid: every combination of values, in random order; it needs parameters of type int or choice.
    """
    objectives: Objectives = (
        Objective(name="conditional_coherence"),
        Objective(name="log_likelihood"),
    )
    """What is optimised, in the order of the reports.

    A name alone is maximised:

        objectives: [conditional_coherence, {name: log_likelihood, direction: minimize}]
        reference_point: {conditional_coherence: 0.1, log_likelihood: -4000}
    """
    reference_point: Mapping[Name, FiniteFloat]
    """One number per objective: the corner that fronts are measured from.

    It lies below the useful values of an objective that is maximised, above those of one that is minimised;
    what lies beyond the corner does not count.
    """
    search_space: Annotated[
        Mapping[Name, Parameter],
        Field(min_length=1, description="a mapping of settings to parameters"),
        AfterValidator(check_search_space),
    ]
    """The searched settings, each with the kind of parameter it is."""
    fixed: Annotated[Mapping[Name, Any], AfterValidator(check_fixed)] = Field(default_factory=dict)
    """The settings that are the same for every trial; what is neither here nor searched is at its default."""
    evaluation: Annotated[EvaluationConfig, BeforeValidator(_renamed)] = EvaluationConfig()
    """What is measured on held-out data."""
    scheduler: SchedulerSpec = SchedulerSpec()
    """Which trials are stopped early; by default none, as only full budgets make an honest front."""
    constraints: Constraints = Field(default_factory=dict)
    """Limits on what a trial measures: an objective, `parameters` (trained ones) or `seconds` (wall time).

    A trial that misses a limit is infeasible and not on the front. The number itself is allowed:

        constraints: {parameters: "<= 20e6", joint_coherence: ">= 0.1"}
    """
    start_with: Annotated[
        tuple[Mapping[Name, Any], ...], Field(strict=False), AfterValidator(check_start_with)
    ] = ()
    """Points of the search space to try first.

    A setting that a point leaves out is at the middle of its range:

        start_with: [{beta: 2.5, latent_dim: 64}, {subset_weights: [0, 0, 0, 0, 1]}]
    """
    warm_start: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """Results folders of earlier sweeps, whose trials the sampler learns from."""
    resources: ResourcesSpec = ResourcesSpec()
    """What one trial takes of the machine."""
    replicates: ReplicatesSpec = ReplicatesSpec()
    """Which configs are trained with several seeds."""
    faults: FaultsSpec = FaultsSpec()
    """How much may go wrong before a trial, or the sweep, is given up."""
    keep: Literal["front", "all", "none"] = "front"
    """Which trials' weights stay when the sweep has ended.

    front: those of the configs on the front.
    all: those of every completed trial.
    none: no trial's.
    """

    @model_validator(mode="after")
    def _check(self) -> Self:
        check(self)
        return self

    @property
    def modalities(self) -> tuple[str, ...]:
        """Return the names of the data set's modalities, in the order of the bits of a subset mask."""
        return self.data.modalities

    @property
    def space(self) -> Space:
        """Return the search space, translated for Optuna."""
        return Space(self.search_space, self.modalities)

    @property
    def n_configs(self) -> int:
        """Return the number of configs: as many as trials are asked for, or all that the space has."""
        return int(min(self.trials, self.space.size))

    @property
    def epochs_max(self) -> int:
        """Return the full budget of the longest trial, in epochs."""
        match self.search_space.get("epochs"):
            case Int(high=high):
                return high
            case Choice(values=values):
                return int(max(values))
        return int(self.fixed.get("epochs", SETTINGS["epochs"]))

    @property
    def rungs(self) -> tuple[int, ...]:
        """Return the epochs at which the scheduler compares trials, those of all brackets together."""
        return self.scheduler.rungs(self.epochs_max)

    @property
    def limits(self) -> tuple[Limit, ...]:
        """Return the constraints."""
        return tuple(limit(name, text) for name, text in self.constraints.items())

    @property
    def known_points(self) -> list[Suggestion]:
        """Return the suggestions of `start_with`."""
        return [self.space.suggestion(self.space.complete(point)) for point in self.start_with]

    def budget(self, suggestion: Suggestion) -> int:
        """Return the full budget of a suggested trial, in epochs."""
        return self.trial_config(self.space.settings(suggestion)).epochs

    def plain(self) -> dict[str, Any]:
        """Return the file's keys with every default filled in, fit for JSON and for `model_validate`."""
        plain = self.model_dump(mode="json")
        for parameter in plain["search_space"].values():
            if parameter["when"] is None:
                del parameter["when"]
        return plain

    @property
    def spec_hash(self) -> str:
        """Return a short hash of what decides a sweep's results: equal hashes may share a results folder.

        Left out are the keys of `CHANGEABLE`: a label, how many trials there are, and how they are run.
        In it are what a trial's numbers depend on (data, constants with the defaults of `TrialConfig`,
        evaluation), what the sequence of trials depends on (search space, sampler, seed, objectives), and the
        reference point, so that a folder has one measure of progress. The keys `unused` count only where they
        differ from their defaults.
        """
        unused: dict[str, Any] = {"constraints": {}, "start_with": [], "warm_start": []}
        unused["scheduler"] = SchedulerSpec().model_dump()
        plain = {k: v for k, v in self.plain().items() if k not in unused or v != unused[k]}
        content = {k: v for k, v in plain.items() if k not in CHANGEABLE}
        constants = TrialConfig.from_dict(self.fixed).to_dict()
        content["fixed"] = {k: v for k, v in constants.items() if k not in self.search_space}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]

    def trial_config(self, settings: Mapping[str, Any]) -> TrialConfig:
        """Return a trial's config: the constants, then these settings; ConfigError if impossible."""
        return TrialConfig.from_dict({**self.fixed, **settings})


def load_spec(path: str | Path, overrides: Sequence[str] = ()) -> SweepSpec:
    """Return the sweep that a YAML file, or a shipped one of that name, describes.

    Overrides replace values of the file: `trials=30` or `evaluation.every=2`, the value read as YAML.

    Raises:
        ConfigError: the file or an override is wrong; up to three lines, one sentence each, starting with the
            place in the file, or with the override.
    """
    return spec_of(load_yaml(find(path)), overrides)


def spec_of(document: Document, overrides: Sequence[str] = (), modalities: tuple[str, ...] = ()) -> SweepSpec:
    """Return the sweep that a document describes; ConfigError as for `load_spec`.

    With the names of its modalities the data set is not asked for them: no code of anybody's is run.
    """
    document = reduce(Document.override, overrides, document)
    try:
        return SweepSpec.model_validate(document.data, context=modalities)
    except ValidationError as error:
        raise ConfigError(sentences(SweepSpec, error, document)) from None


def trial_config_for(spec: SweepSpec, assignments: Sequence[str]) -> TrialConfig:
    """Return one trial's config: the constants, the `middle` of each searched parameter, then assignments.

    An assignment such as `beta=2.5` names any setting of a trial and may leave the search space.

    Raises:
        ConfigError: an assignment is malformed, names no setting or has an impossible value.
    """
    given: dict[str, Any] = {}
    for text in assignments:
        try:
            name, value = split_assignment(text)
            given[name] = setting(name, value, spec.modalities)
        except (ConfigError, PydanticCustomError) as error:
            raise ConfigError(f"{text!r}: {error}") from None
    return spec.trial_config(spec.space.complete(given))


def one_trial(spec: SweepSpec, config: TrialConfig, name: str) -> dict[str, Any]:
    """Return the keys of a file that `sweep trial` runs as this trial and `sweep run` as a sweep of one.

    Every setting is held constant, but for the first searched one: a file must have a search space, so
    that setting has a choice of one value.
    """
    settings, plain = config.to_dict(), spec.plain()
    searched = next(iter(spec.search_space))
    return {
        "name": name,
        "trials": 1,
        **{key: plain[key] for key in ("data", "objectives", "reference_point", "evaluation")},
        "search_space": {searched: {"type": "choice", "values": [settings.pop(searched)]}},
        "fixed": settings,
    }
